"""What the shell's upload command does, and what it prints of it."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cloudgrpc.clients import render
from cloudgrpc.clients.address import ID, SHARED
from cloudgrpc.clients.local_files import has_content
from cloudgrpc.clients.local_tree import left_out_words, plan
from cloudgrpc.clients.progress import metered
from cloudgrpc.clients.transfer import LONG_BYTES, Transfers, standing_upload
from cloudgrpc.clients.tree import TreeUpload, standing_file
from cloudgrpc.core.units import size_words
from cloudgrpc.errors import FolderUnknown, Missing, UsageWrong, VersionMoved
from cloudgrpc.shell.at_terminal import typable
from cloudgrpc.shell.broken_off import going_on_words, line_of, resumable
from cloudgrpc.shell.outcomes import many_words, missing_words, raise_failures, there_words, travel_words

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cloudgrpc.clients.local_tree import LocalTree
    from cloudgrpc.clients.many import Outcome
    from cloudgrpc.clients.places import Place, Places
    from cloudgrpc.clients.progress import Meter
    from cloudgrpc.clients.session import Session
    from cloudgrpc.pb import cloud_storage_pb2 as pb

RESUME = "--resume"


@dataclass(frozen=True)
class Wish:
    is_recursive: bool = False
    is_resuming: bool = False
    expected_version: int | None = None


class Uploading:
    def __init__(self, session: Session, places: Places, wish: Wish) -> None:
        self._session = session
        self._places = places
        self._wish = wish
        self._transfers = Transfers(session)

    def upload(self, words: Sequence[str], to: str | None) -> None:
        """Raises: of many, the first failure, in the words of the whole, after everything else was uploaded."""
        paths, target = self._target(words, to)
        local = [Path(path).expanduser() for path in paths]
        is_single = len(local) == 1 and not local[0].is_dir()
        if self._wish.expected_version is not None and not is_single:
            raise UsageWrong(reason="--if-version is for one file")
        if not target.is_folder and not is_single:
            raise UsageWrong(reason=f"{target.path} is a file; only one file can become its next content")
        command = self._command(words, to)
        if is_single:
            with resumable(self._transfers, command, RESUME):
                self._upload_one(local[0], target)
        else:
            with resumable(self._transfers, command, RESUME, goes_on=True):
                self._upload_many(local, target)

    def _target(self, words: Sequence[str], to: str | None) -> tuple[Sequence[str], Place]:
        """Which words are paths on this computer, and the folder they go to, or the file that one of them goes over.

        Raises: Missing, UsageWrong.
        """
        if to is not None:
            return words, self._checked(self._found(to, "no folder of your drive"))
        if len(words) == 2 and (place := self._second_word(words[1])):
            return words[:1], self._checked(place)
        return words, self._places.folder(".")

    def _second_word(self, word: str) -> Place | None:
        """What the second of two words means in the drive; None: it is another path on this computer."""
        is_here = Path(word).expanduser().exists()
        if is_here and not word.startswith(("/", SHARED)):
            return None
        try:
            found = self._found(word, "neither a folder of your drive nor anything on this computer")
        except Missing:
            if is_here:
                return None
            raise
        return None if is_here and not found.is_folder else found

    def _found(self, word: str, reason: str) -> Place:
        """Raises: Missing; FolderUnknown with `reason` for a folder that could be made."""
        try:
            return self._places.find(word)
        except Missing as error:
            if ID.fullmatch(word) or self._places.address(word).is_shared:
                raise Missing.told(f"{word} is {reason}.") from error
            raise FolderUnknown(path=word, reason=reason, folder=render.shown(typable(word))) from error

    def _checked(self, place: Place) -> Place:
        return self._places.folder(place.path) if place.is_shared_list else place

    def _upload_one(self, path: Path, target: Place) -> None:
        started = time.monotonic()
        size = path.stat().st_size if path.is_file() else 0
        shown = render.shown(target.path if target.file else f"{target.path.rstrip('/')}/{path.name}")
        with metered(path.name, size) as meter:
            if self._wish.is_resuming and self._is_done(path, target, meter):
                print(f"{shown} has this content already; nothing had to travel.")
                return
            uploaded = self._transfers.upload_file(
                path,
                target.entry_id,
                meter,
                unfinished=self._unfinished(path, size, target),
                expected_version=self._wish.expected_version,
            )
        took = travel_words(uploaded.size, uploaded.kept_bytes, "there", time.monotonic() - started)
        self._tell_resumed(is_any=uploaded.kept_bytes > 0)
        print(f"Uploaded {shown} ({took}), ID {uploaded.file_id}")

    def _tell_resumed(self, *, is_any: bool) -> None:
        """`is_any`: some of it was there already."""
        if self._wish.is_resuming and not is_any:
            print("There was nothing to go on with; all of it travelled.", file=sys.stderr)

    def _is_done(self, path: Path, target: Place, meter: Meter) -> bool:
        """Raises: VersionMoved, which the gateway would tell once all has travelled."""
        there = target.file or standing_file(self._session, target.entry_id, path.name)
        if there is not None and has_content(path, there.file_size, there.checksum, meter.kept):
            return True
        expected, version = self._wish.expected_version, there.version if there else 0
        if expected is not None and version != expected:
            raise VersionMoved(name=there.filename if there else path.name, version=version, expected=expected)
        return False

    def _unfinished(self, path: Path, size: int, target: Place) -> Mapping[str, pb.UploadStatus]:
        """What may be gone on with; of what may not, the person is told."""
        if size <= LONG_BYTES:
            return {}
        found = self._transfers.unfinished()
        if self._wish.is_resuming:
            return found
        standing = standing_upload(path, target.entry_id, found)
        if standing is not None and standing.stored_bytes:
            far = f"{size_words(standing.stored_bytes)} of {size_words(standing.file_size)}"
            words = f"An earlier upload of {path.name} broke off at {far}; with --resume it goes on from there."
            print(render.shown(words), file=sys.stderr)
        return {}

    def _upload_many(self, paths: Sequence[Path], target: Place) -> None:
        found = plan(paths, target.path, target.entry_id, self._wish.is_recursive)
        for path in found.left_out:
            print(render.shown(left_out_words(path)), file=sys.stderr)
        is_resuming = self._wish.is_resuming
        unfinished = self._transfers.unfinished() if is_resuming else {}
        started = time.monotonic()
        with metered("Uploading", found.size, len(found.files)) as meter:
            upload = TreeUpload(self._session, self._transfers, meter, unfinished, is_skipping=is_resuming)
            outcome = upload.run(found)
        self._tell_resumed(is_any=bool(unfinished or outcome.there))
        self._print_outcome(found, outcome, target, time.monotonic() - started)

    def _print_outcome(self, found: LocalTree, outcome: Outcome, target: Place, seconds: float) -> None:
        there = there_words(outcome.there, "there")
        print(f"Uploaded {many_words(outcome, seconds)} to {render.shown(target.path)}{there}")
        missing = len(found.files) - outcome.files - outcome.there + len(found.failures)
        words = f"Not everything was uploaded: {missing_words(missing)}"
        raise_failures(outcome.failures, words, going_on_words(self._transfers, RESUME))

    def _command(self, words: Sequence[str], to: str | None) -> str:
        """What goes on with this upload when it breaks off."""
        expected = self._wish.expected_version
        options = [
            RESUME,
            *["-r"] * self._wish.is_recursive,
            *(["--if-version", str(expected)] if expected is not None else []),
            *(["--to", to] if to is not None else []),
        ]
        return line_of("upload", options, words)
