"""What has to happen so that one folder holds what another holds. Pure: both sides come as lists."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from cloudgrpc.core.paths import name_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    Key = tuple[str, ...]


class Kind(StrEnum):
    FILE = "file"
    FOLDER = "folder"
    OTHER = "other"  # a link, say: it neither travels nor is replaced


class Act(StrEnum):
    CLEAR = "clear"  # delete what stands in the way of a folder or file of the source
    MAKE = "make"
    SEND = "send"
    DELETE = "delete"  # what the source does not have
    CLASH = "clash"  # the target has something else there, such as a folder or a link for a file; nothing is done
    LEAVE = "leave"  # neither a file nor a folder; nothing is done


@dataclass(frozen=True)
class Item:
    """What one side has at a path."""

    names: tuple[str, ...]  # along the path, from the folder that is synced; none for that folder itself
    kind: Kind
    size: int = 0
    modified_ms: int | None = None

    @property
    def key(self) -> Key:
        return key_of(self.names)


@dataclass(frozen=True)
class Step:
    act: Act
    item: Item  # of the target for CLEAR, DELETE and CLASH, else of the source


@dataclass
class Comparison:
    """Steps come in the order in which they are to be done."""

    steps: list[Step] = field(default_factory=list)
    same: int = 0  # files
    extra: int = 0  # files and folders that only the target has, and that stay

    @property
    def clashes(self) -> int:
        return sum(step.act is Act.CLASH for step in self.steps)


def key_of(names: Iterable[str]) -> Key:
    return tuple(map(name_key, names))


def doubtful(source: Iterable[Item], target: Iterable[Item], *, is_trusting_times: bool) -> Iterator[Item]:
    """The source's files whose sizes agree with the target's and whose times cannot tell: only their contents can."""
    there = {item.key: item for item in target}
    for item in source:
        other = there.get(item.key)
        if other is None or not _agree(item, other):
            continue
        if not (is_trusting_times and item.modified_ms is not None and item.modified_ms == other.modified_ms):
            yield item


def compare(source: Iterable[Item], target: Iterable[Item], differing: set[Key], *, is_deleting: bool) -> Comparison:
    """`differing`: of the doubtful files those whose contents differ.

    On both sides a folder comes before what it holds. What is deleted is named once, with all it holds; a folder that
    holds a link, say, stays.
    """
    wanted = {item.key: item for item in source}
    there = {item.key: item for item in target}
    others = [key for key, item in there.items() if item.kind is Kind.OTHER]
    deletable = there.keys() - {key[:end] for key in others for end in range(len(key) + 1)} if is_deleting else set()
    found = Comparison()
    shut: set[Key] = set()  # what lies below these needs no look
    for key, item in wanted.items():
        if not _is_below(key, shut) and not _match(item, there.get(key), key in differing, key in deletable, found):
            shut.add(key)
    shut |= {step.item.key for step in found.steps if step.act is Act.CLEAR}
    for key, item in there.items():
        if _is_below(key, shut) or key in wanted:
            continue
        if key in deletable:
            found.steps.append(Step(Act.DELETE, item))
            shut.add(key)
        else:
            found.extra += 1
    order = list(Act)
    found.steps.sort(key=lambda step: order.index(step.act))
    return found


def _match(item: Item, other: Item | None, is_differing: bool, is_deletable: bool, found: Comparison) -> bool:
    """Note what has to be done for one item of the source; False: nothing, neither for it nor for what it holds."""
    if item.kind is Kind.OTHER:
        found.steps.append(Step(Act.LEAVE, item))
        return False
    if other is None:
        found.steps.append(_bring(item))
    elif other.kind is item.kind:
        is_same = item.kind is Kind.FILE and _agree(item, other) and not is_differing
        found.same += is_same
        if item.kind is Kind.FILE and not is_same:
            found.steps.append(_bring(item))
    elif is_deletable:
        found.steps += [Step(Act.CLEAR, other), _bring(item)]
    else:
        found.steps.append(Step(Act.CLASH, other))
        return False
    return True


def _is_below(key: Key, shut: set[Key]) -> bool:
    """Notes it, too, for what lies below `key`."""
    if key and key[:-1] in shut:
        shut.add(key)
        return True
    return False


def _bring(item: Item) -> Step:
    return Step(Act.MAKE if item.kind is Kind.FOLDER else Act.SEND, item)


def _agree(item: Item, other: Item) -> bool:
    """As far as their sizes tell."""
    return item.kind is other.kind is Kind.FILE and item.size == other.size
