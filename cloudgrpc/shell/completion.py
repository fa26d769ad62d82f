"""The marks that say what completes an argument when a person presses Tab; the prompt alone acts on them."""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence


class Completes(Enum):
    """Where the words come from; a mark on an argument is its attribute `completes`."""

    REMOTE = auto()  # files and folders of the drive, and of what is shared
    REMOTE_FOLDER = auto()
    LOCAL = auto()  # files and folders of this computer
    LOCAL_FOLDER = auto()
    LOCAL_TO_REMOTE = auto()  # the first word is LOCAL, a later one may be where that goes
    REMOTE_TO_LOCAL = auto()
    SIDE = auto()  # LOCAL, or with drive: or shared: before it REMOTE
    COMMAND = auto()  # commands of this shell
    TRASH = auto()  # names of what lies in the trash
    TIER = auto()  # what can be bought
    PAYMENT = auto()  # IDs of one's own payments

    def on(self, action: argparse.Action) -> None:
        _mark(action, self)


REMOTE = Completes.REMOTE
REMOTE_FOLDER = Completes.REMOTE_FOLDER
LOCAL = Completes.LOCAL
LOCAL_FOLDER = Completes.LOCAL_FOLDER
LOCAL_TO_REMOTE = Completes.LOCAL_TO_REMOTE
REMOTE_TO_LOCAL = Completes.REMOTE_TO_LOCAL
SIDE = Completes.SIDE
COMMAND = Completes.COMMAND
TRASH = Completes.TRASH
TIER = Completes.TIER
PAYMENT = Completes.PAYMENT


def suggest(action: argparse.Action, words: Sequence[str]) -> None:
    """Complete these words, though others are right as well."""
    _mark(action, tuple(words))


def mark_of(action: argparse.Action) -> Completes | tuple[str, ...] | None:
    mark: Completes | tuple[str, ...] | None = getattr(action, "completes", None)
    return mark


def _mark(action: argparse.Action, mark: Completes | tuple[str, ...]) -> None:
    action.completes = mark  # type: ignore[attr-defined]  # argparse leaves its actions open to such marks
