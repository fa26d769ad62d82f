"""The code by which a machine joins as a node: where the gateway is, whom to believe there, and a secret for once.

One line of base64url, short enough for what a terminal takes as one: the gateway's whole list of authorities comes with
the answer.
"""

from __future__ import annotations

import base64
import binascii
import hashlib

import msgspec
from msgspec import Struct

from cloudgrpc.errors import JoinCodeUnreadable

MARK = "join1-"
CHECK_BYTES = 4  # by which a line that was not copied whole is known
MOST_LETTERS = 16_384


class JoinCode(Struct, frozen=True, array_like=True):
    """`host` and `port`: of the gateway, where people are served. `root`: the certificate (DER) by which the gateway's
    own is believed there; `name`: that its own is for."""

    node_id: str
    cluster_id: str
    host: str
    port: int
    name: str
    root: bytes
    secret: str

    def __repr__(self) -> str:
        return f"JoinCode({self.node_id!r}, {self.host!r}, {self.port})"  # without the secret


def encoded(code: JoinCode) -> str:
    packed = msgspec.msgpack.encode(code)
    return MARK + base64.urlsafe_b64encode(_check(packed) + packed).decode().rstrip("=")


def decoded(told: str) -> JoinCode:
    """Of what somebody typed or pasted, perhaps broken into lines. Raises: JoinCodeUnreadable."""
    text = "".join(told.split())
    if not text:
        raise JoinCodeUnreadable(reason="it is empty")
    if not text.startswith(MARK) or len(text) > MOST_LETTERS:
        raise JoinCodeUnreadable(reason=f"a join code begins with {MARK}")
    rest = text.removeprefix(MARK)
    try:
        packed = base64.b64decode(rest + "=" * (-len(rest) % 4), altchars="-_", validate=True)
        if _check(packed[CHECK_BYTES:]) != packed[:CHECK_BYTES]:
            raise JoinCodeUnreadable(reason="a part of it is missing or mistyped")
        return msgspec.msgpack.decode(packed[CHECK_BYTES:], type=JoinCode)
    except (binascii.Error, ValueError, msgspec.MsgspecError) as error:
        raise JoinCodeUnreadable(reason="a part of it is missing or mistyped") from error


def _check(packed: bytes) -> bytes:
    return hashlib.sha256(packed).digest()[:CHECK_BYTES]
