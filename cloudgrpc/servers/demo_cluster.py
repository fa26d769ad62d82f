"""A whole cluster on one machine: a gateway, its nodes and a Campay sandbox as child processes, watched until Ctrl-C.

<data folder>/
  logs/gateway.log, logs/node1.log …      what the children say on stderr
  metadata.sqlite3, secrets/              the gateway's
  node_storage_node1/ …                   the nodes'
  campay_sandbox.jsonl                    the sandbox's
"""

from __future__ import annotations

import contextlib
import queue
import re
import secrets
import shutil
import signal
import socket
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from cloudgrpc import __version__, rpc
from cloudgrpc.config import Cluster, Gateway, Upkeep
from cloudgrpc.errors import CallTooSlow, ChildFailed, CloudError, Exit, UsageWrong
from cloudgrpc.servers.children import Child, typed_command
from cloudgrpc.servers.secrets_store import shared_secret

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator

    from cloudgrpc.config import Config

HOST = "127.0.0.1"
NODE_GB = 2
MOST_NODES = 50
FIRST_NODE_PORT = 9001
READY_S = 30.0
LOOK_S = 0.2
SANDBOX_READY = "Campay sandbox"  # how its first line begins
OTP_LINE = re.compile(r"OTP code for (\S+): ([0-9]{6}) ")

# What a demo waits for in seconds rather than minutes, unless the configuration says otherwise.
DEMO = {("upkeep", "repair_delay_s"): 10.0}
SELF_TEST = {
    ("cluster", "heartbeat_s"): 1.0,
    ("cluster", "offline_after_s"): 3.0,
    ("upkeep", "round_s"): 1.0,
    ("upkeep", "repair_delay_s"): 2.0,
}


@dataclass(frozen=True)
class Plan:
    """Where everything of the cluster is to be."""

    folder: Path
    gateway_port: int
    node_ports: dict[str, int]
    http_port: int
    sandbox_port: int | None  # None: payments go where the settings say

    @property
    def webhook(self) -> str:
        return f"http://{HOST}:{self.http_port}/webhooks/campay"

    @property
    def gateway(self) -> str:
        return f"{HOST}:{self.gateway_port}"


class DemoCluster:
    """The running children. Made and started by `running`."""

    def __init__(self, plan: Plan, common: list[str], environment: dict[str, str], tell: Callable[[str], None]) -> None:
        self.plan = plan
        self.codes: queue.Queue[tuple[str, str]] = queue.Queue()  # e-mail and code, as the gateway prints them
        self._tell = tell
        self._ready: queue.Queue[str] = queue.Queue()
        self._closing = threading.Event()
        logs = plan.folder / "logs"
        logs.mkdir(mode=0o700, parents=True, exist_ok=True)

        def child(name: str, *words: str) -> Child:
            return Child(
                name, [*words, *common], logs / f"{name}.log", environment, lambda line: self._hear(name, line)
            )

        self.gateway = child("gateway", "gateway", "--host", HOST, "--port", str(plan.gateway_port))
        self.nodes = {
            name: child(name, "node", name, str(port), str(NODE_GB), "--host", HOST, "--gateway", plan.gateway)
            for name, port in plan.node_ports.items()
        }
        self.sandbox = None
        if plan.sandbox_port:
            words = ("pay", "sandbox", "--port", str(plan.sandbox_port), "--webhook", plan.webhook)
            self.sandbox = child("sandbox", *words)

    def start(self) -> None:
        """Start all, and wait until the gateway has taken every node in. Raises: CallTooSlow, or a child's failure."""
        for child in self._children():
            child.start()
        waiting = {*self.nodes, *([self.sandbox.name] if self.sandbox else [])}
        deadline = time.monotonic() + READY_S
        while waiting:
            with contextlib.suppress(queue.Empty):
                waiting.discard(self._ready.get(timeout=LOOK_S))
            for child in self._children():
                if child.death:
                    raise ChildFailed(obituary=_obituary(child))
            if time.monotonic() > deadline:
                raise CallTooSlow(peer=", ".join(sorted(waiting)))

    def watch(self) -> None:
        """Start children again that die, until `close`."""
        mourned: set[Child] = set()
        while not self._closing.wait(LOOK_S):
            for child in self._children():
                if not child.is_wanted or not child.death:
                    mourned.discard(child)
                elif child not in mourned:
                    mourned.add(child)
                    self._tell(_obituary(child))
                elif child.may_start:
                    mourned.discard(child)
                    self._tell(f"{child.name} is started again.")
                    child.start_again()

    def close(self) -> None:
        """End every child: nodes first, so that they can say goodbye to a gateway that is there."""
        self._closing.set()
        for child in self._children():
            child.ask_to_stop()
        for child in self._children():
            child.wait_stopped()

    def _children(self) -> list[Child]:
        return [*([self.sandbox] if self.sandbox else []), self.gateway, *self.nodes.values()]

    def _hear(self, name: str, line: str) -> None:
        code = OTP_LINE.match(line)
        if code:
            self._tell(line)
            self.codes.put((code[1], code[2]))
        elif line.startswith((f"{name} joined", SANDBOX_READY)):
            self._ready.put(name)


def run(config: Config, args: argparse.Namespace) -> int:
    """`args`: nodes, gateway_port, node_port, data_dir, config, log_level, self_test (the test to run, or false)."""
    for ending in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, _interrupt)
    with _folder(config, args) as folder:
        plan = _plan(config, args, folder)
        cluster = DemoCluster(plan, _common_words(args, folder), _environment(config, plan, bool(args.self_test)), _say)
        try:
            cluster.start()
            threading.Thread(target=cluster.watch, name="watch", daemon=True).start()
            if args.self_test:
                return int(args.self_test(cluster, shared_secret(_with_folder(config, folder), ("cluster", "secret"))))
            _say(_screen(plan))
            while True:
                time.sleep(3600)
        except KeyboardInterrupt:
            if args.self_test:
                raise
            _say("\nStopping … your files are there again at the next start.")
            return Exit.OK
        finally:
            cluster.close()


def _plan(config: Config, args: argparse.Namespace, folder: Path) -> Plan:
    """Raises: UsageWrong, PortInUse."""
    if not 1 <= args.nodes <= MOST_NODES:
        raise UsageWrong(reason=f"--nodes must be 1 to {MOST_NODES}")
    if args.self_test and args.nodes <= config.cluster.replication_factor:
        raise UsageWrong(reason=f"--self-test kills a node, so it needs more than {config.cluster.replication_factor}")
    free = bool(args.self_test)  # a test does not need the usual ports
    gateway_port = args.gateway_port or (_free_port() if free else config.gateway.port)
    first = args.node_port or FIRST_NODE_PORT
    names = [f"node{number}" for number in range(1, args.nodes + 1)]
    ports = {name: _free_port() if free and not args.node_port else first + offset for offset, name in enumerate(names)}
    for name, port, flag in [
        ("gateway", gateway_port, "--gateway-port"),
        *((n, p, "--node-port") for n, p in ports.items()),
    ]:
        if not 1 <= port <= 65535:
            raise UsageWrong(reason=f"{flag}: the port of {name} would be {port}")
        rpc.check_port(HOST, port, flag)
    if len({gateway_port, *ports.values()}) <= len(ports):
        raise UsageWrong(reason="--gateway-port and the ports of the nodes overlap")
    # Nobody types these two, so any port will do where the usual ones are taken.
    taken = {gateway_port, *ports.values()}
    http_port = config.http.port or _port_near(gateway_port + 1, taken)
    is_pretended = not config.campay.mode and not config.database.host  # with PostgreSQL a gateway refuses the sandbox
    sandbox_port = _port_near(gateway_port + 2, {*taken, http_port}) if is_pretended else None
    return Plan(folder, gateway_port, ports, http_port, sandbox_port)


def _port_near(wanted: int, taken: set[int]) -> int:
    """The wanted port, or any if it is not free."""
    if wanted not in taken and wanted <= 65535:
        with contextlib.suppress(CloudError):
            rpc.check_port(HOST, wanted, "")
            return wanted
    return _free_port()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def _folder(config: Config, args: argparse.Namespace) -> Iterator[Path]:
    """The data folder; for a self-test a temporary one unless told otherwise, kept when the test fails."""
    if not args.self_test or args.data_dir:
        yield config.data_folder
        return
    folder = Path(tempfile.mkdtemp(prefix="cloudgrpc-self-test-"))
    try:
        yield folder
    except BaseException:
        _say(f"Data and logs of this run are kept in {folder}")
        raise
    shutil.rmtree(folder, ignore_errors=True)


def _with_folder(config: Config, folder: Path) -> Config:
    import msgspec

    return msgspec.structs.replace(config, data=msgspec.structs.replace(config.data, folder=str(folder)))


def _common_words(args: argparse.Namespace, folder: Path) -> list[str]:
    words = ["--data-dir", str(folder)]
    if args.config:
        words += ["--config", str(args.config.absolute())]
    if args.log_level:
        words += ["--log-level", args.log_level]
    return words


def _environment(config: Config, plan: Plan, is_self_test: bool) -> dict[str, str]:
    defaults = {"cluster": Cluster(), "upkeep": Upkeep()}
    wanted = {**DEMO, **(SELF_TEST if is_self_test else {})}
    told = {
        f"CLOUDGRPC_{section}_{key}".upper(): str(value)
        for (section, key), value in wanted.items()
        if getattr(getattr(config, section), key) == getattr(defaults[section], key)
    }
    return told | {"CLOUDGRPC_HTTP_PORT": str(plan.http_port)} | _sandbox_account(plan)


def _sandbox_account(plan: Plan) -> dict[str, str]:
    """By which gateway and sandbox know each other, until the cluster stops."""
    if not plan.sandbox_port:
        return {}
    return {
        "CAMPAY_BASE_URL": f"http://{HOST}:{plan.sandbox_port}/api",
        "CAMPAY_APP_USERNAME": "demo-cluster",
        "CAMPAY_APP_PASSWORD": secrets.token_urlsafe(16),
        "CLOUDGRPC_CAMPAY_WEBHOOK_KEY": secrets.token_urlsafe(32),
    }


def _screen(plan: Plan) -> str:
    elsewhere = f" --gateway {plan.gateway}" if plan.gateway_port != Gateway().port else ""
    shell, pay = f"{typed_command()} shell{elsewhere}", f"{typed_command()} pay{elsewhere}"
    is_sandbox = plan.sandbox_port is not None
    nodes = [f"  {name:<9} {HOST}:{port}   keeps up to {NODE_GB} GB" for name, port in plan.node_ports.items()]
    return "\n".join(
        [
            f"CloudGrpc {__version__}: a cluster on this machine",
            "",
            f"  gateway   {plan.gateway}",
            *nodes,
            *_payment_lines(plan),
            f"  data      {plan.folder}",
            f"  logs      {plan.folder / 'logs'}",
            "",
            "Next, in another terminal:",
            "",
            f'  {shell} enroll you@example.com "Your Name"     (the code appears here)',
            f"  {shell} upload FILE",
            f"  {shell} ls",
            f"  {shell}     (a prompt; try help)",
            f"  {pay} tiers",
            f"  {pay} buy --tier starter --phone 237670000001{'     (a test number that pays at once)' * is_sandbox}",
            "",
            "Kill a node and see that nothing is lost. Ctrl-C stops everything.",
            "",
        ]
    )


def _payment_lines(plan: Plan) -> list[str]:
    http = f"  http      {HOST}:{plan.http_port}   where Campay rings"
    if not plan.sandbox_port:
        return [http]
    return [http, f"  sandbox   {HOST}:{plan.sandbox_port}   a stand-in for Campay: no money moves"]


def _obituary(child: Child) -> str:
    words = [f"{child.name} ended ({child.death}). Its last words, from {child.log}:"]
    return "\n".join([*words, *(f"    {line}" for line in child.last_words())])


def _say(text: str) -> None:
    print(text, flush=True)


def _interrupt(_number: int, _frame: object) -> NoReturn:
    """However we are told to stop, the children are ended in the same way."""
    raise KeyboardInterrupt
