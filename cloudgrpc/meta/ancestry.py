"""Where many entries stand: what holds them, and what holds that, read in batches."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cloudgrpc.meta.db import rows
from cloudgrpc.meta.models import Entry
from cloudgrpc.meta.tree import batches

if TYPE_CHECKING:
    from collections.abc import Iterable


class Ancestry:
    """As it is in one transaction; what was read once is remembered."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[str, str | None, bool]] = {}  # name, parent's id, whether it was purged

    def learn(self, entry_ids: Iterable[str]) -> None:
        """Read these entries and all that hold them."""
        wanted = set(entry_ids) - self._known.keys()
        links = Entry.select(Entry.entry_id, Entry.name, Entry.parent, Entry.purged_at.is_null(False))
        while wanted:
            for batch in batches(sorted(wanted)):
                found = rows(links.where(Entry.entry_id.in_(batch)))
                self._known |= {entry_id: (name, parent, bool(purged)) for entry_id, name, parent, purged in found}
            wanted = {parent for one in wanted if (parent := self._known[one][1]) is not None} - self._known.keys()

    def names_below(self, entry_id: str, top_id: str) -> list[str] | None:
        """The names along the way from below `top_id` to the entry, none for itself; None: it does not hang there."""
        names = []
        while entry_id != top_id:
            name, parent_id, _ = self._known[entry_id]
            if parent_id is None:
                return None
            names.append(name)
            entry_id = parent_id
        return names[::-1]

    def is_purged(self, entry_id: str) -> bool:
        """Whether it was deleted for good, by itself or with what held it."""
        while (parent_id := self._known[entry_id][1]) is not None:
            entry_id = parent_id
        return self._known[entry_id][2]
