"""The real program as processes, for tests that kill, freeze, corrupt and restart it.

    <folder>/
      data/         the data folder of gateway and nodes: metadata.sqlite3, node_storage_<id>/
      home/         the home of every process, so that nothing of the developer's own is read or written
      logs/         <name>.out and <name>.err of every process, appended over restarts

Nothing here sleeps for luck: whatever has to become true is polled for, and what never does fails with the logs.
"""

from __future__ import annotations

import re
import sqlite3
import subprocess
import sys
import time
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any, cast

import grpc
import psycopg2

from cloudgrpc import rpc
from cloudgrpc.pb import cloud_storage_pb2 as pb
from cloudgrpc.pb import cloud_storage_pb2_grpc as stubs
from program import HOST, PATIENCE_S, Program, answers, clean_environment, free_port, kill_all
from user import CALL_S, User

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from postgres import Database

CHUNK_FILE = re.compile(r"[0-9a-f]{32}\Z")
CODE_LINE = "OTP code for {email}: "
JOINED = "joined the gateway"

# Everything that waits, waits briefly; a test overrides what it is about.
QUICK: dict[str, object] = {
    "cluster_heartbeat_s": 0.3,
    "cluster_offline_after_s": 1.5,
    "cluster_node_timeout_s": 2,
    "node_disk_reserve_mb": 1,
    "upkeep_round_s": 0.3,
    "upkeep_repair_delay_s": 1,
    "upkeep_repair_mib_s": 10_000,
    "upkeep_inventory_s": 1,
    "logging_level": "debug",
}

# Over those: no node that merely stands still for three seconds, as any process may, is given up.
PATIENT: dict[str, Any] = {"cluster_offline_after_s": 5, "cluster_node_timeout_s": 10}

# An idle gateway costs a sixth of a core when its rounds come as quickly as those tests want that wait for them.
CALM: dict[str, Any] = {
    "upkeep_round_s": 3600,
    "upkeep_inventory_s": 36000,
    "cluster_heartbeat_s": 5,
    "cluster_offline_after_s": 3600,
    "cluster_node_timeout_s": PATIENCE_S,  # a machine that is busy may stop a node for seconds
}

# All tests come from one address, and sign in more often than a person would.
UNLIMITED = {
    "limits_resend_s": 1e-6,
    **dict.fromkeys(["limits_codes_per_hour", "limits_peer_codes_per_hour"], 1_000_000),
    **dict.fromkeys(["limits_tries_per_hour", "limits_peer_tries_per_hour"], 1_000_000),
    "limits_payments_per_hour": 1_000_000,
}


class Cluster:
    """A gateway and its nodes. Settings are given as `section_key=value`, e.g. `upkeep_grace_s=30`.

    `nodes`: how many are started, as node1, node2, …; `database`: PostgreSQL instead of SQLite; `quick`: False for the
    product's own times instead of those above.
    """

    def __init__(
        self,
        folder: Path,
        nodes: int = 3,
        capacity_gb: float = 2,
        database: Database | None = None,
        quick: bool = True,
        **settings: object,
    ) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.logs = folder / "logs"
        self.database = database
        self.capacity_gb = capacity_gb
        self.settings = {**(QUICK if quick else {}), **UNLIMITED, **settings}
        self.port = free_port()
        self.programs: dict[str, Program] = {}
        self._node_ports: dict[str, int] = {}
        self._first_nodes = [f"node{number}" for number in range(1, nodes + 1)]
        self._channel: grpc.Channel | None = None
        for part in (self.data, self.logs, folder / "home"):
            part.mkdir(parents=True, exist_ok=True)

    def start(self) -> Cluster:
        self.start_gateway()
        self.start_nodes(*self._first_nodes)
        return self

    def restart(self) -> None:
        """Stop everything that runs as an operator does, and start it again."""
        running = [program for program in self.programs.values() if program.is_running]
        for program in running:
            program.stop()
        for program in running:
            program.start()
        self.wait_ready(self.gateway, self.port)
        for node_id in self._node_ports:
            if self.programs[node_id] in running:
                self.wait_joined(node_id)

    def close(self) -> None:
        """End every process, whatever state it is in, and wait until it is gone."""
        kill_all(self.programs.values())
        if self._channel is not None:
            self._channel.close()

    # The processes

    def start_gateway(self, launcher: Path | None = None, ready: bool = True, **settings: object) -> Program:
        """`launcher`: a Python file run in place of `-m cloudgrpc`, e.g. one that wraps functions to crash in them."""
        words = ["gateway", "--host", HOST, "--port", str(self.port), "--data-dir", str(self.data)]
        gateway = self._program("gateway", words, settings)
        gateway.launcher = launcher
        gateway.start()
        if ready:
            self.wait_ready(gateway, self.port)
        return gateway

    def kill_gateway(self) -> None:
        self.gateway.kill()

    def stop_gateway(self) -> int:
        return self.gateway.stop()

    @property
    def gateway(self) -> Program:
        return self.programs["gateway"]

    @property
    def address(self) -> str:
        return f"{HOST}:{self.port}"

    def start_node(
        self,
        node_id: str,
        *,
        ready: bool = True,
        capacity_gb: float | None = None,
        data: Path | None = None,
        launcher: Path | None = None,
        more_words: Sequence[str] = (),
        **settings: object,
    ) -> Program:
        """Start or restart a node, on the same port each time. `ready`: wait until the gateway has taken it in."""
        port = self._node_ports.setdefault(node_id, free_port())
        capacity = f"{self.capacity_gb if capacity_gb is None else capacity_gb:g}"
        words = ["node", node_id, str(port), capacity, "--host", HOST, "--data-dir", str(data or self.data)]
        node = self._program(node_id, [*words, "--gateway", self.address, *more_words], settings)
        node.launcher = launcher
        node.start()
        if ready:
            self.wait_joined(node_id)
        return node

    def start_nodes(self, *node_ids: str) -> None:
        """Side by side."""
        for node_id in node_ids:
            self.start_node(node_id, ready=False)
        for node_id in node_ids:
            self.wait_joined(node_id)

    def node(self, node_id: str) -> Program:
        return self.programs[node_id]

    def node_port(self, node_id: str) -> int:
        return self._node_ports[node_id]

    def kill(self, *names: str) -> None:
        kill_all(self.programs[name] for name in names)

    def lose(self, node_id: str) -> None:
        """kill -9, and the gateway counts it as offline at once; else it would wait for signs of life."""
        self.kill(node_id)
        self.change(f"UPDATE node SET is_online = FALSE WHERE node_id = '{node_id}'")

    def stop(self, name: str) -> int:
        return self.programs[name].stop()

    def pause(self, *names: str) -> None:
        """SIGSTOP: connections stay open and nothing answers."""
        for name in names:
            self.programs[name].pause()

    def resume(self, *names: str) -> None:
        for name in names:
            self.programs[name].resume()

    def silence(self, node_id: str) -> None:
        """Kill a node, and wait until it counts as offline; soon, for it seems to be silent long since."""
        self.kill(node_id)

        def is_gone() -> bool:
            # Again and again: its last word may have been on its way yet.
            self.change(f"UPDATE node SET last_heartbeat_at = last_heartbeat_at - 60000000 WHERE node_id = '{node_id}'")
            return node_id not in self.online()

        self.wait(is_gone, what=f"{node_id} going offline")

    # Waiting

    def wait(self, predicate: Callable[[], object], seconds: float = PATIENCE_S, what: str = "") -> None:
        """Until `predicate` holds. Raises: AssertionError with the logs when it never does."""
        deadline = time.monotonic() + seconds
        while not predicate():
            if time.monotonic() > deadline:
                raise AssertionError(f"not within {seconds:g} s: {what or 'what was waited for'}\n{self.tail()}")
            time.sleep(0.02)

    def wait_ready(self, program: Program, port: int, seconds: float = PATIENCE_S) -> None:
        """Until the port answers gRPC, or the process ended before it did."""
        self.wait(lambda: answers(port) or not program.is_running, seconds, f"{program.name} listening")
        if not program.is_running:
            raise AssertionError(f"{program.name} ended with exit code {program.wait()}\n{program.tail()}")

    def wait_joined(self, node_id: str) -> None:
        """Until the gateway has taken the node in and told it so. Its row alone may be that of the process before it,
        and even a new one is there before the gateway's own view knows of it."""
        node = self.programs[node_id]
        self.wait(lambda: JOINED in node.said or not node.is_running, what=f"{node_id} taken in")
        if JOINED not in node.said:
            raise AssertionError(f"{node_id} ended with exit code {node.wait()}\n{node.tail()}")

    def tail(self) -> str:
        return "\n".join(program.tail() for program in self.programs.values())

    # People

    def send_code(self, email: str) -> str:
        """Ask for a code by mail, and read it where the gateway prints it."""
        seen = self.gateway.out.stat().st_size
        self.auth.SendOTP(pb.SendOTPRequest(email=email), timeout=CALL_S)
        self.wait(lambda: self._code_after(seen, email), what=f"a code for {email}")
        return self._code_after(seen, email)

    def prove(self, email: str) -> str:
        """A verification token for Enroll or Login."""
        verified = pb.VerifyOTPRequest(email=email, otp=self.send_code(email))
        return self.auth.VerifyOTP(verified, timeout=CALL_S).verification_token

    def enroll(self, email: str, full_name: str = "Test Person") -> User:
        request = pb.EnrollRequest(email=email, full_name=full_name, verification_token=self.prove(email))
        answer = self.auth.Enroll(request, timeout=CALL_S)
        return User(self, email, answer.user_id, answer.session_token)

    def login(self, email: str) -> User:
        request = pb.LoginRequest(email=email, verification_token=self.prove(email))
        answer = self.auth.Login(request, timeout=CALL_S)
        return User(self, email, answer.user_id, answer.session_token)

    def run(self, *words: str, timeout_s: float = 120, **settings: object) -> subprocess.CompletedProcess[str]:
        """Run another role to its end: `cluster.run("shell", "ls")`. Its home is that of all runs of this cluster."""
        return subprocess.run(
            [sys.executable, "-m", "cloudgrpc", *words],
            cwd=self.logs,
            env=self.environment(**settings),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    # What lies where

    def node_folder(self, node_id: str) -> Path:
        return self.data / f"node_storage_{node_id}"

    def chunk_files(self, node_id: str) -> dict[str, Path]:
        """The chunks on a node's disk, by id; what is being written or in quarantine is not among them."""
        folders = self.node_folder(node_id).glob("[0-9a-f][0-9a-f]")
        return {path.name: path for folder in folders for path in folder.iterdir() if CHUNK_FILE.match(path.name)}

    def holders(self, chunk_id: str) -> list[str]:
        """The nodes on whose disks the chunk is."""
        return [node for node in sorted(self._node_ports) if chunk_id in self.chunk_files(node)]

    def chunks_of(self, file_id: str) -> list[str]:
        """The chunk ids of a file's newest version, in order."""
        query = "SELECT extent.chunk_id FROM extent JOIN entry ON entry.version_id = extent.version_id"
        return [row[0] for row in self.rows(f"{query} WHERE entry.entry_id = '{file_id}' ORDER BY extent.position")]

    def online(self) -> list[str]:
        """The nodes that the gateway counts as online."""
        with suppress(sqlite3.OperationalError, psycopg2.Error):  # not yet made, or busy: asked again by who waits
            return [row[0] for row in self.rows("SELECT node_id FROM node WHERE is_online ORDER BY node_id")]
        return []

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Read the metadata behind the gateway's back."""
        with closing(self._connect()) as connection, closing(connection.cursor()) as cursor:
            cursor.execute(query)
            return list(cursor.fetchall())

    def change(self, statement: str) -> None:
        """Change one row of the metadata behind the gateway's back."""
        with closing(self._connect("rw")) as connection, closing(connection.cursor()) as cursor:
            cursor.execute(statement)
            assert cursor.rowcount == 1, statement
            connection.commit()

    def used_bytes(self, email: str) -> tuple[int, int]:
        """What the account uses and has reserved."""
        (row,) = self.rows(f"SELECT used_bytes, reserved_bytes FROM account WHERE email = '{email}'")
        return cast("tuple[int, int]", row)

    # Calls

    @property
    def channel(self) -> grpc.Channel:
        """One connection for all users, which finds the gateway again after a restart."""
        if self._channel is None:
            self._channel = grpc.insecure_channel(self.address, options=rpc.CHANNEL_OPTIONS)
        return self._channel

    @property
    def auth(self) -> stubs.AuthServiceStub:
        return stubs.AuthServiceStub(self.channel)

    @property
    def files(self) -> stubs.FileServiceStub:
        return stubs.FileServiceStub(self.channel)

    @property
    def history(self) -> stubs.HistoryServiceStub:
        return stubs.HistoryServiceStub(self.channel)

    @property
    def payments(self) -> stubs.PaymentServiceStub:
        return stubs.PaymentServiceStub(self.channel)

    @property
    def admin(self) -> stubs.AdminServiceStub:
        return stubs.AdminServiceStub(self.channel)

    @property
    def sharing(self) -> stubs.SharingServiceStub:
        return stubs.SharingServiceStub(self.channel)

    @property
    def uploads(self) -> stubs.UploadServiceStub:
        return stubs.UploadServiceStub(self.channel)

    @property
    def storage(self) -> stubs.StorageServiceStub:
        return stubs.StorageServiceStub(self.channel)

    def environment(self, **settings: object) -> dict[str, str]:
        """What every process of this cluster starts with; `settings` over those of the cluster."""
        said = {f"CLOUDGRPC_{key.upper()}": str(value) for key, value in {**self.settings, **settings}.items()}
        return {
            **clean_environment(),
            "HOME": str(self.folder / "home"),
            "XDG_CONFIG_HOME": str(self.folder / "home" / ".config"),
            **(self.database.environment if self.database else {}),
            "GRPC_SERVER_PORT": str(self.port),
            **said,
        }

    def _program(self, name: str, words: list[str], settings: dict[str, object]) -> Program:
        known = self.programs.get(name)
        if known is not None and known.is_running:
            raise RuntimeError(f"{name} is running already")
        self.programs[name] = Program(name, words, self.environment(**settings), self.logs)
        return self.programs[name]

    def _code_after(self, position: int, email: str) -> str:
        """The newest code for this address printed since; "" when there is none yet."""
        with self.gateway.out.open("rb") as out:
            out.seek(position)
            told = out.read().decode(errors="replace")
        codes = re.findall(re.escape(CODE_LINE.format(email=email)) + r"(\d{6}) ", told)
        return str(codes[-1]) if codes else ""

    def _connect(self, mode: str = "ro") -> Any:  # either engine's connection: both speak DB-API
        if self.database is None:
            return sqlite3.connect(f"file:{self.data / 'metadata.sqlite3'}?mode={mode}", uri=True, timeout=10)
        place = self.database
        return psycopg2.connect(host=place.host, port=place.port, dbname=place.name, user=place.user)
