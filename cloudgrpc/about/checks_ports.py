"""The places where a gateway listens: free, held by our own, or by another program; and the gateway that nodes need."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

from cloudgrpc import rpc
from cloudgrpc.about.findings import Finding, failed, note, ok, wrong
from cloudgrpc.clients.trusting import connected
from cloudgrpc.errors import CallTooSlow, CloudError, GatewayUnreachable, PortInUse
from cloudgrpc.trust.joined import read_joined
from cloudgrpc.trust.papers import FOLDER

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cloudgrpc.config import Config

GATEWAY, PORTS = "gateway", "ports"
CALL_S = 3.0
ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1", "[::]": "[::1]"}  # to call what listens there
LISTENING = "0A"  # in /proc/net/tcp


def look(config: Config) -> Iterator[Finding]:
    host, port = config.gateway.host, config.gateway.port
    try:
        if joined := read_joined(config.data_folder / FOLDER):
            # A machine of nodes: its gateway is elsewhere.
            yield _called(config, rpc.address(joined.host, joined.port), is_needed=True)
            return
    except CloudError as error:
        yield failed(GATEWAY, error)
        return
    is_free = _place(host, port, "--port")
    if is_free is None:
        found = _called(config, rpc.address(ANYWHERE.get(host, host), port), is_needed=False)
        yield found
        is_ours = found.check == GATEWAY
    else:
        yield is_free
        is_ours = False
        if (config.data_folder / "gateway.lock").exists() and is_free.standing == "ok":
            yield note(GATEWAY, "none runs here now", "Start it: cloudgrpc gateway")
    yield from _others(config, is_ours=is_ours)


def _others(config: Config, *, is_ours: bool) -> Iterator[Finding]:
    """`is_ours`: our gateway runs, so it is the one that holds them."""
    places = []
    if (config.data_folder / FOLDER).is_dir():
        places.append((*config.cluster_place, "[cluster] listen"))
    if config.http.port:
        try:
            rpc.check_http(config.http.host, config.cluster.allow_plaintext)
        except CloudError as error:
            yield failed(PORTS, error)
        places.append((config.http.host, config.http.port, "[http] port"))
    for host, port, flag in places:
        found = _place(host, port, flag)
        if found is None:
            yield ok(PORTS, f"{rpc.address(host, port)} is the gateway's, too") if is_ours else _held(host, port, flag)
        elif is_ours and found.standing == "ok":
            words = f"nobody listens on {rpc.address(host, port)}, though the gateway runs"
            yield note(PORTS, words, f"{flag} was set after its start: start it again.")
        else:
            yield found


def _place(host: str, port: int, flag: str) -> Finding | None:
    """None: somebody listens there."""
    try:
        rpc.check_port(host, port, flag)
    except PortInUse:
        return None
    except CloudError as error:
        return failed(PORTS, error)
    return ok(PORTS, f"{rpc.address(host, port)} is free")


def _called(config: Config, address: str, *, is_needed: bool) -> Finding:
    """By gRPC's own health service. `is_needed`: the nodes here can do nothing without it."""
    try:
        with connected(config, address, remembers=False) as gateway:
            is_serving = gateway.is_serving(CALL_S)
    except (GatewayUnreachable, CallTooSlow) as error:
        if is_needed:
            return wrong(GATEWAY, str(error), "Start it there, and let this machine reach it.")
        host, _, port = address.rpartition(":")
        return _held(host, int(port), "--port")
    except CloudError as error:
        return failed(GATEWAY, error)
    if is_serving is None:
        host, _, port = address.rpartition(":")
        return _held(host, int(port), "--port")
    if is_serving:
        return ok(GATEWAY, f"answers on {address}, and takes files")
    return note(
        GATEWAY,
        f"answers on {address}, but takes no files now: too few nodes are online, or it waits to be reconciled",
        "See: cloudgrpc admin --status",
    )


def _held(host: str, port: int, flag: str) -> Finding:
    by = holder(port)
    words = f"{rpc.address(host, port)} is held by {by or 'another program'}, which is no gateway of ours"
    return wrong(PORTS, words, f"End that one, or choose another port: {flag}")


def holder(port: int) -> str:
    """The program that listens on a port of this machine; "" where that is not told."""
    sockets = {f"socket:[{inode}]" for inode in _inodes(port)}
    for descriptor in Path("/proc").glob("[0-9]*/fd/*") if sockets else ():
        with contextlib.suppress(OSError):
            if str(descriptor.readlink()) in sockets:
                process = descriptor.parents[1]
                return f"{(process / 'comm').read_text(encoding='utf-8').strip()} (process {process.name})"
    return ""


def _inodes(port: int) -> Iterator[str]:
    for table in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/net/{table}").read_text(encoding="ascii").splitlines()[1:]:
                fields = line.split()
                if fields[3] == LISTENING and int(fields[1].rpartition(":")[2], 16) == port:
                    yield fields[9]
