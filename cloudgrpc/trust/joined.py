"""Where a machine that joined finds its gateway: written when it joins, read at every start.

<data folder>/certs/joined.json
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from cloudgrpc.errors import SettingsWrong
from cloudgrpc.trust import private

if TYPE_CHECKING:
    from pathlib import Path

FILE = "joined.json"


class Use(Struct, frozen=True):
    """Of a join code: digests of the code, and of the key that it was used for."""

    code: str
    key: str


class Joined(Struct, frozen=True):
    """`host` and `port`: where people are served; the others: where nodes are. `uses`: by node, of the newest code."""

    cluster_id: str
    host: str
    port: int
    cluster_host: str
    cluster_port: int
    uses: dict[str, Use] = {}


def read_joined(folder: Path) -> Joined | None:
    """`folder`: certs/. None: nobody joined from here. Raises: SettingsWrong, LocalFile."""
    content = private.read(folder / FILE, is_secret=False)
    if content is None:
        return None
    try:
        return msgspec.json.decode(content, type=Joined)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise SettingsWrong(faults=f"{folder / FILE}: is damaged: {error}; let the node join again") from error


def write_joined(folder: Path, joined: Joined) -> None:
    """Raises: LocalFile."""
    private.write(folder / FILE, msgspec.json.format(msgspec.json.encode(joined)) + b"\n")
