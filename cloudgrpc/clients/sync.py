"""Making one folder hold what another holds: what differs travels, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cloudgrpc.clients.local_files import has_content
from cloudgrpc.clients.local_tree import LocalFolder, LocalTree
from cloudgrpc.clients.remote_tree import RemoteEntry, RemoteTree, TreeDownload
from cloudgrpc.clients.tree import TreeUpload
from cloudgrpc.core.sync import Act, Item, Kind, compare, doubtful
from cloudgrpc.errors import CloudError
from cloudgrpc.pb import cloud_storage_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cloudgrpc.clients.many import Outcome
    from cloudgrpc.clients.progress import Meter
    from cloudgrpc.clients.session import Session
    from cloudgrpc.clients.sync_sides import DriveSide, LocalSide
    from cloudgrpc.clients.transfer import Transfers
    from cloudgrpc.core.sync import Comparison, Key


class Up:
    """From this computer into the drive."""

    verb, doing, done, deleted = "upload", "Uploading", "Uploaded", "moved to the trash:"

    def __init__(self, session: Session, transfers: Transfers, local: LocalSide, drive: DriveSide) -> None:
        self.source = self.local = local
        self.target = self.drive = drive
        self._session = session
        self._transfers = transfers

    def bring(self, items: Sequence[Item], meter: Meter) -> Outcome:
        tree = LocalTree()
        for key, folder in self.local.folders.items():
            standing = self.drive.places.get(key)
            if standing is not None and standing.is_folder:
                folder.folder_id = standing.entry_id
            if not key:
                self._set_up(folder)
        for item in items:
            if item.kind is Kind.FOLDER:
                tree.folders.append(self.local.folders[item.key])
            else:
                tree.files.append(self.local.files[item.key])
        return TreeUpload(self._session, self._transfers, meter, self._transfers.unfinished()).run(tree)

    def _set_up(self, top: LocalFolder) -> None:
        """What the folder of this computer becomes, whatever it is called here."""
        top.name, top.drive_path = self.drive.name, self.drive.path
        if self.drive.parent is not None:
            top.parent = LocalFolder(top.path.parent, "", None, "", self.drive.parent.entry_id)


class Down:
    """From the drive to this computer."""

    verb, doing, done, deleted = "download", "Downloading", "Downloaded", "deleted"

    def __init__(self, transfers: Transfers, drive: DriveSide, local: LocalSide) -> None:
        self.source = self.drive = drive
        self.target = self.local = local
        self._transfers = transfers

    def bring(self, items: Sequence[Item], meter: Meter) -> Outcome:
        tree = RemoteTree(top=self.local.path)
        for item in items:
            entry = RemoteEntry(self.drive.places[item.key], self.local.path_of(item.names))
            (tree.folders if item.kind is Kind.FOLDER else tree.files).append(entry)
        return TreeDownload(self._transfers, meter, is_keeping_times=True).run(tree)


def compared(way: Up | Down, meter: Meter, doubts: Sequence[Item], *, is_deleting: bool) -> Comparison:
    """`doubts`: files whose contents have to be looked at."""
    differing = {item.key for item in doubts if not _is_same(way, item.key, meter)}
    return compare(way.source.items, way.target.items, differing, is_deleting=is_deleting)


def doubts(way: Up | Down, *, is_trusting_times: bool) -> list[Item]:
    return list(doubtful(way.source.items, way.target.items, is_trusting_times=is_trusting_times))


@dataclass
class Deletions:
    done: int = 0
    failures: list[CloudError] = field(default_factory=list)


def delete(way: Up | Down, comparison: Comparison, act: Act) -> Deletions:
    deletions = Deletions()
    for step in comparison.steps:
        if step.act is act:
            try:
                way.target.delete(step.item)
                deletions.done += 1
            except CloudError as error:
                deletions.failures.append(error)
    return deletions


def _is_same(way: Up | Down, key: Key, meter: Meter) -> bool:
    file = way.drive.places[key].file or pb.FileEntry()
    is_same = has_content(way.local.files[key].path, file.file_size, file.checksum, meter.moved)
    meter.file_done()
    return is_same
