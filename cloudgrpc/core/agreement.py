"""Whether metadata and nodes agree about chunks. Pure: both sides are given."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Set

GOOD = "good"


class Level(StrEnum):
    PROGRESS = "progress"
    NOTE = "note"
    MISSING = "missing"  # repair makes it again
    LOST = "lost"
    WRONG = "wrong"  # the metadata itself


@dataclass(frozen=True)
class Known:
    """A chunk as the metadata has it. `copies`: their states by node."""

    is_needed: bool
    copies: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Stretch:
    """What the metadata knows of the chunk ids behind a place and up to `last` ("": to the end)."""

    last: str
    chunks: Mapping[str, Known]
    on_the_way: Set[str]  # of uploads, which may be on any node
    doomed: Set[tuple[str, str]]  # chunk and node: files without a copy's row that the node is told to delete


@dataclass(frozen=True)
class Disagreement:
    level: Level
    chunk_id: str
    message: str


def short_chunks(stretch: Stretch, files: Mapping[str, Set[str]], wanted: int) -> list[Disagreement]:
    """Chunks without all their good copies. `files`: the chunk ids that each node in reach has there; `wanted`: good
    copies that a chunk is to have."""
    found = [_of_chunk(chunk_id, known, files, wanted) for chunk_id, known in stretch.chunks.items() if known.is_needed]
    return [one for one in found if one is not None]


def unknown_files(stretch: Stretch, files: Mapping[str, Set[str]]) -> list[Disagreement]:
    """Files that no row names."""
    nobody = Known(is_needed=False)
    return [
        Disagreement(Level.NOTE, chunk_id, f"a file on {node_id} that no row names: it is collected in time")
        for node_id, ids in files.items()
        for chunk_id in sorted(ids - stretch.on_the_way)
        if node_id not in stretch.chunks.get(chunk_id, nobody).copies and (chunk_id, node_id) not in stretch.doomed
    ]


def _of_chunk(chunk_id: str, known: Known, files: Mapping[str, Set[str]], wanted: int) -> Disagreement | None:
    good = [node_id for node_id, state in known.copies.items() if state == GOOD]
    there = [node_id for node_id in good if node_id in files and chunk_id in files[node_id]]
    absent = [node_id for node_id in good if node_id in files and chunk_id not in files[node_id]]
    away = [node_id for node_id in good if node_id not in files]
    if len(there) >= wanted and not absent:
        return None
    words = [f"{len(there)} of {wanted} copies"]
    words += [f"{node_id} has no such file" for node_id in absent]
    words += [f"{node_id} cannot be reached" for node_id in away]
    level = Level.MISSING if there or away else Level.LOST
    return Disagreement(level, chunk_id, ", ".join(words))
