"""What a person is told when a transfer breaks off: how much of it is kept, and what to type to go on."""

from __future__ import annotations

import shlex
from contextlib import contextmanager
from typing import TYPE_CHECKING

from cloudgrpc.clients import render
from cloudgrpc.core.units import size_words
from cloudgrpc.errors import CloudError, TransferStopped

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from cloudgrpc.clients.long_upload import Kept
    from cloudgrpc.clients.transfer import Transfers


SAME = "the same command"


@contextmanager
def resumable(transfers: Transfers, command: str, how: str = SAME, *, goes_on: bool = False) -> Iterator[None]:
    """Transfers that `command` goes on with, or `how` in a few words. `goes_on`: also when no file is half-done, since
    it skips what is done.

    Raises: TransferStopped for Ctrl-C, unless there is nothing to go on with; failures, which tell what is kept.
    """
    try:
        yield
    except KeyboardInterrupt:
        kept = _kept_words(transfers)
        if not kept and not goes_on:
            raise
        raise TransferStopped(kept=kept or "what is done stays done", command=command) from None
    except CloudError as error:
        going_on = going_on_words(transfers, how)
        if not going_on:
            raise
        raise type(error).told(f"{str(error).rstrip('.')}; {going_on}.") from error


def going_on_words(transfers: Transfers, how: str = SAME) -> str:
    """What broke off and is kept, and how to go on with it; "" for nothing."""
    kept = _kept_words(transfers)
    return f"{kept}, and {how} goes on there" if kept else ""


def line_of(command: str, options: Sequence[str], words: Sequence[str]) -> str:
    """A command as a person types it."""
    is_odd = any(word.startswith("-") and word != "-" for word in words)
    return shlex.join([command, *options, *(["--"] if is_odd else []), *words])


def _kept_words(transfers: Transfers) -> str:
    uploads = transfers.kept_uploads()
    if uploads:
        return _upload_words(uploads)
    here = transfers.kept_parts()
    return f"{size_words(here)} are kept on this computer" if here else ""


def _upload_words(uploads: Sequence[Kept]) -> str:
    until = render.when(uploads[0].ends_at)
    if any(kept.stored_bytes is None for kept in uploads):
        return f"what arrived is kept until {until}"
    stored = size_words(sum(kept.stored_bytes or 0 for kept in uploads))
    if len(uploads) > 1:
        return f"{stored} of {render.count(len(uploads), 'file')} are kept until {until}"
    return f"{stored} of {uploads[0].path.name} ({size_words(uploads[0].size)}) are kept until {until}"
