"""The contents that a file had: showing them, making one the newest again, deleting some for good."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cloudgrpc.clients import render
from cloudgrpc.core.units import size_words
from cloudgrpc.errors import UsageWrong
from cloudgrpc.pb import cloud_storage_pb2 as pb
from cloudgrpc.shell import at_terminal
from cloudgrpc.shell.attempts import Attempts

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from cloudgrpc.clients.places import Place, Places
    from cloudgrpc.clients.session import Session


class Versions:
    def __init__(self, session: Session, places: Places) -> None:
        self._session = session
        self._history = session.gateway.history
        self._places = places

    def print(self, word: str) -> None:
        file = self._file(word)
        versions = list(self._all(file))
        columns = ["Version", "Size", "Made", "By"]
        render.print_table(columns, [_row(version) for version in versions], right=["Version", "Size"])
        if len(versions) > 1:
            at_terminal.hint(f"Make one the newest again with: versions restore {at_terminal.typable(file.path)} N")

    def print_json(self, word: str) -> None:
        render.print_json_list(_facts(version) for version in self._all(self._file(word)))

    def restore(self, word: str, number: int, if_version: int | None) -> None:
        file = self._file(word)
        request = pb.RestoreVersionRequest(
            session_token=self._session.token, file_id=file.entry_id, version=number, expected_version=if_version
        )
        restored = self._session.call(self._history.RestoreVersion, request)
        path = render.shown(file.path)
        if file.file is not None and file.file.version == restored.version:
            print(f"{path} has the content of version {number} already.")
        else:
            print(f"Version {number} of {path} is its newest content again, as version {restored.version}")

    def remove(self, word: str, numbers: Sequence[int]) -> None:
        """Raises: as `Attempts.finish`."""
        file = self._file(word)
        attempts = Attempts()
        for number in dict.fromkeys(numbers):
            with attempts.one():
                request = pb.DeleteVersionRequest(
                    session_token=self._session.token, file_id=file.entry_id, version=number
                )
                self._session.call(self._history.DeleteVersion, request)
                print(f"Deleted version {number} of {render.shown(file.path)} for good.")
        attempts.finish("deleted")

    def _all(self, file: Place) -> Iterator[pb.VersionEntry]:
        """The newest first."""
        request = pb.ListVersionsRequest(session_token=self._session.token, file_id=file.entry_id)
        while True:
            page = self._session.call(self._history.ListVersions, request)
            yield from page.versions
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def _file(self, word: str) -> Place:
        found = self._places.find(word)
        if found.is_folder:
            raise UsageWrong(reason=f"{found.path} is a folder; only files have versions")
        return found


def _facts(version: pb.VersionEntry) -> dict[str, object]:
    """`versions --json` is a list of these, the newest first.

    version     1, 2, 3 ...
    size        bytes
    type        such as "image/png"
    checksum    "blake3:<hex>" of the content
    made_at
    made_by     an e-mail; null when that account is gone
    is_newest
    """
    return {
        "version": version.version,
        "size": version.file_size,
        "type": version.mime_type or None,
        "checksum": version.checksum,
        "made_at": version.created_at,
        "made_by": version.made_by_email or None,
        "is_newest": version.is_newest,
    }


def _row(version: pb.VersionEntry) -> tuple[str, str, str, str]:
    mark = "  (the newest)" if version.is_newest else ""
    made = render.when(version.created_at)
    return str(version.version), size_words(version.file_size), made, render.shown(version.made_by_email) + mark
