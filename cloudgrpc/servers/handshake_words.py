"""What gRPC writes on standard error of connections that did not come about: the only place where the refused side
hears of them.

Its C core tells the program nothing of a failed handshake. With GRPC_TRACE=handshaker, which the command line sets
before gRPC is imported, it writes of each who it was with and why it failed. Those lines are taken out here and told in
words; all others go where standard error goes. What Python itself writes there, the log above all, goes there directly.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import sys
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cloudgrpc.core.peers import visitor_of
from cloudgrpc.errors import HandshakeRefused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cloudgrpc.core.peers import Visitor

log = logging.getLogger(__name__)

TRACE = "handshaker"
METHOD = "TLS handshake"  # as what was refused, in the record
QUIET_S = 60.0  # between two tellings of the same
MOST_TOLD = 10_000
BEGINNING = re.compile(rb"[IWEF]\d{4} \d\d:\d\d:\d\d\.\d+ +\d+ (?P<file>[\w.]+):\d+\] ")
# A record of several lines; those of our own calls have other credentials in it, and are explained where they fail.
FAILED = re.compile(
    rb"CallNextHandshakerLocked: error=(?P<why>.*SSL_ERROR_SSL.*?)\n.*endpoint_local_address=\w+:(?P<local>[^,}]+)"
    rb".*endpoint_peer_address=(?P<peer>[^,}]+).*grpc\.internal\.server_credentials.*\}\n\Z",
    re.DOTALL,
)
# How further lines of a record begin; whatever else comes is somebody else's.
CONTINUED = re.compile(rb"=== Source Location Trace|src/core/| shutdown=|\r?\n\Z")
OURS = {b"handshaker.cc", b"channel_trace.h", b"trace.cc", b"ssl_transport_security.cc"}
# What BoringSSL says, and what it means to people; the first that fits.
REASONS = (
    ("PEER_DID_NOT_RETURN_A_CERTIFICATE", "it showed no certificate"),
    ("certificate has expired", "its certificate has expired"),
    ("certificate is not yet valid", "its certificate is not valid yet; are the clocks right?"),
    ("CERTIFICATE_VERIFY_FAILED", "its certificate is by no authority of this cluster"),
    ("WRONG_VERSION_NUMBER", "it spoke plaintext, and only TLS is spoken there"),
    ("HTTP_REQUEST", "it spoke plaintext, and only TLS is spoken there"),
    ("UNSUPPORTED_PROTOCOL", "it speaks only an older TLS"),
    ("ALERT_CERTIFICATE_EXPIRED", "it finds that our certificate has expired"),
    ("ALERT", "it does not accept our certificate"),
    ("BAD_PACKET_LENGTH", "it does not accept our certificate"),  # how OpenSSL's word of it arrives with TLS 1.3
)
CODE = re.compile(r"OPENSSL_internal:(\w+)")


@dataclass(frozen=True)
class FailedHandshake:
    """`peer`: as gRPC names it, such as ipv4:127.0.0.1:40000. `port`: ours."""

    peer: str
    port: int
    reason: str

    @property
    def visitor(self) -> Visitor:
        return visitor_of(self.peer, "", "", behind_proxy=False)

    def error(self, place: str) -> HandshakeRefused:
        """`place`: what of ours it was meant for. The log hears of it, too."""
        error = HandshakeRefused(peer=self.visitor.host, place=f"{place}, port {self.port},", reason=self.reason)
        log.warning("%s", error)
        return error


@contextlib.contextmanager
def heard(tell: Callable[[FailedHandshake], None]) -> Iterator[None]:
    """While this lasts, `tell` is called for each, in the event loop that runs now."""
    # Without standard error, as after 2>&-, there is nothing to take lines from, and 2 may be any file by now.
    if TRACE not in os.environ.get("GRPC_TRACE", "") or sys.stderr is None:
        yield
        return
    loop = asyncio.get_running_loop()

    def pass_on(failed: FailedHandshake) -> None:
        with contextlib.suppress(RuntimeError):  # the loop ended first
            loop.call_soon_threadsafe(tell, failed)

    words = HandshakeWords(pass_on)
    try:
        yield
    finally:
        words.close()


class HandshakeWords:
    """Made before the first connection. `tell` is called in a thread of its own."""

    def __init__(self, tell: Callable[[FailedHandshake], None]) -> None:
        self._tell = tell
        self._told: dict[tuple[str, int, str], float] = {}
        self._record, self._is_ours = b"", False
        sys.stderr.flush()
        self._direct = os.dup(2)
        source, sink = os.pipe()
        os.dup2(sink, 2)
        os.close(sink)
        self._stderr, sys.stderr = sys.stderr, os.fdopen(os.dup(self._direct), "w", 1, errors="backslashreplace")
        _move_log(self._stderr, sys.stderr)
        self._reader = threading.Thread(target=self._read, args=(source,), name="handshakes", daemon=True)
        self._reader.start()

    def close(self) -> None:
        """What was written until now is still told; from now on standard error is what it was."""
        os.dup2(self._direct, 2)  # the pipe's last writer goes with it
        self._reader.join(1)
        _move_log(sys.stderr, self._stderr)
        sys.stderr.close()
        sys.stderr = self._stderr
        os.close(self._direct)

    def _read(self, source: int) -> None:
        with os.fdopen(source, "rb") as lines:
            for line in lines:
                try:
                    self._hear(line)
                except Exception:
                    log.exception("what gRPC said could not be read")

    def _hear(self, line: bytes) -> None:
        beginning = BEGINNING.match(line)
        if beginning:
            self._record, self._is_ours = b"", beginning["file"] in OURS
        if not self._is_ours or not (beginning or CONTINUED.match(line)):
            with contextlib.suppress(OSError):
                os.write(self._direct, line)
            return
        self._record += line
        failed = FAILED.search(self._record)
        if failed:
            self._record = b""
            port = int(failed["local"].rpartition(b":")[2])
            self._note(FailedHandshake(failed["peer"].decode(), port, words_of(failed["why"].decode())))

    def _note(self, failed: FailedHandshake) -> None:
        key, moment = (failed.peer.rpartition(":")[0], failed.port, failed.reason), time.monotonic()
        if moment - self._told.get(key, -QUIET_S) < QUIET_S:
            return
        if len(self._told) >= MOST_TOLD:
            self._told.clear()
        self._told[key] = moment
        self._tell(failed)


def words_of(why: str) -> str:
    """For people, of what gRPC gives as the reason."""
    for sign, words in REASONS:
        if sign in why:
            return words
    code = CODE.search(why)
    return code[1].replace("_", " ").lower() if code else why[:100]


def _move_log(old: object, new: object) -> None:
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.StreamHandler) and handler.stream is old:
            handler.setStream(new)
