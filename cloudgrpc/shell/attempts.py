"""Doing the same to several things: when one fails the others go on, and every failure is told."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from cloudgrpc.clients import render
from cloudgrpc.errors import BadInput, CloudError, Missing, NotSignedIn, Unavailable, UsageWrong

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from cloudgrpc.clients.places import Place, Places


class Attempts:
    def __init__(self) -> None:
        self._made = 0
        self._failures: list[CloudError] = []

    @contextmanager
    def one(self) -> Iterator[None]:
        """Raises: what would meet all others as well."""
        self._made += 1
        try:
            yield
        except (NotSignedIn, Unavailable):
            raise
        except CloudError as error:
            self._failures.append(error)

    @contextmanager
    def naming(self) -> Iterator[None]:
        """Of a word that is to name something: unless it does, that is a failed attempt."""
        try:
            yield
        except (Missing, BadInput, UsageWrong) as error:
            self._made += 1
            self._failures.append(error)

    def named(self, places: Places, words: Sequence[str]) -> list[Place]:
        """What the words name, wildcards included, each thing once."""
        found: dict[str, Place] = {}
        for word in words:
            with self.naming():
                found |= {place.entry_id: place for place in places.expand([word])}
        return list(found.values())

    def finish(self, done: str) -> None:
        """Raises: the failure of a single attempt; of several, one of the first failure's kind in the words of all."""
        if not self._failures:
            return
        first = self._failures[0]
        if self._made == 1:
            raise first
        for failure in self._failures:
            print(render.shown(str(failure)), file=sys.stderr)
        raise type(first).told(f"{len(self._failures)} of {self._made} could not be {done}.")
