"""Whether a node's disk takes new chunks, and if not, why: in words for operators."""

from __future__ import annotations

import logging
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cloudgrpc.chunks.durable import FULL_ERRNOS, NewFile, Os, write_durably
from cloudgrpc.core.units import size_words

if TYPE_CHECKING:
    from collections.abc import Callable

    from cloudgrpc.chunks.folder import NodeFolder

log = logging.getLogger(__name__)

TROUBLE_S = 30.0  # for so long a write that failed keeps the node read-only in the gateway's eyes


@dataclass(frozen=True)
class Trouble:
    """The last write that failed. `is_of_room`: for want of it."""

    at: float
    what: str
    why: str
    is_of_room: bool


class ReadOnly:
    """`reserve_bytes` of the disk are kept free; `clock`: in seconds, never set back."""

    def __init__(self, folder: NodeFolder, disk: Os, reserve_bytes: int, clock: Callable[[], float]) -> None:
        self._folder = folder
        self._disk = disk
        self._reserve_bytes = reserve_bytes
        self._clock = clock
        self._trouble: Trouble | None = None
        self._is_trying = False

    def note_failure(self, error: OSError) -> None:
        """A write failed."""
        is_of_room = error.errno in FULL_ERRNOS
        self._trouble = Trouble(self._clock(), "a write failed", error.strerror or str(error), is_of_room)

    def note_no_room(self, length: int) -> None:
        """A chunk of `length` bytes was refused."""
        what = f"a chunk of {size_words(length)} was refused"
        self._trouble = Trouble(self._clock(), what, "not enough room is left", is_of_room=True)

    def note_room_made(self) -> None:
        if self._trouble is not None and self._trouble.is_of_room:
            self._trouble = None

    def reason(self, used_bytes: int, capacity_bytes: int) -> str:
        """Why it takes no new chunks now; "" when it takes some."""
        if used_bytes >= capacity_bytes:
            return f"full: {size_words(used_bytes)} of {size_words(capacity_bytes)} used"
        try:
            is_read_only = self._disk.is_read_only(self._folder.path)
            free = self._disk.free_bytes(self._folder.path)
        except OSError as error:
            log.warning("%s: %s", self._folder.path, error)
            return f"its disk does not say how much is free: {error.strerror or error}"
        if is_read_only:
            return "its file system is mounted read-only"
        if free < self._reserve_bytes:
            return f"{size_words(free)} free on its disk, {size_words(self._reserve_bytes)} are kept free"
        return self._trouble_words()

    def trial(self) -> Callable[[], None] | None:
        """What shows whether it can write again, when that is due. It may take long on a disk that fails."""
        trouble = self._trouble
        if trouble is None or trouble.is_of_room or self._is_trying or self._clock() < trouble.at + TROUBLE_S:
            return None
        self._is_trying = True
        return self._try_writing

    def _try_writing(self) -> None:
        target = self._folder.tmp / f"trial.{secrets.token_hex(4)}"
        try:
            write_durably(self._disk, NewFile(target.with_name(f"{target.name}.new"), target, [b"trial"]))
            self._disk.unlink(target)
        except OSError as error:
            self.note_failure(error)
        else:
            self._trouble = None
            log.info("%s can be written again", self._folder.path)
        finally:
            self._is_trying = False

    def _trouble_words(self) -> str:
        trouble = self._trouble
        if trouble is None:
            return ""
        age_s = self._clock() - trouble.at
        if trouble.is_of_room and age_s >= TROUBLE_S:
            return ""
        return f"{trouble.what} {age_s:.0f} s ago: {trouble.why}"
