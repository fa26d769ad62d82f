"""What every gRPC connection of ours agrees on: sizes, deadlines, the allocator, and how errors become statuses.

An error travels as its status, its words, and its code in the trailing metadata `cloudgrpc-error`.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import ipaddress
import socket
import ssl
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import grpc

from cloudgrpc.errors import (
    CATALOGUE,
    AddressUnusable,
    CallTooSlow,
    CloudError,
    GatewayUnreachable,
    HttpInPlaintext,
    Internal,
    PlaintextCall,
    PlaintextRefused,
    PortInUse,
    TooMany,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

ERROR_KEY = "cloudgrpc-error"
CLIENT_KEY = "cloudgrpc-client"
WAIT_KEY = "cloudgrpc-retry-after"  # seconds
EVENT_KEY = "cloudgrpc-event-id"  # of a stream of events, at its start: everything after this one is told
SECRET_KEY = "cloudgrpc-cluster-secret"  # noqa: S105 - the name of a metadata key, not a secret

PIECE_BYTES = 1 << 20  # what one message to a client carries: three times cheaper a GiB than 64 KiB
MESSAGE_BYTES = 4 << 20  # the largest message of the contract
MESSAGE_SLACK = 64 << 10  # a chunk of 4 MiB travels whole, with its id and checksum around it

# What one UploadFiles takes: with its sealed copies no more room than a chunk.
BATCH_FILES, BATCH_BYTES, SMALL_FILE_BYTES = 64, 2 << 20, 256 << 10
WORDS_BYTES = 2_000  # of an error; three times that on the wire, where every byte may be escaped

# Measured: without the look-ahead and with BDP probing, eight uploads at once grew the gateway by 400-600 MiB.
OPTIONS: list[tuple[str, int]] = [
    ("grpc.max_receive_message_length", MESSAGE_BYTES + MESSAGE_SLACK),
    ("grpc.max_send_message_length", MESSAGE_BYTES + MESSAGE_SLACK),
    ("grpc.http2.bdp_probe", 0),
    ("grpc.http2.lookahead_bytes", 1 << 20),
]
# Two servers must not share a port by accident, as SO_REUSEPORT would let them.
SERVER_OPTIONS = [*OPTIONS, ("grpc.so_reuseport", 0), ("grpc.keepalive_time_ms", 60_000)]
# Who is believed is asked when a connection begins. Those of the cluster's own machines are made anew after a while, so
# that none outlives for long the authority by which it began; calls under way on them come to their end.
CONNECTION_S = 300.0


def cluster_options(connection_s: float = CONNECTION_S) -> list[tuple[str, int]]:
    """Of a server where everybody shows a certificate."""
    return [*SERVER_OPTIONS, ("grpc.max_connection_age_ms", int(connection_s * 1000))]


CHANNEL_OPTIONS = [
    *OPTIONS,
    ("grpc.initial_reconnect_backoff_ms", 200),
    # Not a pause but the patience with one attempt: at 200 ms a busy or distant server could never be connected to.
    ("grpc.min_reconnect_backoff_ms", 5_000),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    # A proxy set for the web has no place between a cluster's machines.
    ("grpc.enable_http_proxy", 0),
]
# Where systems keep the authorities that they trust: Debian, Fedora, macOS.
SYSTEM_ROOTS = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem")

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8


@dataclass(frozen=True)
class Tls:
    """What one side of a connection shows and trusts, each as PEM. `key` and `certificate`: b"" for a caller that shows
    none. `roots`: of the authorities that the other side is believed by; b"" for the system's."""

    key: bytes = field(repr=False)
    certificate: bytes
    roots: bytes


def tune_allocator() -> None:
    """Keep large buffers in the process: glibc would map and unmap every 4 MiB chunk, and page faults eat the CPU."""
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(_M_MMAP_THRESHOLD, 32 << 20)
        libc.mallopt(_M_TRIM_THRESHOLD, 512 << 20)
        libc.mallopt(_M_ARENA_MAX, 2)


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def check_listen(host: str, allow_plaintext: bool) -> None:
    """Raises: PlaintextRefused when plaintext would leave this machine and nobody allowed it."""
    if not allow_plaintext and not is_loopback(host):
        raise PlaintextRefused(host=host)


def check_http(host: str, allow_plaintext: bool) -> None:
    """Raises: HttpInPlaintext when HTTP would leave this machine and nobody allowed it."""
    if not allow_plaintext and not is_loopback(host):
        raise HttpInPlaintext(host=host)


def check_call(address: str, allow_plaintext: bool) -> None:
    """`address`: HOST:PORT. Raises: PlaintextCall when plaintext would leave this machine and nobody allowed it."""
    if not allow_plaintext and not is_loopback(address.rpartition(":")[0]):
        raise PlaintextCall(address=address)


def listen(
    server: grpc.aio.Server, host: str, port: int, flag: str, credentials: grpc.ServerCredentials | None = None
) -> int:
    """The port that the server will listen on (`port` 0: any); without credentials in plaintext.

    Raises: PortInUse, AddressUnusable.
    """
    check_port(host, port, flag)
    try:
        if credentials is None:
            return server.add_insecure_port(address(host, port))
        return server.add_secure_port(address(host, port), credentials)
    except RuntimeError as error:  # somebody was faster than we
        raise PortInUse(port=port, host=host, flag=flag) from error


def server_credentials(source: Callable[[], Tls], *, demand: bool) -> grpc.ServerCredentials:
    """What a port shows: as `source` says at every new connection, for certificates change while a server runs; those
    that stand keep what they began with. `demand`: callers show a certificate by our roots, or are not heard."""
    shown = source()

    def anew() -> grpc.ServerCertificateConfiguration | None:
        """Called by gRPC, in a thread of its own, before a handshake; None: as it was."""
        nonlocal shown
        tls = source()
        if tls == shown:
            return None
        shown = tls
        return _configuration(tls, demand)

    # Its types do not know of None.
    return grpc.dynamic_ssl_server_credentials(_configuration(shown, demand), anew, demand)  # type: ignore[arg-type]


def _configuration(tls: Tls, demand: bool) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration([(tls.key, tls.certificate)], tls.roots if demand else None)


def channel_credentials(tls: Tls) -> grpc.ChannelCredentials:
    return grpc.ssl_channel_credentials(tls.roots or system_roots(), tls.key or None, tls.certificate or None)


def system_roots() -> bytes | None:
    """None, which are those that gRPC brings with it, when this system's are in no place that is known."""
    for path in (ssl.get_default_verify_paths().cafile, *SYSTEM_ROOTS):
        with contextlib.suppress(OSError):
            if path:
                return Path(path).read_bytes()
    return None


def as_named(host: str) -> tuple[str, str]:
    """The channel's option by which its other side must have a certificate for `host`, whatever its address is."""
    return ("grpc.ssl_target_name_override", host)


def check_port(host: str, port: int, flag: str) -> None:
    """Whether a server could listen there; gRPC would not say why it cannot, and print lines of its own.

    `flag`: what a person changes. Raises: PortInUse, AddressUnusable.
    """
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(place)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise PortInUse(port=port, host=host, flag=flag) from error
        raise AddressUnusable(host=host, port=port, reason=error.strerror or error) from error


def address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host and not host.startswith("[") else f"{host}:{port}"


def status_of(error: CloudError) -> grpc.StatusCode:
    return grpc.StatusCode[error.status]


def trailers_of(error: CloudError) -> tuple[tuple[str, str], ...]:
    wait = ((WAIT_KEY, str(error.facts["seconds"])),) if isinstance(error, TooMany) else ()
    return ((ERROR_KEY, error.code), *wait)


def short(words: str) -> str:
    """Words may repeat a caller's own input; with trailers of 8 KiB or more a client sees only a broken stream."""
    encoded = words.encode(errors="replace")
    return words if len(encoded) <= WORDS_BYTES else encoded[:WORDS_BYTES].decode(errors="ignore") + " …"


def error_of(failure: grpc.Call | grpc.aio.AioRpcError, peer: str) -> CloudError:
    """The error behind a failed call, as its server told it; `peer` names the server for errors of the way there."""
    status: grpc.StatusCode = failure.code()
    details: str = failure.details() or ""
    code = _code_in(failure.trailing_metadata() or ())
    if code not in CATALOGUE and status is grpc.StatusCode.UNAVAILABLE:
        return GatewayUnreachable(address=peer)
    if code not in CATALOGUE and status is grpc.StatusCode.DEADLINE_EXCEEDED:
        return CallTooSlow(peer=peer)
    return told_error(code, status.name, details, peer)


def told_error(code: str, status: str, words: str, peer: str) -> CloudError:
    """The error of that code; of another of that status when it is one we do not know."""
    if code in CATALOGUE:
        return CATALOGUE[code].told(words)
    for kind in CATALOGUE.values():
        if kind.status == status:
            return kind.told(words)
    return Internal.told(f"{peer} answered {status}: {words}")


def _code_in(metadata: Iterable[tuple[str, str | bytes]]) -> str:
    return next((str(value) for key, value in metadata if key == ERROR_KEY), "")
