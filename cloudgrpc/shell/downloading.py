"""What the shell's download command does, and what it prints of it."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cloudgrpc.clients import render
from cloudgrpc.clients.local_files import destination, local_fault
from cloudgrpc.clients.parts import aside
from cloudgrpc.clients.progress import metered
from cloudgrpc.clients.receiving import Extent
from cloudgrpc.clients.remote_tree import TreeDownload, tree_into
from cloudgrpc.clients.transfer import Transfers
from cloudgrpc.errors import UsageWrong
from cloudgrpc.shell.broken_off import going_on_words, line_of, resumable
from cloudgrpc.shell.outcomes import many_words, missing_words, raise_failures, there_words, travel_words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cloudgrpc.clients.places import Place, Places
    from cloudgrpc.clients.ranges import Range
    from cloudgrpc.clients.session import Session

STDOUT = "-"


@dataclass(frozen=True)
class Wish:
    is_recursive: bool = False
    version: int = 0  # 0: the newest
    range: Range | None = None


class Downloading:
    def __init__(self, session: Session, places: Places, wish: Wish) -> None:
        self._places = places
        self._wish = wish
        self._transfers = Transfers(session)

    def download(self, words: Sequence[str], output: str | None) -> None:
        """`output`: a file or folder of this computer, or "-"; without it the last of several words is that.

        Raises: of many, the first failure, in the words of the whole, after everything else was downloaded.
        """
        sources, told = self._split(words, output)
        found = self._places.expand(sources)
        self._check(found)
        command = self._command(words, output)
        target = Path(told).expanduser()
        if len(found) > 1 or found[0].is_folder:
            if told == STDOUT:
                raise UsageWrong(reason="only one file can be written to stdout")
            with resumable(self._transfers, command, goes_on=True):
                self._download_many(found, target)
            return
        if told.endswith("/") and not target.is_dir():
            raise UsageWrong(reason=f"{told} is not a folder on this computer")
        if told == STDOUT:
            self._write_out(found[0])
        elif self._wish.range:
            self._download_range(found[0], target)
        else:
            with resumable(self._transfers, command):
                self._download_one(found[0], target)

    def _split(self, words: Sequence[str], output: str | None) -> tuple[Sequence[str], str]:
        if output is not None:
            return words, output
        return (words[:-1], words[-1]) if len(words) > 1 else (words, ".")

    def _check(self, found: Sequence[Place]) -> None:
        """Raises: UsageWrong for what does not go together."""
        for place in found:
            if place.is_shared_list:
                raise UsageWrong(reason=f"{place.path} lists what others share; name something in it")
            if place.is_folder and not self._wish.is_recursive:
                raise UsageWrong(reason=f"{place.path} is a folder; add -r to download it with all it holds")
        if (self._wish.range or self._wish.version) and (len(found) > 1 or found[0].is_folder):
            raise UsageWrong(reason="--range and --version are for one file")

    def _download_one(self, place: Place, target: Path) -> None:
        started = time.monotonic()
        size = place.file.file_size if place.file and not self._wish.version else self._size(place)
        with metered(place.name, size) as meter:
            done = self._transfers.download_file(place.entry_id, target, meter, version=self._wish.version)
        took = travel_words(done.size, done.kept_bytes, "here", time.monotonic() - started)
        print(f"Downloaded {render.shown(str(done.path))} ({took})")

    def _size(self, place: Place) -> int:
        return self._transfers.reader(place.entry_id, self._wish.version).info().file_size

    def _download_range(self, place: Place, target: Path) -> None:
        reader = self._transfers.reader(place.entry_id, self._wish.version)
        extent = self._extent(reader.info().file_size)
        started = time.monotonic()
        ends = f"{extent.start}-{extent.start + (extent.length or 0) - 1}"
        path = destination(target, f"{place.name}.{ends}")
        with metered(place.name, extent.length or 0) as meter, aside(path) as file:
            self._transfers.copy_out(reader, file, extent, meter)
        took = render.pace(extent.length or 0, time.monotonic() - started)
        print(f"Downloaded bytes {ends} of {render.shown(place.path)} to {render.shown(str(path))} ({took})")

    def _write_out(self, place: Place) -> None:
        reader = self._transfers.reader(place.entry_id, self._wish.version)
        extent = self._extent(reader.info().file_size) if self._wish.range else Extent()
        sys.stdout.flush()
        self._transfers.copy_out(reader, sys.stdout.buffer, extent)
        sys.stdout.buffer.flush()

    def _extent(self, size: int) -> Extent:
        return Extent(*self._wish.range.within(size)) if self._wish.range else Extent()

    def _download_many(self, found: Sequence[Place], target: Path) -> None:
        _make(target)
        tree = tree_into(self._places, found, target)
        started = time.monotonic()
        with metered("Downloading", tree.size, len(tree.files)) as meter:
            outcome = TreeDownload(self._transfers, meter).run(tree)
        there = there_words(outcome.there, "here")
        told = many_words(outcome, time.monotonic() - started)
        print(f"Downloaded {told} to {render.shown(str(target))}{there}")
        missing = len(tree.files) - outcome.files - outcome.there + len(tree.failures)
        words = f"Not everything was downloaded: {missing_words(missing)}"
        raise_failures(outcome.failures, words, going_on_words(self._transfers))

    def _command(self, words: Sequence[str], output: str | None) -> str:
        """What goes on with this download when it breaks off."""
        options = ["-r"] * self._wish.is_recursive + (["-o", output] if output is not None else [])
        options += ["--version", str(self._wish.version)] if self._wish.version else []
        return line_of("download", options, words)


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise local_fault(error, folder) from error
