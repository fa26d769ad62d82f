"""Moving many files at once: by several threads, going on after failures but not after hopeless ones."""

from __future__ import annotations

import itertools
import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TypeVar

from cloudgrpc.errors import CloudError, GatewayUnreachable, LocalFile, NodesTooFew, NotSignedIn
from cloudgrpc.rpc import PIECE_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from cloudgrpc.clients.transfer import Transfers

WORKERS = 32  # a small file is mostly waiting; 16 gave about 163 of them a second, 32 177
LARGE_WORKERS = 4  # of them; a large file takes some 16 MiB while it is sent, and fewer than four fill most lines
# After these every further file would fail the same way, each after its own long wait.
HOPELESS = (GatewayUnreachable, NodesTooFew, NotSignedIn)


class Sized(Protocol):
    @property
    def path(self) -> Path:
        """On this computer."""

    @property
    def size(self) -> int: ...


Item = TypeVar("Item", bound=Sized)


@dataclass
class Outcome:
    files: int = 0  # that travelled
    size: int = 0  # of them, in bytes
    there: int = 0  # files that were there already
    folders: int = 0  # that were made
    failures: list[CloudError] = field(default_factory=list)  # in the order they happened


class Crew:
    """Several threads, and what came of their work."""

    def __init__(self, transfers: Transfers) -> None:
        self.outcome = Outcome()
        self.is_stopped = False
        self._transfers = transfers
        self._lock = threading.Lock()

    def move(self, items: Iterable[Item], one: Callable[[Item], bool]) -> None:
        """`one` moves a file and says whether it travelled, or raises. Ctrl-C ends all transfers and is raised."""
        known = list(items)
        small = deque(item for item in known if item.size <= PIECE_BYTES)
        large = deque(item for item in known if item.size > PIECE_BYTES)
        queues = [[large, small]] * LARGE_WORKERS + [[small]] * (WORKERS - LARGE_WORKERS)
        pool = ThreadPoolExecutor(WORKERS)
        try:
            for worker in [pool.submit(self._work, each, one) for each in queues]:
                worker.result()
        except BaseException:
            self.is_stopped = True
            self._transfers.cancel()
            raise
        finally:
            # After Ctrl-C nobody waits for the small files under way.
            pool.shutdown(wait=False)

    def failed(self, error: CloudError, path: Path | None = None) -> None:
        with self._lock:
            if self.is_stopped:
                return
            self.is_stopped = isinstance(error, HOPELESS)
            # Words of the gateway need not name the file.
            is_named = path is None or isinstance(error, LocalFile) or str(path) in str(error)
            self.outcome.failures.append(error if is_named else type(error).told(f"{path}: {error}"))

    def _work(self, queues: Sequence[deque[Item]], one: Callable[[Item], bool]) -> None:
        """Move what is in the queues, one after the other, which others empty too."""
        for item in itertools.chain.from_iterable(map(_emptying, queues)):
            if self.is_stopped:
                return
            try:
                has_travelled = one(item)
            except CloudError as error:
                self.failed(error, item.path)
                continue
            with self._lock:
                self.outcome.files += has_travelled
                self.outcome.size += item.size * has_travelled
                self.outcome.there += not has_travelled


def _emptying(queue: deque[Item]) -> Iterator[Item]:
    with suppress(IndexError):
        while True:
            yield queue.popleft()
