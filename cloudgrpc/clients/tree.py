"""Uploading many files at once: whole folders, and several paths side by side.

What cannot be uploaded is reported and the rest goes on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cloudgrpc.clients.local_files import check_local_name, has_content
from cloudgrpc.clients.many import Crew
from cloudgrpc.clients.sending import Uploaded
from cloudgrpc.core.paths import name_key
from cloudgrpc.errors import CloudError, Missing, NameTaken
from cloudgrpc.pb import cloud_storage_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from cloudgrpc.clients.local_tree import LocalEntry, LocalFolder, LocalTree
    from cloudgrpc.clients.many import Outcome
    from cloudgrpc.clients.progress import Meter
    from cloudgrpc.clients.session import Session
    from cloudgrpc.clients.transfer import Transfers, Unfinished

PAGE = 1000


class TreeUpload:
    def __init__(
        self,
        session: Session,
        transfers: Transfers,
        meter: Meter,
        unfinished: Unfinished | None = None,
        *,
        is_skipping: bool = False,
    ) -> None:
        """`unfinished`: uploads to go on with. `is_skipping`: what is in the drive already does not travel again."""
        self._session = session
        self._transfers = transfers
        self._meter = meter
        self._unfinished = unfinished
        self._is_skipping = is_skipping
        self._crew = Crew(transfers)
        self._there: dict[LocalFolder, dict[str, pb.FileEntry]] = {}  # by the keys of their names

    def run(self, found: LocalTree) -> Outcome:
        """Failures are in the outcome. Ctrl-C ends all transfers and is raised."""
        for failure in found.failures:
            self._crew.failed(failure)
        lost = self._make_folders(found.folders)
        files = [file for file in found.files if file.folder not in lost]
        if self._is_skipping:
            self._look_into({file.folder for file in files})
        self._crew.move(files, self._upload, self._upload_together)
        return self._crew.outcome

    def _make_folders(self, folders: Iterable[LocalFolder]) -> set[LocalFolder]:
        """Returns those that could not be made, with all below them."""
        lost: set[LocalFolder] = set()
        for folder in folders:
            if folder.folder_id is not None:
                continue
            if folder.parent in lost or self._crew.is_stopped:
                lost.add(folder)
                continue
            try:
                folder.folder_id = self._make_folder(folder)
            except CloudError as error:
                self._crew.failed(error, folder.path)
                lost.add(folder)
        return lost

    def _make_folder(self, folder: LocalFolder) -> str:
        check_local_name(folder.path, folder.name)
        parent_id = (folder.parent and folder.parent.folder_id) or ""
        request = pb.CreateFolderRequest(
            session_token=self._session.token, folder_name=folder.name, parent_folder_id=parent_id
        )
        try:
            made = self._session.call(self._session.gateway.files.CreateFolder, request).folder_id
        except NameTaken:
            return self._existing(folder, parent_id)
        self._there[folder] = {}
        self._crew.outcome.folders += 1
        return made

    def _existing(self, folder: LocalFolder, parent_id: str) -> str:
        reply = _resolve(self._session, parent_id, folder.name)
        if reply.HasField("file"):
            raise NameTaken(name=f"{folder.drive_path} (a file, in the place of a folder)")
        return reply.folder.folder_id

    def _look_into(self, folders: Iterable[LocalFolder]) -> None:
        """See what the drive has in them, unless they were made just now."""
        for folder in folders:
            if folder in self._there:
                continue
            try:
                files = _files_in(self._session, folder.folder_id or "")
                self._there[folder] = {name_key(file.filename): file for file in files}
            except CloudError as error:
                self._crew.failed(error, folder.path)

    def _upload(self, file: LocalEntry) -> bool:
        is_there = self._is_there(file)
        if not is_there:
            folder_id = file.folder.folder_id or ""
            self._transfers.upload_file(file.path, folder_id, self._meter, unfinished=self._unfinished)
        self._meter.file_done()
        return not is_there

    def _upload_together(self, files: Sequence[LocalEntry]) -> list[bool | CloudError | None]:
        there = {file: self._is_there(file) for file in files}
        going = [file for file in files if not there[file]]
        together = [(file.path, file.folder.folder_id or "") for file in going]
        came = dict(zip(going, self._transfers.upload_together(together, self._meter), strict=True))
        outcomes: list[bool | CloudError | None] = []
        for file in files:
            outcome = came.get(file)
            outcomes.append(False if there[file] else True if isinstance(outcome, Uploaded) else outcome)
            if isinstance(outcomes[-1], bool):
                self._meter.file_done()
        return outcomes

    def _is_there(self, file: LocalEntry) -> bool:
        there = self._there.get(file.folder, {}).get(name_key(file.path.name))
        return there is not None and has_content(file.path, there.file_size, there.checksum, self._meter.kept)


def standing_file(session: Session, folder_id: str, name: str) -> pb.FileEntry | None:
    """The file of that name in a folder of the drive; None: there is none."""
    try:
        reply = _resolve(session, folder_id, name)
    except Missing:
        return None
    return reply.file if reply.HasField("file") else None


def _resolve(session: Session, folder_id: str, name: str) -> pb.ResolvePathResponse:
    request = pb.ResolvePathRequest(session_token=session.token, folder_id=folder_id, path=f"/{name}")
    return session.call(session.gateway.files.ResolvePath, request)


def _files_in(session: Session, folder_id: str) -> Iterator[pb.FileEntry]:
    request = pb.ListFilesRequest(session_token=session.token, folder_id=folder_id, page_size=PAGE)
    while True:
        page = session.call(session.gateway.files.ListFiles, request)
        yield from page.files
        if not page.next_page_token:
            return
        request.page_token = page.next_page_token
