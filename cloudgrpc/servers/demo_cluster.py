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
import shutil
import signal
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from cloudgrpc import __version__
from cloudgrpc.config import Gateway
from cloudgrpc.errors import CallTooSlow, ChildFailed, Exit, NodeRemoved
from cloudgrpc.executable import once
from cloudgrpc.servers.children import Child, typed_command
from cloudgrpc.servers.demo_plan import HOST, environment_of, plan_of
from cloudgrpc.servers.demo_trust import DemoTrust
from cloudgrpc.trust.secrets import cluster_secret

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator, Sequence

    from cloudgrpc.config import Config
    from cloudgrpc.servers.demo_plan import Plan

NODE_GB = 2
READY_S = 30.0
LOOK_S = 0.2
GATEWAY_READY = "  listens on"  # how its second line begins
SANDBOX_READY = "Campay sandbox"  # how its first line begins
OTP_LINE = re.compile(r"OTP code for (\S+): ([0-9]{6}) ")


class DemoCluster:
    """The running children. Made and started by `running`."""

    def __init__(
        self,
        plan: Plan,
        common: list[str],
        environment: dict[str, str],
        tell: Callable[[str], None],
        *,
        trust: DemoTrust | None,
    ) -> None:
        self.plan = plan
        self.trust = trust
        self.codes: queue.Queue[tuple[str, str]] = queue.Queue()  # e-mail and code, as the gateway prints them
        self.left: list[str] = []  # nodes that an operator removed
        self._tell = tell
        self._ready: queue.Queue[str] = queue.Queue()
        self._were_ready: set[str] = set()
        self._closing = threading.Event()
        logs = plan.folder / "logs"
        for folder in (plan.folder, logs):  # of several that are made only the last would get the mode
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)

        def child(name: str, *words: str) -> Child:
            return Child(
                name, [*words, *common], logs / f"{name}.log", environment, lambda line: self._hear(name, line)
            )

        self.gateway = child("gateway", "gateway", "--host", HOST, "--port", str(plan.gateway_port))
        self.nodes = {
            name: child(
                name, *_node_words(plan, name), "--host", HOST, "--gateway", plan.gateway, *_join_words(trust, name)
            )
            for name in plan.node_ports
        }
        self.sandbox = None
        if plan.sandbox_port:
            words = ("pay", "sandbox", "--port", str(plan.sandbox_port), "--webhook", plan.webhook)
            self.sandbox = child("sandbox", *words)

    def start(self) -> None:
        """Start all, and wait until the gateway has taken every node in. Raises: CallTooSlow, or a child's failure."""
        for child in self._children():
            if child not in self.nodes.values():
                child.start()
        if self.trust:
            self._wait({self.gateway.name})
            self.trust.invite(self.plan.gateway, list(self.nodes))
        for child in self.nodes.values():
            child.start()
        self._wait({*self.nodes, *([self.sandbox.name] if self.sandbox else [])})

    def _wait(self, waiting: set[str]) -> None:
        """Until all of them have been ready."""
        deadline = time.monotonic() + READY_S
        while waiting - self._were_ready:
            with contextlib.suppress(queue.Empty):
                self._were_ready.add(self._ready.get(timeout=LOOK_S))
            for child in self._children():
                if self._leaves(child):
                    waiting.discard(child.name)
                elif child.is_wanted and child.death:
                    raise ChildFailed(obituary=_obituary(child))
            if time.monotonic() > deadline:
                raise CallTooSlow(peer=", ".join(sorted(waiting - self._were_ready)))

    def watch(self) -> None:
        """Start children again that die, until `close`."""
        mourned: set[Child] = set()
        while not self._closing.wait(LOOK_S):
            for child in self._children():
                if self._leaves(child) or not child.is_wanted or not child.death:
                    mourned.discard(child)
                elif child not in mourned:
                    mourned.add(child)
                    self._tell(_obituary(child))
                elif child.may_start:
                    mourned.discard(child)
                    child.start_again()
                    self._tell(f"{child.name} is started again.")

    def close(self) -> None:
        """End every child: nodes first, so that they can say goodbye to a gateway that is there."""
        self._closing.set()
        for child in self._children():
            child.ask_to_stop()
        for child in self._children():
            child.wait_stopped()
        if self.trust:
            self.trust.tidy()

    def _leaves(self, child: Child) -> bool:
        """Whether it is a node that an operator removed just now: that is told, and it stays stopped."""
        if not child.is_wanted or child.death != f"exit code {NodeRemoved.exit_code}":
            return False
        # The very last ones, with a hint behind: the log may tell of an older removal.
        if child.last_words()[-2:-1] != [str(NodeRemoved(node_id=child.name))]:
            return False
        child.ask_to_stop()
        self.left.append(child.name)
        folder = self.plan.folder / f"node_storage_{child.name}"
        self._tell(
            f"{child.name} was removed by an operator; the demo leaves it stopped.\n"
            f"To have it again as a new, empty node: delete {folder} and start the demo again."
        )
        return True

    def _children(self) -> list[Child]:
        return [*([self.sandbox] if self.sandbox else []), self.gateway, *self.nodes.values()]

    def _hear(self, name: str, line: str) -> None:
        code = OTP_LINE.match(line)
        if code:
            self._tell(line)
            self.codes.put((code[1], code[2]))
        elif line.startswith((f"{name} joined", SANDBOX_READY, GATEWAY_READY)):
            self._ready.put(name)


def _node_words(plan: Plan, name: str) -> list[str]:
    http_port = str(plan.node_http_ports[name])
    return ["node", name, str(plan.node_ports[name]), str(NODE_GB), "--http-port", http_port]


def _join_words(trust: DemoTrust | None, name: str) -> list[str]:
    code = trust.code_file(name) if trust else None
    return ["--join", str(code)] if code else []


def run(config: Config, args: argparse.Namespace) -> int:
    """`args`: nodes, gateway_port, node_port, tls, data_dir, config, log_level, self_test (the test to run, or
    false)."""
    for ending in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, once(_interrupt))
    with _folder(config, args) as folder:
        plan = plan_of(config, args, folder)
        trust = DemoTrust(_with_folder(config, folder)) if plan.cluster_port else None
        environment = environment_of(config, plan, bool(args.self_test))
        cluster = DemoCluster(plan, _common_words(args, folder), environment, _say, trust=trust)
        try:
            cluster.start()
            threading.Thread(target=cluster.watch, name="watch", daemon=True).start()
            if args.self_test:
                return int(args.self_test(cluster, cluster_secret(_with_folder(config, folder))))
            _say(_screen(plan, trust, cluster.left))
            while True:
                time.sleep(3600)
        except KeyboardInterrupt:
            if args.self_test:
                raise
            _say("\nStopping … your files are there again at the next start.")
            return Exit.OK
        finally:
            cluster.close()


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


def _screen(plan: Plan, trust: DemoTrust | None, left: Sequence[str]) -> str:
    elsewhere = f" --gateway {plan.gateway}" if plan.gateway_port != Gateway().port else ""
    shell, pay = f"{typed_command()} shell{elsewhere}", f"{typed_command()} pay{elsewhere}"
    # Said once: what worked is remembered.
    first = f"{shell} --ca {plan.folder / 'certs' / 'ca.crt'}" if trust else shell
    is_sandbox = plan.sandbox_port is not None
    there = {name: port for name, port in plan.node_ports.items() if name not in left}
    nodes = [f"  {name:<9} {HOST}:{port}   keeps up to {NODE_GB} GB" for name, port in there.items()]
    node_metrics = ", ".join(str(plan.node_http_ports[name]) for name in there)
    return "\n".join(
        [
            f"CloudGrpc {__version__}: a cluster on this machine",
            "",
            f"  gateway   {plan.gateway}" + ("   with TLS" if trust else ""),
            *([f"  nodes at  {HOST}:{plan.cluster_port}   each with its certificate"] if trust else []),
            *nodes,
            *_payment_lines(plan),
            f"  metrics   http://{HOST}:{plan.http_port}/metrics   (nodes: port {node_metrics})",
            f"  data      {plan.folder}",
            f"  logs      {plan.folder / 'logs'}",
            "",
            "Next, in another terminal:",
            "",
            f'  {first} enroll you@example.com "Your Name"     (the code appears here)',
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
