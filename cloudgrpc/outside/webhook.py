"""What Campay's webhook calls carry to prove that they are Campay's: an HS256 JWT made with the app's webhook key."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jwt

if TYPE_CHECKING:
    from collections.abc import Mapping

# Whoever signs does not choose how: "none", or an algorithm for which our key would be a public one, proves nothing.
ALGORITHM = "HS256"
BLOCK_BYTES = 64  # of SHA-256


def is_signed(signature: str, key: str) -> bool:
    """Compared in constant time. Anything wrong, an empty key too, is False, never an exception. It says nothing about
    what the call tells: the signature is not made over its parameters."""
    if not signature or not key:
        return False
    # Another machine's clock made `iat` and `nbf`; whether it runs a little ahead of ours proves nothing. Who is meant,
    # and under which number, is not ours to judge.
    options: Any = dict.fromkeys(["verify_aud", "verify_iat", "verify_nbf", "verify_sub", "verify_jti"], False)
    try:
        jwt.decode(signature, _padded(key), algorithms=[ALGORITHM], options=options)
    except (jwt.PyJWTError, ValueError, TypeError, RecursionError):  # the last for a header nested without end
        return False
    return True


def signature_of(claims: Mapping[str, object], key: str) -> str:
    """As Campay signs; for the sandbox."""
    return jwt.encode(dict(claims), _padded(key), algorithm=ALGORITHM)


def _padded(key: str) -> bytes:
    """The same key to HMAC, which pads with zeros itself; PyJWT would warn of every call that one is short, and it is
    Campay who made it."""
    return key.encode().ljust(BLOCK_BYTES, b"\0")
