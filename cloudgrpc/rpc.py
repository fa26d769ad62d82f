"""What every gRPC connection of ours agrees on: sizes, deadlines, the allocator, and how errors become statuses.

An error travels as its status, its words, and its code in the trailing metadata `cloudgrpc-error`.
"""

from __future__ import annotations

import ctypes
import errno
import ipaddress
import socket
import sys
from typing import TYPE_CHECKING

import grpc

from cloudgrpc.errors import (
    CATALOGUE,
    AddressUnusable,
    CallTooSlow,
    CloudError,
    GatewayUnreachable,
    Internal,
    PlaintextRefused,
    PortInUse,
    TooMany,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

ERROR_KEY = "cloudgrpc-error"
CLIENT_KEY = "cloudgrpc-client"
WAIT_KEY = "cloudgrpc-retry-after"  # seconds
EVENT_KEY = "cloudgrpc-event-id"  # of a stream of events, at its start: everything after this one is told
SECRET_KEY = "cloudgrpc-cluster-secret"  # noqa: S105 - the name of a metadata key, not a secret

PIECE_BYTES = 1 << 20  # what one message to a client carries: three times cheaper a GiB than 64 KiB
MESSAGE_BYTES = 4 << 20  # the largest message of the contract
MESSAGE_SLACK = 64 << 10  # a chunk of 4 MiB travels whole, with its id and checksum around it

# Measured: without the look-ahead and with BDP probing, eight uploads at once grew the gateway by 400-600 MiB.
OPTIONS: list[tuple[str, int]] = [
    ("grpc.max_receive_message_length", MESSAGE_BYTES + MESSAGE_SLACK),
    ("grpc.max_send_message_length", MESSAGE_BYTES + MESSAGE_SLACK),
    ("grpc.http2.bdp_probe", 0),
    ("grpc.http2.lookahead_bytes", 1 << 20),
]
# Two servers must not share a port by accident, as SO_REUSEPORT would let them.
SERVER_OPTIONS = [*OPTIONS, ("grpc.so_reuseport", 0), ("grpc.keepalive_time_ms", 60_000)]
CHANNEL_OPTIONS = [
    *OPTIONS,
    ("grpc.initial_reconnect_backoff_ms", 200),
    # Not a pause but the patience with one attempt: at 200 ms a busy or distant server could never be connected to.
    ("grpc.min_reconnect_backoff_ms", 5_000),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    # A proxy set for the web has no place between a cluster's machines.
    ("grpc.enable_http_proxy", 0),
]

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8


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


def listen(server: grpc.aio.Server, host: str, port: int, flag: str) -> int:
    """The port that the server will listen on (`port` 0: any). Raises: PortInUse, AddressUnusable."""
    check_port(host, port, flag)
    try:
        return server.add_insecure_port(address(host, port))
    except RuntimeError as error:  # somebody was faster than we
        raise PortInUse(port=port, host=host, flag=flag) from error


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


def error_of(failure: grpc.Call | grpc.aio.AioRpcError, peer: str) -> CloudError:
    """The error behind a failed call, as its server told it; `peer` names the server for errors of the way there."""
    status: grpc.StatusCode = failure.code()
    details: str = failure.details() or ""
    code = _code_in(failure.trailing_metadata() or ())
    if code in CATALOGUE:
        return CATALOGUE[code].told(details)
    if status is grpc.StatusCode.UNAVAILABLE:
        return GatewayUnreachable(address=peer)
    if status is grpc.StatusCode.DEADLINE_EXCEEDED:
        return CallTooSlow(peer=peer)
    for kind in CATALOGUE.values():
        if kind.status == status.name:
            return kind.told(details)
    return Internal.told(f"{peer} answered {status.name}: {details}")


def _code_in(metadata: Iterable[tuple[str, str | bytes]]) -> str:
    return next((str(value) for key, value in metadata if key == ERROR_KEY), "")
