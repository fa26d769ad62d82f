"""Moving many files at once: by several threads, going on after failures but not after hopeless ones."""

from __future__ import annotations

import itertools
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Protocol, TypeVar

from cloudgrpc.errors import CloudError, GatewayUnreachable, LocalFile, NodesTooFew, NotSignedIn
from cloudgrpc.rpc import BATCH_FILES, PIECE_BYTES, SMALL_FILE_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from cloudgrpc.clients.transfer import Transfers

# Of a message with small files; half of what a gateway takes, as a slow line must bring it within its deadline.
TOGETHER_BYTES = 1 << 20
WORKERS = 32  # a small file is mostly waiting; 16 gave about 163 of them a second, 32 177
BATCHES = 4  # batches under way: the gateway is busy with two, and the next are here when it is done
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
T = TypeVar("T")
Many = Callable[[Sequence[Item]], Sequence[bool | CloudError | None]]


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

    def move(self, items: Iterable[Item], one: Callable[[Item], bool], many: Many[Item] | None = None) -> None:
        """`one` moves a file and says whether it travelled, or raises. `many` does so with small ones, and says or
        gives what `one` would; None for one that `one` has to move. Ctrl-C ends all transfers and is raised."""
        known = list(items)
        tiny = [item for item in known if item.size <= SMALL_FILE_BYTES]
        # A lone one goes as it always did.
        batches = deque(_batches(tiny) if many and len(tiny) > 1 else ())
        singly = [item for item in known if item.size > SMALL_FILE_BYTES] if batches else known
        # Of chunks that come singly a gateway takes in no more at once, and of a slow line it refuses those that wait.
        most = SMALL_FILE_BYTES if many else PIECE_BYTES
        small = deque(item for item in singly if item.size <= most)
        large = deque(item for item in singly if item.size > most)
        works = [partial(self._work, [large, small], one)] * LARGE_WORKERS
        works += [partial(self._work, [small], one)] * (WORKERS - LARGE_WORKERS)
        if many:
            works += [partial(self._work_together, batches, many, small)] * BATCHES
        pool = ThreadPoolExecutor(len(works))
        try:
            while (batches or small or large) and not self.is_stopped:  # again for those that many left to one
                for worker in [pool.submit(work) for work in works]:
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
            else:
                self._moved(item, has_travelled=has_travelled)

    def _work_together(self, batches: deque[list[Item]], many: Many[Item], left: deque[Item]) -> None:
        """Move batches, which others do too; what has to go by itself is `left`."""
        for batch in _emptying(batches):
            if self.is_stopped:
                return
            for item, outcome in zip(batch, many(batch), strict=True):
                if outcome is None:
                    left.append(item)
                elif isinstance(outcome, CloudError):
                    self.failed(outcome, item.path)
                else:
                    self._moved(item, has_travelled=outcome)

    def _moved(self, item: Sized, *, has_travelled: bool) -> None:
        with self._lock:
            self.outcome.files += has_travelled
            self.outcome.size += item.size * has_travelled
            self.outcome.there += not has_travelled


def _batches(items: Iterable[Item]) -> Iterator[list[Item]]:
    """In their order, each as large as a message may be."""
    batch: list[Item] = []
    size = 0
    for item in items:
        if len(batch) == BATCH_FILES or (batch and size + item.size > TOGETHER_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(item)
        size += item.size
    if batch:
        yield batch


def _emptying(queue: deque[T]) -> Iterator[T]:
    with suppress(IndexError):
        while True:
            yield queue.popleft()
