"""What the shell's sync command does, and what it prints of it."""

from __future__ import annotations

import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cloudgrpc.clients import render
from cloudgrpc.clients.address import SHARED
from cloudgrpc.clients.local_tree import left_out_words
from cloudgrpc.clients.progress import metered
from cloudgrpc.clients.sync import Down, Up, compared, delete, doubts
from cloudgrpc.clients.sync_sides import DriveSide, LocalSide
from cloudgrpc.clients.transfer import Transfers
from cloudgrpc.core.sync import Act, Kind
from cloudgrpc.core.units import size_words
from cloudgrpc.errors import LocalFile, SyncClash, UsageWrong
from cloudgrpc.shell.broken_off import going_on_words, line_of, resumable
from cloudgrpc.shell.outcomes import many_words, raise_failures

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cloudgrpc.clients.many import Outcome
    from cloudgrpc.clients.places import Places
    from cloudgrpc.clients.session import Session
    from cloudgrpc.core.sync import Comparison, Step
    from cloudgrpc.errors import CloudError

KINDS = {Kind.FILE: "a file", Kind.FOLDER: "a folder", Kind.OTHER: "a link or a special file"}
DRIVE = "drive:"  # what a word begins with that is a place in the drive


@dataclass(frozen=True)
class Wish:
    is_deleting: bool = False
    is_dry: bool = False  # tell what would be done, and do nothing
    is_checking: bool = False  # look at contents even where times are equal
    is_sure: bool = False  # delete even when the source is empty
    is_json: bool = False


@dataclass
class Done:
    outcome: Outcome
    deleted: int
    failures: list[CloudError]


class Syncing:
    def __init__(self, session: Session, places: Places, wish: Wish) -> None:
        self._session = session
        self._places = places
        self._wish = wish
        self._transfers = Transfers(session)

    def sync(self, source: str, target: str) -> None:
        """Raises: of many failures the first, in the words of the whole, after everything else was done; SyncClash."""
        way = self._way(source, target)
        comparison = self._compare(way)
        if self._wish.is_dry:
            if self._wish.is_json:
                render.print_json(self._document((source, target), way, comparison, None))
            else:
                self._print_plan(way, comparison)
            return
        for step in comparison.steps:
            if step.act in {Act.CLASH, Act.LEAVE}:
                print(_line(way, step), file=sys.stderr)
        with resumable(self._transfers, self._command(source, target), goes_on=True):
            started = time.monotonic()
            done = self._do(way, comparison)
        if self._wish.is_json:
            render.print_json(self._document((source, target), way, comparison, done))
        else:
            self._print_done(way, comparison, done, time.monotonic() - started)
        is_keeping = any(step.act is Act.DELETE for step in comparison.steps) and not done.deleted
        words = f"Not everything was done{', and nothing was deleted' if is_keeping else ''}"
        raise_failures(done.failures, words, going_on_words(self._transfers))
        if comparison.clashes:
            raise SyncClash(count=f"{comparison.clashes:,}")

    def _way(self, source: str, target: str) -> Up | Down:
        """Raises: UsageWrong when it is unclear which side is the drive."""
        if _is_drive(source) == _is_drive(target):
            example = f"sync photos {DRIVE}/photos"
            raise UsageWrong(reason=f"write {DRIVE} before the side that is in your drive, and only there: {example}")
        if _is_drive(target):
            local = LocalSide(_existing(source))
            return Up(self._session, self._transfers, local, DriveSide(self._places, _word(target), is_target=True))
        drive = DriveSide(self._places, _word(source), is_target=False)
        return Down(self._transfers, drive, LocalSide(Path(target).expanduser()))

    def _compare(self, way: Up | Down) -> Comparison:
        doubtful = doubts(way, is_trusting_times=not self._wish.is_checking)
        with metered("Comparing", sum(item.size for item in doubtful), len(doubtful)) as meter:
            comparison = compared(way, meter, doubtful, is_deleting=self._wish.is_deleting)
        is_emptied = len(way.source.items) <= 1 < len(way.target.items)
        if self._wish.is_deleting and is_emptied and not (self._wish.is_sure or self._wish.is_dry):
            reason = (
                f"{way.source.path} is empty, so --delete would delete all of {way.target.path}; add --yes to do that"
            )
            raise UsageWrong(reason=reason)
        return comparison

    def _do(self, way: Up | Down, comparison: Comparison) -> Done:
        cleared = delete(way, comparison, Act.CLEAR)
        items = [step.item for step in comparison.steps if step.act in {Act.MAKE, Act.SEND}]
        files = [item for item in items if item.kind is Kind.FILE]
        with metered(way.doing, sum(file.size for file in files), len(files)) as meter:
            outcome = way.bring(items, meter)
        failures = [*way.source.failures, *way.target.failures, *cleared.failures, *outcome.failures]
        if failures:
            return Done(outcome, cleared.done, failures)
        deleted = delete(way, comparison, Act.DELETE)
        return Done(outcome, cleared.done + deleted.done, deleted.failures)

    def _print_plan(self, way: Up | Down, comparison: Comparison) -> None:
        for step in comparison.steps:
            print(_line(way, step))
        count = Counter(step.act for step in comparison.steps)
        size = sum(step.item.size for step in comparison.steps if step.act is Act.SEND)
        told = [f"{way.verb} {render.count(count[Act.SEND], 'file')} ({size_words(size)})"]
        told += [f"make {render.count(count[Act.MAKE], 'folder')}"] if count[Act.MAKE] else []
        deleted = count[Act.DELETE] + count[Act.CLEAR]
        told += [f"delete {deleted:,}"] if deleted else []
        print(f"Would {', '.join(told)}; {_rest_words(comparison)}")

    def _print_done(self, way: Up | Down, comparison: Comparison, done: Done, seconds: float) -> None:
        told = [f"{way.done} {many_words(done.outcome, seconds)}"]
        told += [f"made {render.count(done.outcome.folders, 'folder')}"] if done.outcome.folders else []
        told += [f"{way.deleted} {done.deleted:,}"] if done.deleted else []
        print(f"{', '.join(told)}; {_rest_words(comparison)}")

    def _document(self, words: Sequence[str], way: Up | Down, comparison: Comparison, done: Done | None) -> object:
        """As JSON tells it.

        source target   as they were typed
        steps           what differs, in order: action ("upload", "download", "make", "delete", "clear" for what is
                        deleted since something else comes there, "clash", "leave" for links), kind ("file", "folder",
                        "other"), path (of the target; of the source where it is left out), size in bytes
        same            files that are the same on both sides
        extra           files and folders that only the target has, and that stay
        done            null if nothing was done; else files, bytes and folders that were brought, what was deleted, and
                        failures in words
        """
        return {
            "source": words[0],
            "target": words[1],
            "steps": [_step_facts(way, step) for step in comparison.steps],
            "same": comparison.same,
            "extra": comparison.extra,
            "done": {
                "files": done.outcome.files,
                "bytes": done.outcome.size,
                "folders": done.outcome.folders,
                "deleted": done.deleted,
                "failures": [str(failure) for failure in done.failures],
            }
            if done
            else None,
        }

    def _command(self, source: str, target: str) -> str:
        """What goes on with this sync when it breaks off."""
        options = ["--delete"] * self._wish.is_deleting + ["--yes"] * self._wish.is_sure
        return line_of("sync", options, [source, target])


def _is_drive(word: str) -> bool:
    return word.startswith((DRIVE, SHARED))


def _word(word: str) -> str:
    """As other commands take it; `drive:` alone is the current folder."""
    return word.removeprefix(DRIVE) or "."


def _existing(word: str) -> Path:
    path = Path(word).expanduser()
    if not path.exists():
        raise LocalFile(path=path, reason="does not exist")
    return path


def _line(way: Up | Down, step: Step) -> str:
    item = step.item
    path = render.shown(way.target.shown(item)) + "/" * (item.kind is Kind.FOLDER)
    match step.act:
        case Act.SEND:
            return f"{way.verb:<10}{path} ({size_words(item.size)})"
        case Act.CLASH:
            return f"clash     {path} is {KINDS[item.kind]} there, and something else at the source; it was left alone"
        case Act.LEAVE:
            return f"leave     {render.shown(left_out_words(Path(way.source.shown(item))))}"
        case Act.CLEAR:
            return f"delete    {path}, since something else comes there"
    return f"{step.act:<10}{path}"


def _step_facts(way: Up | Down, step: Step) -> dict[str, object]:
    side = way.source if step.act is Act.LEAVE else way.target
    return {
        "action": way.verb if step.act is Act.SEND else step.act,
        "kind": step.item.kind,
        "path": side.shown(step.item),
        "size": step.item.size if step.item.kind is Kind.FILE else None,
    }


def _rest_words(comparison: Comparison) -> str:
    same = "1 file is the same" if comparison.same == 1 else f"{comparison.same:,} files are the same"
    told = [same]
    told += [f"{comparison.clashes:,} left alone"] if comparison.clashes else []
    told += [f"{comparison.extra:,} more only there"] if comparison.extra else []
    return ", ".join(told)
