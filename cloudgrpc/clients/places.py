"""Finding what a person's word names: by a path, from the current folder, by an ID, or within what others share.

How such words look is told in `address`; an ID is 32 hexadecimal digits.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cloudgrpc.clients.address import (
    ID,
    ROOT,
    SHARED,
    SHARED_LIST,
    Address,
    address_of,
    is_pattern,
    literal_start,
    matcher,
)
from cloudgrpc.clients.shared_with_me import Share, Shares, shared_with_me
from cloudgrpc.core.paths import check_name, name_key
from cloudgrpc.errors import InvalidField, Missing, UsageWrong
from cloudgrpc.pb import cloud_storage_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from cloudgrpc.clients.session import Session

PAGE = 1000
UNTOLD = -1  # how many files a folder holds, where the gateway does not tell
NO_NAMES = {".", ".."}  # though names begin so, a gateway refuses them


@dataclass(frozen=True)
class Place:
    """What stands at an address."""

    entry_id: str  # "" is the root folder; of a list of shares its path, which is no ID
    name: str  # "" for the root folder
    path: str  # what a person types for it
    file: pb.FileEntry | None = None
    folder: pb.FolderEntry | None = None  # None for a file, the root folder and lists of shares
    permission: str = "own"  # "own", "write" or "read"
    owner_email: str = ""  # "" where it was not told

    @property
    def is_folder(self) -> bool:
        return self.file is None

    @property
    def is_deleted(self) -> bool:
        """It lies in the trash."""
        entry = self.file or self.folder
        return entry is not None and entry.is_deleted

    @property
    def is_shared_list(self) -> bool:
        """`shared:` or `shared:OWNER`: it can be listed and entered, and holds nothing but what others share."""
        return self.path.startswith(SHARED) and "/" not in self.path


ROOT_PLACE = Place("", "", str(ROOT))


@dataclass
class WorkingFolder:
    """The current folder of a shell, kept from command to command."""

    address: Address = ROOT
    previous: Address = ROOT

    @property
    def path(self) -> str:
        return str(self.address)

    def go(self, address: Address) -> None:
        self.previous, self.address = self.address, address


@dataclass
class Places:
    """Look-ups for one command of the person who is signed in."""

    session: Session
    working: WorkingFolder
    _shares: Shares | None = field(default=None, init=False)

    def find(self, word: str) -> Place:
        """What looks like an ID is a name only where nothing has that ID. Raises: Missing, InvalidField."""
        _check_word(word)
        if ID.fullmatch(word):
            with suppress(Missing):
                return self.by_id(word)
        return self.at(self.address(word))

    def folder(self, word: str) -> Place:
        """A folder that can hold files. Raises: Missing, UsageWrong when it is a file or a list of shares."""
        found = self.find(word)
        if not found.is_folder:
            raise UsageWrong(reason=f"{found.path} is a file; a folder is needed here")
        if found.is_shared_list:
            raise UsageWrong(reason=f"{found.path} lists what others share; name a folder in it")
        return found

    def new(self, word: str) -> tuple[Place, str]:
        """The existing folder, and the name of something to be made in it; it may exist already.

        Raises: Missing, InvalidField, UsageWrong when it would lie in a file or among the shares.
        """
        _check_word(word)
        address = self.address(word)
        last = word.rstrip("/").rpartition("/")[2]
        if last in {"", ".", ".."} or not address.names:
            raise InvalidField(field="path", reason=f"{word} names nothing new")
        check_name(address.name, "path")
        return self._holder(self.at(address.parent)), address.name

    def expand(self, words: Sequence[str]) -> list[Place]:
        """What each word names, with wildcards in any part of a path; what exists under a pattern's very letters is
        that, and nothing comes twice. Raises: Missing, also when a pattern matches nothing."""
        found = {place.path: place for word in words for place in self._expand(word)}
        return list(found.values())

    def children(self, folder: Place, prefix: str = "", page: int = PAGE) -> Iterator[Place]:
        """What a folder holds, `page` entries at a time, folders first, each kind by name; `prefix`: of the names."""
        return (place for each in self.pages(folder, prefix, size=page) for place in each)

    def pages(
        self, folder: Place, prefix: str = "", *, with_trash: bool = False, size: int = PAGE
    ) -> Iterator[list[Place]]:
        """A folder's listing, at most `size` entries at a time. Raises: Missing."""
        if folder.is_shared_list:
            yield [place for place in self._shared_children(folder) if _begins(place.name, prefix)]
            return
        request = pb.ListFilesRequest(
            session_token=self.session.token,
            folder_id=folder.entry_id,
            include_deleted=with_trash,
            page_size=size,
            name_prefix="" if prefix in NO_NAMES else prefix,
        )
        while True:
            page = self.session.call(self.session.gateway.files.ListFiles, request)
            # A gateway of an older version knows no prefix and sends everything, of whatever name.
            yield [
                *(_inner_folder(folder, entry) for entry in page.folders if _begins(entry.folder_name, prefix)),
                *(_inner_file(folder, entry) for entry in page.files if _begins(entry.filename, prefix)),
            ]
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def address(self, word: str) -> Address:
        """What a path names from the current folder, whether it exists or not."""
        return address_of(word, self.working.address)

    def near(self, place: Place) -> str:
        """Its path as it looks from the current folder, if it lies below that; else the whole path."""
        return place.path.removeprefix(f"{self.working.path.rstrip('/')}/") or place.path

    def at(self, address: Address) -> Place:
        """Raises: Missing."""
        if address == ROOT:
            return ROOT_PLACE
        if address.is_shared_list:
            return self._shared_list(address)
        if not address.is_shared:
            return self._resolve(address, "", address.names)
        share = self._share(address)
        return self._resolve(address, share.entry.file_id, address.names[2:])

    def whole(self, place: Place) -> Place:
        """With everything the gateway tells of it, which a list does not. Raises: Missing."""
        if place.is_shared_list:
            return place
        return _place(self._resolved("", place.entry_id), place.path)

    def by_id(self, word: str) -> Place:
        """Raises: Missing."""
        reply = self._resolved("", word.lower())
        if reply.permission == "own":
            return _place(reply, reply.path)
        # The gateway tells the path from what was shared, which may have another name here.
        top, *below = address_of(reply.path).names
        shares = self._shared().get(reply.owner_email, {}).values()
        name = next((share.name for share in shares if share.entry.share_token == reply.share_token), top)
        return _place(reply, str(Address((reply.owner_email, name, *below), is_shared=True)))

    def _holder(self, place: Place) -> Place:
        if not place.is_folder or place.is_shared_list:
            raise UsageWrong(reason=f"nothing can be made in {place.path}, which is no folder")
        return place

    def _resolve(self, address: Address, start_id: str, names: Iterable[str]) -> Place:
        try:
            reply = self._resolved("/" + "/".join(names), start_id)
        except Missing as error:
            if not address.is_shared:
                raise
            raise Missing(what=address) from error
        return _place(reply, str(address))

    def _resolved(self, path: str, start_id: str) -> pb.ResolvePathResponse:
        request = pb.ResolvePathRequest(session_token=self.session.token, path=path, folder_id=start_id)
        return self.session.call(self.session.gateway.files.ResolvePath, request)

    def _expand(self, word: str) -> list[Place]:
        _check_word(word)
        address = self.address(word)
        if ID.fullmatch(word) or not any(map(is_pattern, address.names)):
            return [self.find(word)]
        try:
            return [self.at(address)]
        except (Missing, InvalidField):
            # Not a name of that very spelling; a pattern may also be no name at all.
            found = self._matching(address)
        if not found:
            raise Missing.told(f"Nothing matches {word}.")
        return found

    def _matching(self, address: Address) -> list[Place]:
        names = list(address.names)
        first = next(index for index, name in enumerate(names) if is_pattern(name))
        try:
            found = [self.at(Address(tuple(names[:first]), address.is_shared))]
        except Missing:
            return []
        for name in names[first:]:
            found = [inner for place in found if place.is_folder for inner in self._step(place, name)]
        return found

    def _step(self, folder: Place, name: str) -> list[Place]:
        """What in a folder has a name, which may be a pattern."""
        if is_pattern(name):
            fits = matcher(name)
            found = [place for place in self.children(folder, literal_start(name)) if fits(place.name)]
            if found:
                return found
        try:
            return [self.at(address_of(folder.path).child(name))]
        except (Missing, InvalidField):
            return []

    def _shared_list(self, address: Address) -> Place:
        """Raises: Missing when that person shares nothing with me."""
        if address != SHARED_LIST and address.name.lower() not in self._shared():
            raise Missing(what=address)
        return Place(str(address), address.name, str(address), permission="read")

    def _shared_children(self, listing: Place) -> Iterator[Place]:
        address = address_of(listing.path)
        if address == SHARED_LIST:
            for owner in sorted(self._shared()):
                yield self._shared_list(address.child(owner))
            return
        for _, share in sorted(self._shared().get(address.name.lower(), {}).items()):
            yield _shared_place(address.child(share.name), share)

    def _share(self, address: Address) -> Share:
        owner, top, *_ = address.names
        share = self._shared().get(owner.lower(), {}).get(name_key(top))
        if share is None:
            raise Missing(what=address)
        return share

    def _shared(self) -> Shares:
        if self._shares is None:
            self._shares = shared_with_me(self.session)
        return self._shares


def _check_word(word: str) -> None:
    """Raises: InvalidField. A script's variable that was never set does not mean the current folder."""
    if not word:
        raise InvalidField(field="path", reason="must not be empty")
    try:
        word.encode()
    except UnicodeEncodeError as error:
        raise InvalidField(field="path", reason=f"{word} is no UTF-8") from error


def _begins(name: str, prefix: str) -> bool:
    return name_key(name).startswith(name_key(prefix))


def _place(reply: pb.ResolvePathResponse, path: str) -> Place:
    file = reply.file if reply.HasField("file") else None
    folder = None if file else reply.folder
    return Place(
        entry_id=file.file_id if file else reply.folder.folder_id,
        name=file.filename if file else reply.folder.folder_name,
        path=path,
        file=file,
        folder=folder,
        permission=reply.permission or "own",
        owner_email=reply.owner_email,
    )


def _inner_file(folder: Place, entry: pb.FileEntry) -> Place:
    path = f"{folder.path.rstrip('/')}/{entry.filename}"
    return Place(entry.file_id, entry.filename, path, entry, permission=folder.permission)


def _inner_folder(folder: Place, entry: pb.FolderEntry) -> Place:
    path = f"{folder.path.rstrip('/')}/{entry.folder_name}"
    return Place(entry.folder_id, entry.folder_name, path, folder=entry, permission=folder.permission)


def _shared_place(address: Address, share: Share) -> Place:
    """With what the list of shares tells, which is less than a folder's list does."""
    entry, path = share.entry, str(address)
    if entry.is_folder:
        folder = pb.FolderEntry(folder_id=entry.file_id, folder_name=entry.filename, file_count=UNTOLD, is_shared=True)
        return Place(entry.file_id, share.name, path, folder=folder, permission=entry.permission)
    file = pb.FileEntry(file_id=entry.file_id, filename=entry.filename, file_size=entry.file_size, is_shared=True)
    return Place(entry.file_id, share.name, path, file, permission=entry.permission)
