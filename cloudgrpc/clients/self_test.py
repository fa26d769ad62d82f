"""The main job on real files, told step by step: store, compare, lose a node, read on, wait until it is whole again."""

from __future__ import annotations

import filecmp
import os
import queue
import secrets
import shutil
import sys
import tempfile
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

import grpc

import cloudgrpc
from cloudgrpc import rpc
from cloudgrpc.clients.local_tree import plan
from cloudgrpc.clients.progress import Unwatched
from cloudgrpc.clients.session import Gateway, Session
from cloudgrpc.clients.transfer import Transfers
from cloudgrpc.clients.tree import TreeUpload
from cloudgrpc.core.units import size_words
from cloudgrpc.errors import Exit, SelfTestFailed
from cloudgrpc.pb import cloud_storage_pb2 as pb
from cloudgrpc.pb.cloud_storage_pb2_grpc import NodeServiceStub
from cloudgrpc.trust.identity import node_identity

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cloudgrpc.core.rotation import AnySecret

BIG_BYTES = 256 << 20
SMALL_BYTES = 256 << 10  # of the program's own files only such are taken
BLOCK_BYTES = 4 << 20
COPIES = 2
CODE_S = 10.0
REPAIR_S = 120.0
LOOK_S = 0.5


class Child(Protocol):
    def kill(self) -> None: ...


class Plan(Protocol):
    @property
    def gateway(self) -> str: ...

    @property
    def node_ports(self) -> dict[str, int]: ...


class Trust(Protocol):
    @property
    def people(self) -> rpc.Tls: ...

    @property
    def gateway(self) -> rpc.Tls:
        """What a gateway shows to nodes."""


class Cluster(Protocol):
    """What a self-test needs of the cluster that is tested."""

    codes: queue.Queue[tuple[str, str]]

    @property
    def plan(self) -> Plan: ...

    @property
    def trust(self) -> Trust | None:
        """None: everything is plaintext."""

    @property
    def nodes(self) -> dict[str, Child]: ...


def run(cluster: Cluster, secret: AnySecret) -> int:
    """Returns the exit code. Raises: SelfTestFailed, or the error that a step met."""
    started = time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="cloudgrpc-self-test-") as scratch,
        Gateway(cluster.plan.gateway, cluster.trust.people if cluster.trust else None) as gateway,
    ):
        test = _SelfTest(cluster, secret, gateway, Path(scratch))
        test.run()
    print(f"Self-test passed in {time.monotonic() - started:.0f} s.", flush=True)
    return Exit.OK


class _SelfTest:
    def __init__(self, cluster: Cluster, secret: AnySecret, gateway: Gateway, scratch: Path) -> None:
        self._cluster = cluster
        self._gateway = gateway
        self._scratch = scratch
        self._session = Session(gateway, "")
        self._nodes = _Nodes(cluster.plan.node_ports, secret, cluster.trust)
        self._step = 0

    def run(self) -> None:
        self._enroll()
        source, big = self._make_files()
        self._upload_folder(source)
        self._upload_big(big)
        self._compare("compared every byte", source, big)
        lost = self._kill_a_node()
        self._compare(f"compared every byte again, without {lost}", source, big)
        self._wait_until_whole(lost)
        self._compare("compared every byte once more", source, big)

    def _enroll(self) -> None:
        with self._told() as figures:
            email = f"self-test-{secrets.token_hex(4)}@example.com"
            auth, call = self._gateway.auth, self._gateway.call
            call(auth.SendOTP, pb.SendOTPRequest(email=email))
            proof = call(auth.VerifyOTP, pb.VerifyOTPRequest(email=email, otp=self._code_for(email)))
            request = pb.EnrollRequest(email=email, full_name="Self Test", verification_token=proof.verification_token)
            self._session = Session(self._gateway, call(auth.Enroll, request).session_token)
            figures.append(f"enrolled {email}")

    def _make_files(self) -> tuple[Path, Path]:
        """The program's own files, and a big one of random bytes."""
        source, big = self._scratch / "cloudgrpc", self._scratch / "big.bin"
        # An executable's source is in one file of its own; what it unpacks are libraries, some of them big.
        own = getattr(sys, "_MEIPASS", Path(cloudgrpc.__file__).parent)
        shutil.copytree(own, source, ignore=_unwanted)
        with big.open("wb") as file:
            for _ in range(BIG_BYTES // BLOCK_BYTES):
                file.write(os.urandom(BLOCK_BYTES))
        return source, big

    def _upload_folder(self, source: Path) -> None:
        with self._told() as figures:
            started = time.monotonic()
            outcome = TreeUpload(self._session, Transfers(self._session), Unwatched()).run(
                plan([source], "/", "", is_recursive=True)
            )
            for error in outcome.failures:
                raise error
            rate = outcome.files / (time.monotonic() - started)
            figures.append(f"uploaded the program's own files: {outcome.files} files, {rate:.0f} a second")

    def _upload_big(self, big: Path) -> None:
        with self._told() as figures:
            started = time.monotonic()
            Transfers(self._session).upload_file(big)
            figures.append(f"uploaded {size_words(BIG_BYTES)}: {_pace(BIG_BYTES, started)}")

    def _compare(self, words: str, source: Path, big: Path) -> None:
        with self._told() as figures:
            started, total, count = time.monotonic(), 0, 0
            for path in [big, *sorted(source.rglob("*"))]:
                if path.is_file():
                    self._compare_one(path)
                    total, count = total + path.stat().st_size, count + 1
            figures.append(f"downloaded and {words}: {count} files, {_pace(total, started)}")

    def _compare_one(self, path: Path) -> None:
        remote = f"/{path.relative_to(self._scratch)}"
        found = self._session.call(
            self._gateway.files.ResolvePath, pb.ResolvePathRequest(session_token=self._session.token, path=remote)
        )
        back = self._scratch / "back"
        Transfers(self._session).download_file(found.file.file_id, back)
        if not filecmp.cmp(path, back, shallow=False):
            raise SelfTestFailed(reason=f"{remote} came back with other bytes")
        back.unlink()

    def _kill_a_node(self) -> str:
        """The node with the most chunks."""
        with self._told() as figures:
            held = self._nodes.chunks()
            short = [chunk for chunk, count in _count(held).items() if count < COPIES]
            if short:
                raise SelfTestFailed(reason=f"{len(short)} chunks have fewer than {COPIES} copies")
            fullest = max(held, key=lambda name: len(held[name]))
            self._cluster.nodes[fullest].kill()
            figures.append(f"killed {fullest} with -9: {len(held[fullest])} copies are gone with it")
        return fullest

    def _wait_until_whole(self, lost: str) -> None:
        with self._told() as figures:
            started = time.monotonic()
            wanted = self._nodes.known
            self._nodes.forget(lost)
            while missing := sum(count < COPIES for count in self._nodes.counts(wanted).values()):
                if time.monotonic() - started > REPAIR_S:
                    raise SelfTestFailed(reason=f"{missing} lost copies were not made again in {REPAIR_S:.0f} s")
                time.sleep(LOOK_S)
            seconds = time.monotonic() - started
            figures.append(f"all {len(wanted)} chunks have {COPIES} copies again, {seconds:.0f} s later")

    def _code_for(self, email: str) -> str:
        deadline = time.monotonic() + CODE_S
        while True:
            try:
                asked, code = self._cluster.codes.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise SelfTestFailed(reason=f"no code for {email} came within {CODE_S:.0f} s") from None
            if asked == email:
                return code

    @contextmanager
    def _told(self) -> Iterator[list[str]]:
        """A step: its figures are printed when it is done."""
        self._step += 1
        figures: list[str] = []
        yield figures
        print(f"{self._step:2}. {', '.join(figures)}", flush=True)


class _Nodes:
    """What the nodes themselves say they hold."""

    def __init__(self, ports: dict[str, int], secret: AnySecret, trust: Trust | None) -> None:
        self._trust = trust
        self._ports = dict(ports)
        self._secret = secret
        self.known: set[str] = set()  # every chunk seen so far

    def forget(self, name: str) -> None:
        del self._ports[name]

    def chunks(self) -> dict[str, set[str]]:
        held = {name: self._listed(name, port) for name, port in self._ports.items()}
        self.known.update(*held.values())
        return held

    def counts(self, wanted: set[str]) -> Counter[str]:
        counts = _count(self.chunks())
        return Counter({chunk: counts[chunk] for chunk in wanted})

    def _listed(self, name: str, port: int) -> set[str]:
        with self._channel(name, rpc.address("127.0.0.1", port)) as channel:
            stub, token = NodeServiceStub(channel), ""
            found: set[str] = set()
            while True:
                request = pb.ListChunksRequest(node_id=name, page_size=10_000, page_token=token)
                try:
                    page = stub.ListChunks(request, timeout=CODE_S, metadata=((rpc.SECRET_KEY, self._secret.current),))
                except grpc.RpcError as failure:
                    raise rpc.error_of(cast("grpc.Call", failure), name) from failure
                found.update(page.chunk_ids)
                token = page.next_page_token
                if not token:
                    return found

    def _channel(self, name: str, address: str) -> grpc.Channel:
        if self._trust is None:
            return grpc.insecure_channel(address, options=rpc.CHANNEL_OPTIONS)
        options = [*rpc.CHANNEL_OPTIONS, rpc.as_named(node_identity(name).host)]
        return grpc.secure_channel(address, rpc.channel_credentials(self._trust.gateway), options=options)


def _count(held: dict[str, set[str]]) -> Counter[str]:
    return Counter(chunk for chunks in held.values() for chunk in chunks)


def _pace(size: int, started: float) -> str:
    return f"{size_words(int(size / (time.monotonic() - started)))}/s"


def _unwanted(folder: str, names: list[str]) -> list[str]:
    return [name for name in names if name == "__pycache__" or Path(folder, name).stat().st_size > SMALL_BYTES]
