"""The shell's commands by name. A module is loaded when one of its commands is wanted, so that a single command starts
as fast as if there were no others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from cloudgrpc.shell.parser import Command


@dataclass(frozen=True)
class Part:
    """Commands that are loaded together."""

    title: str  # of the group they are shown in
    names: tuple[str, ...]
    load: Callable[[], list[Command]]


class CommandTable(Mapping[str, "Command"]):
    def __init__(self, parts: Sequence[Part]) -> None:
        self._parts = {name: part for part in parts for name in part.names}
        self._loaded: dict[str, Command] = {}

    def groups(self) -> dict[str, list[Command]]:
        """All, by the titles of their groups."""
        found: dict[str, list[Command]] = {}
        for name, part in self._parts.items():
            found.setdefault(part.title, []).append(self[name])
        return found

    def __getitem__(self, name: str) -> Command:
        if name not in self._loaded:
            self._loaded |= {command.name: command for command in self._parts[name].load()}
        return self._loaded[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._parts)

    def __len__(self) -> int:
        return len(self._parts)
