"""Printing a file's content, and keeping from a terminal what it would not show but obey."""

from __future__ import annotations

import codecs
import sys
from typing import TYPE_CHECKING

from cloudgrpc.errors import UsageWrong
from cloudgrpc.pb import cloud_storage_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cloudgrpc.clients.places import Place
    from cloudgrpc.clients.session import Session

LAYOUT = set("\t\n\r\f")
STEERING = {chr(code) for code in [*range(32), *range(0x7F, 0xA0)]} - LAYOUT


def print_file(session: Session, place: Place, *, is_checked: bool) -> None:
    """`is_checked`: only text is printed, up to where the content stops being that.

    Raises: UsageWrong for a folder, and for what is not text.
    """
    if place.is_folder:
        raise UsageWrong(reason=f"{place.path} is a folder; cat takes files")
    request = pb.DownloadFileRequest(session_token=session.token, file_id=place.entry_id)
    pieces = (reply.chunk_data for reply in session.gateway.stream(session.gateway.files.DownloadFile, request))
    sys.stdout.flush()
    last = b"\n"
    for piece in checked(pieces, place.path) if is_checked else pieces:
        sys.stdout.buffer.write(piece)
        last = piece[-1:] or last
    sys.stdout.buffer.flush()
    # At a terminal the prompt wants a line of its own.
    if sys.stdout.isatty() and last != b"\n":
        print()


def checked(pieces: Iterator[bytes], name: str) -> Iterator[bytes]:
    """The pieces, as long as they are text in UTF-8. Raises: UsageWrong."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    for piece in pieces:
        try:
            text = decoder.decode(piece)
        except UnicodeDecodeError as error:
            raise _not_text(name) from error
        if not STEERING.isdisjoint(text):
            raise _not_text(name)
        yield piece


def _not_text(name: str) -> UsageWrong:
    return UsageWrong(reason=f"{name} is not plain text, which could confuse the terminal; download it, or add --force")
