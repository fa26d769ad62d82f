"""Sharing: letting others use what is in one's drive, and using what is in theirs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cloudgrpc.clients import render
from cloudgrpc.clients.address import ID, SHARED
from cloudgrpc.clients.shared_by_me import shared_by_me
from cloudgrpc.clients.shared_with_me import shared_with_me
from cloudgrpc.core.units import size_words
from cloudgrpc.errors import InvalidField, ShareUnknown, UsageWrong
from cloudgrpc.pb import cloud_storage_pb2 as pb
from cloudgrpc.shell import at_terminal
from cloudgrpc.shell.changes import words_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cloudgrpc.clients.places import Place, Places
    from cloudgrpc.clients.session import Session
    from cloudgrpc.errors import CloudError

PERMISSIONS = {"read": "to read", "write": "to read and write"}


class Sharing:
    def __init__(self, session: Session, places: Places) -> None:
        self._session = session
        self._sharing = session.gateway.sharing
        self._places = places

    def share(self, who: str, word: str, permission: str, until: str) -> None:
        """`permission`: "read" or "write"; `until`: for the wire, "" for never."""
        _check_email(who)
        place = self._sharable(word)
        request = pb.ShareFileRequest(
            session_token=self._session.token,
            file_id=place.entry_id,
            share_with_email=who,
            permission=permission,
            until=until,
        )
        try:
            reply = self._session.call(self._session.gateway.files.ShareFile, request)
        except InvalidField as error:
            raise _in_words(error, who) from error
        print(f"Shared {words_of(place)} with {render.shown(who)} {PERMISSIONS[permission]}{_ending(until)}")
        print(f"Token {render.shown(reply.share_token)}")
        at_terminal.hint(
            "They see it with: shared",
            f"Take it back with: unshare {at_terminal.typable(who)} {at_terminal.typable(place.path)}",
        )

    def end_mine(self, who: str, word: str) -> None:
        """Take back what I share with somebody."""
        _check_email(who)
        place = self._sharable(word)
        request = pb.UnshareFileRequest(
            session_token=self._session.token, file_id=place.entry_id, shared_with_email=who
        )
        try:
            self._session.call(self._sharing.UnshareFile, request)
        except ShareUnknown as error:
            raise ShareUnknown.told(f"{place.path} is not shared with {who}.") from error
        print(f"{render.shown(who)} can no longer use {words_of(place)}")

    def end(self, word: str) -> None:
        """End a share by its token, or leave what somebody shares with me by its path."""
        if not word.startswith(SHARED):
            if "@" in word:
                raise UsageWrong(reason=f"name what {word} may no longer use, or a token alone")
            self._end(_token(word))
            print("That share has ended.")
            return
        place = self._places.find(word)
        entry = next((entry for _, entry in self._with_me() if entry.file_id == place.entry_id), None)
        if entry is None:
            raise UsageWrong(reason=f"{place.path} was not shared by itself; name the whole of what was")
        self._end(entry.share_token)
        print(f"{words_of(place)} is no longer shared with you.")

    def print_mine(self, word: str | None) -> None:
        shares = list(self._mine(word))
        if not shares:
            print("You share nothing." if word is None else "You share it with nobody.")
            return
        render.print_table(["With", "May", "Until", "Path"], [_my_row(share) for share in shares])

    def print_mine_json(self, word: str | None) -> None:
        render.print_json_list(_my_facts(share) for share in self._mine(word))

    def print_with_me(self) -> None:
        rows = [_row(path, entry) for path, entry in self._with_me()]
        if not rows:
            print("Nobody shares anything with you.")
            return
        render.print_table(["Size", "May", "Until", "Path"], rows, right=["Size"])

    def print_with_me_json(self) -> None:
        render.print_json_list(_facts(path, entry) for path, entry in self._with_me())

    def open(self, token: str, is_json: bool) -> None:
        """Raises: ShareUnknown when no such share is with me."""
        request = pb.OpenShareRequest(session_token=self._session.token, share_token=_token(token))
        opened = self._session.call(self._sharing.OpenShare, request).shared_file
        # By its token again: only in the whole list it has a name of its own.
        entries = ((path, entry) for path, entry in self._with_me() if entry.share_token == opened.share_token)
        found = next(entries, None)
        if found is None:
            raise ShareUnknown(what=f"Share {token}")
        path, entry = found
        if is_json:
            render.print_json(_facts(path, entry))
        else:
            words = render.path_words(path, entry.is_folder)
            print(f"It is {words}, shared with you {PERMISSIONS[entry.permission]}{_ending(entry.until)}")
            at_terminal.hint(f"See it with: {'ls' if entry.is_folder else 'stat'} {at_terminal.typable(path)}")

    def _sharable(self, word: str) -> Place:
        """Raises: Missing, UsageWrong."""
        place = self._places.find(word)
        if not place.entry_id or place.is_shared_list:
            raise UsageWrong(reason=f"{place.path} cannot be shared; share what is in it")
        return place

    def _end(self, token: str) -> None:
        self._session.call(
            self._sharing.UnshareFile, pb.UnshareFileRequest(session_token=self._session.token, share_token=token)
        )

    def _mine(self, word: str | None) -> Iterator[pb.ShareEntry]:
        return shared_by_me(self._session, "" if word is None else self._sharable(word).entry_id)

    def _with_me(self) -> Iterator[tuple[str, pb.SharedFileEntry]]:
        """Each with the path that a person types for it."""
        for owner, shares in sorted(shared_with_me(self._session).items()):
            for _, share in sorted(shares.items()):
                yield f"{SHARED}{owner}/{share.name}", share.entry


def _check_email(who: str) -> None:
    """The gateway does it well; this tells of words in the wrong order. Raises: InvalidField."""
    if "@" not in who or who.startswith((SHARED, "/")) or not who.isprintable():
        raise InvalidField(field="WHO", reason=f"{who} is no e-mail address; that comes first, then the path")


def _in_words(error: InvalidField, who: str) -> CloudError:
    """The gateway names a field of its contract, a person typed an address."""
    field, _, reason = str(error).partition(": ")
    return InvalidField.told(f"{who} {reason}") if field == "share_with_email" else error


def _token(word: str) -> str:
    """Raises: ShareUnknown for what cannot be one."""
    if not ID.fullmatch(word):
        raise ShareUnknown(what=f"Share {word}")
    return word


def _my_facts(share: pb.ShareEntry) -> dict[str, object]:
    """`shares --json` is a list of these.

    path        in my drive; null while it lies in the trash
    kind        "file" or "folder"
    id
    token       names the share
    with        an e-mail
    permission  "read" or "write"
    shared_at
    until       null for never
    """
    return {
        "path": share.path or None,
        "kind": _kind(share.is_folder),
        "id": share.file_id,
        "token": share.share_token,
        "with": share.shared_with_email,
        "permission": share.permission,
        "shared_at": share.shared_at,
        "until": share.until or None,
    }


def _facts(path: str, entry: pb.SharedFileEntry) -> dict[str, object]:
    """`shared --json` is a list of these, and `shared open --json` is one.

    path        as a person types it
    name        as its owner calls it
    kind        "file" or "folder"
    id
    token       names the share
    size        of a file, in bytes; null for a folder
    owner       an e-mail
    permission  "read" or "write"
    shared_at
    until       null for never
    """
    return {
        "path": path,
        "name": entry.filename,
        "kind": _kind(entry.is_folder),
        "id": entry.file_id,
        "token": entry.share_token,
        "size": None if entry.is_folder else entry.file_size,
        "owner": entry.shared_by_email,
        "permission": entry.permission,
        "shared_at": entry.shared_at,
        "until": entry.until or None,
    }


def _my_row(share: pb.ShareEntry) -> tuple[str, str, str, str]:
    path = render.path_words(share.path, share.is_folder) if share.path else "(in the trash)"
    return render.shown(share.shared_with_email), share.permission, _until(share.until), path


def _row(path: str, entry: pb.SharedFileEntry) -> tuple[str, str, str, str]:
    size = "" if entry.is_folder else size_words(entry.file_size)
    return size, entry.permission, _until(entry.until), render.path_words(path, entry.is_folder)


def _kind(is_folder: bool) -> str:
    return "folder" if is_folder else "file"


def _until(until: str) -> str:
    return render.when(until) if until else "-"


def _ending(until: str) -> str:
    return f" until {render.when(until)}" if until else ""
