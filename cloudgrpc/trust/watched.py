"""What a file says, read again when it changes, so that nothing has to be started anew."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Generic, TypeVar

from cloudgrpc.errors import CloudError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

log = logging.getLogger(__name__)

Value = TypeVar("Value")

LOOK_S = 0.5  # a look is one stat; rotation counts on all having looked after cloudgrpc.trust.secret_files.SETTLED_S


class Watched(Generic[Value]):
    """`path`: None for what cannot change. Whoever asks has it looked at, so that nothing runs where nobody asks."""

    def __init__(
        self, path: Path | None, read: Callable[[], Value], clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Raises: what `read` does, here and never later: then what was read last stays in use."""
        self._path = path
        self._read = read
        self._clock = clock
        self._seen = self._sight()  # before reading: what changes in between is then read again
        self._value = read()
        self._look_at = clock() + LOOK_S

    @property
    def value(self) -> Value:
        if self._path is not None and self._clock() >= self._look_at:
            self._look_at = self._clock() + LOOK_S
            self._look()
        return self._value

    def _look(self) -> None:
        seen = self._sight()
        if seen == self._seen:
            return
        self._seen = seen
        try:
            value = self._read()
        except CloudError as error:
            log.warning("%s (what was read before stays in use)", error)
            return
        if value != self._value:
            self._value = value
            log.info("%s has changed and is in use as it is now", self._path)

    def _sight(self) -> tuple[int, int] | None:
        """What differs after every change, also of its mode: the time of change, and which file it is."""
        try:
            facts = self._path.stat() if self._path is not None else None
        except OSError:
            return None
        return facts and (facts.st_ctime_ns, facts.st_ino)
