"""From argv to a role: the one place that prints a failure and picks the exit code. A role is imported when it runs."""

from __future__ import annotations

import argparse
import gc
import importlib
import logging
import os
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from cloudgrpc import __version__, executable
from cloudgrpc.about.flags import add_about
from cloudgrpc.admin.flags import add_admin, add_certs, add_secrets, on_database_parser
from cloudgrpc.clients.flags import add_trust_flags, flags_among
from cloudgrpc.errors import CloudError, Exit, Unexpected

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cloudgrpc.config import Config, Key

MODULES = {
    "gateway": "cloudgrpc.servers.gateway",
    "node": "cloudgrpc.servers.node",
    "shell": "cloudgrpc.shell.shell",
    "pay": "cloudgrpc.shell.shell",  # its words are those of the shell's command of that name
    "admin": "cloudgrpc.admin.role",
    "certs": "cloudgrpc.admin.certs_role",
    "secrets": "cloudgrpc.admin.secrets_role",
    "demo-cluster": "cloudgrpc.servers.demo_cluster",
}
# About this program and this machine: they run without settings, or look at them themselves. Run with
# `(load, args)`, where `load()` gives the settings, instead of with `(config, args)`.
ABOUT = {
    "version": "cloudgrpc.about.version",
    "doctor": "cloudgrpc.about.doctor",
    "completion": "cloudgrpc.about.completion",
    "man": "cloudgrpc.about.man_page",
}
SANDBOX = "cloudgrpc.servers.campay_sandbox"
# Acts of `admin` on the database itself, not by the gateway: their first word -> module.
ON_DATABASE = {
    "migrate-database": "cloudgrpc.servers.migrate_database",
    "reset-database": "cloudgrpc.servers.reset_database",
}
DESCRIPTION = """A self-hosted cloud drive on its own self-healing storage nodes.

Try it all on this machine:   cloudgrpc demo-cluster
then, in another terminal:    cloudgrpc shell
"""
EXIT_CODES = """exit codes:
  0 done   1 failed   2 wrong usage or settings   3 copies are missing   4 data is lost (3 and 4: health reports)
  10 unavailable   11 not signed in   12 not found   13 exists already
  14 bad input   15 not possible now   16 conflict   17 too slow   18 data loss   19 not allowed   20 over a limit
  130 interrupted
"""


def main(argv: Sequence[str] | None = None) -> NoReturn:
    # While a role is imported, nothing comes that could be freed; looking for it takes a seventh of the time.
    gc.disable()
    try:
        executable.settle_in()
        sys.exit(run(sys.argv[1:] if argv is None else argv))
    except KeyboardInterrupt:  # before there was a role
        sys.exit(Exit.INTERRUPTED)
    finally:
        gc.enable()


def run(argv: Sequence[str]) -> int:
    """Run a role to its end; returns the exit code."""
    args = parsed(argv)
    try:
        if args.role in ABOUT:
            return importlib.import_module(args.module).run(partial(_load_config, args), args) or Exit.OK
        config = _load_config(args)
        _set_up_log(config.logging.level)
        _set_up_grpc(args, config)
        if getattr(args, "self_test", False):
            # Handed in, since the cluster is a role that listens and its test a role that calls.
            args.self_test = importlib.import_module("cloudgrpc.clients.self_test").run
        role = importlib.import_module(args.module)
        _collect_from_now()
        return role.run(config, args) or Exit.OK
    except CloudError as error:
        return _tell(error)
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    except BrokenPipeError:  # the reader of our output left, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.OK
    except Exception as error:
        # A fault of ours: the log has it whole, a person gets words.
        logging.getLogger(__name__).exception("%s failed unexpectedly", args.role)
        return _tell(Unexpected(fault=f"{type(error).__name__}: {error}"))


def _collect_from_now() -> None:
    """What is there when a role begins stays to the end: no later collection looks through it."""
    if not gc.isenabled():
        gc.freeze()
        gc.enable()


def parsed(argv: Sequence[str]) -> argparse.Namespace:
    """With `module`, which runs it. Ends the process for --help, and for words that make no sense."""
    parser = build_parser()
    args = parser.parse_args(argv)
    args.module = {**MODULES, **ABOUT}[args.role]
    if args.role in ABOUT:
        args.parser, args.further = parser, _further_parsers()  # what completion and the manual page are made of
    if args.role == "admin" and args.words[:1] and args.words[0] in ON_DATABASE:
        args.module = ON_DATABASE[args.words[0]]
        return on_database_parser(args.words[0], _common_flags()).parse_args(args.words[1:], args)
    if args.role == "pay" and args.words[:1] == ["sandbox"]:
        args.module = SANDBOX
        return _sandbox_parser().parse_args(args.words[1:], args)
    words = getattr(args, "words", [])
    flags, others = flags_among(words)
    if flags and "--" not in argv:
        return parsed([*argv[: -len(words)], *flags, *others])
    if args.role == "pay":
        # Without words it explains itself, as a person who tries `pay` wants.
        args.words = ["pay", *args.words] if args.words else _help(parser, "pay")
    return args


def _further_parsers() -> dict[tuple[str, str], argparse.ArgumentParser]:
    """Of acts that are roles of their own: by the role they stand behind, and their word."""
    acts = {("admin", act): on_database_parser(act, _common_flags()) for act in ON_DATABASE}
    return {("pay", "sandbox"): _sandbox_parser(), **acts}


def _help(parser: argparse.ArgumentParser, role: str) -> NoReturn:
    parser.parse_args([role, "--help"])
    raise AssertionError("--help ends the process")


def _tell(error: CloudError) -> int:
    print(f"{error}\n{error.advice}", file=sys.stderr)
    return error.exit_code


def build_parser() -> argparse.ArgumentParser:
    common = _common_flags()
    parser = argparse.ArgumentParser(
        prog="cloudgrpc",
        description=DESCRIPTION,
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"cloudgrpc {__version__}")
    roles = parser.add_subparsers(dest="role", metavar="ROLE", required=True)
    _add_gateway(roles, common)
    _add_node(roles, common)
    _add_shell(roles, common)
    _add_pay(roles, common)
    add_admin(roles, common)
    add_certs(roles, common)
    add_secrets(roles, common)
    _add_demo_cluster(roles, common)
    add_about(roles, common)
    return parser


def _common_flags() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--config", metavar="FILE", type=Path, help="settings (default: config.toml in this folder)")
    common.add_argument("--data-dir", metavar="DIR", help="where everything is kept (default: ./cloudgrpc-data)")
    common.add_argument("--log-level", choices=["debug", "info", "warning", "error"], help="what stderr tells")
    # A child of demo-cluster ends with it, however that one dies.
    common.add_argument("--exit-with-parent", action="store_true", help=argparse.SUPPRESS)
    return common


def _add_gateway(roles: argparse._SubParsersAction[argparse.ArgumentParser], common: argparse.ArgumentParser) -> None:
    gateway = roles.add_parser("gateway", parents=[common], help="the server that people and nodes talk to")
    gateway.add_argument("--host", help="where to listen (default: 127.0.0.1)")
    gateway.add_argument("--port", type=int, help="where to listen (default: 50051)")


def _add_node(roles: argparse._SubParsersAction[argparse.ArgumentParser], common: argparse.ArgumentParser) -> None:
    node = roles.add_parser(
        "node",
        parents=[common],
        help="a storage node",
        description="""A storage node: keeps chunks in DIR/node_storage_ID/ and joins the gateway, which
may come later.""",
        epilog="examples:\n  cloudgrpc node node1 9001 2\n  cloudgrpc node node4 9004 5 --host 192.0.2.14 --join -",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    node.add_argument("node_id", metavar="ID", help="its name in the cluster, such as node1")
    node.add_argument("port", metavar="PORT", type=int, help="where it listens, such as 9001")
    node.add_argument("capacity_gb", metavar="CAPACITY_GB", type=float, help="how much it keeps at most")
    node.add_argument("--host", default="127.0.0.1", help="its address, for the gateway and other nodes too")
    node.add_argument("--cpus", type=int, metavar="N", help="cores it tells the gateway (default: all)")
    node.add_argument("--zone", metavar="ZONE", help="what it may fail together with, such as room1")
    node.add_argument(
        "--http-port",
        metavar="P",
        type=int,
        help="where it answers HTTP: /metrics, /healthz and /readyz (default: it does not)",
    )
    node.add_argument("--gateway", metavar="HOST:PORT", help="the gateway to join (default: 127.0.0.1:50051)")
    node.add_argument(
        "--join",
        metavar="-|FILE",
        help="join a cluster that has certificates, once: -, asks for the code of cloudgrpc certs invite, or reads it"
        " from standard input; FILE holds it. Never the code itself: every process here could see it",
    )


def _add_shell(roles: argparse._SubParsersAction[argparse.ArgumentParser], common: argparse.ArgumentParser) -> None:
    shell = roles.add_parser(
        "shell",
        parents=[common],
        help="your files, at a prompt or one command at a time",
        description="Your files. Without COMMAND a prompt; with it, that one command and its exit code.",
        epilog="example: cloudgrpc shell upload holiday.jpg   all commands: cloudgrpc shell help",
    )
    shell.add_argument("--gateway", metavar="HOST:PORT", help="the gateway to talk to (default: 127.0.0.1:50051)")
    add_trust_flags(shell)
    shell.add_argument("words", metavar="COMMAND …", nargs=argparse.REMAINDER)


def _add_pay(roles: argparse._SubParsersAction[argparse.ArgumentParser], common: argparse.ArgumentParser) -> None:
    pay = roles.add_parser(
        "pay",
        parents=[common],
        help="buy room by mobile money",
        description="""Buy room by mobile money, as the person who is signed in at the shell.

  tiers     what can be bought, and what is yours
  buy       buy a tier: asks for what is missing, waits for your phone
  status    how a payment stands now
  history   your payments
  cancel    cancel a payment that is under way
  sandbox   a stand-in for Campay on this machine, to try all this without money
""",
        epilog="""examples:
  cloudgrpc pay tiers
  cloudgrpc pay buy --tier basic --phone 237670000001
  cloudgrpc pay --gateway drive.example.org:50051 history
  cloudgrpc pay buy --help
""",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    pay.add_argument("--gateway", metavar="HOST:PORT", help="the gateway to talk to (default: 127.0.0.1:50051)")
    add_trust_flags(pay)
    pay.add_argument("words", metavar="COMMAND …", nargs=argparse.REMAINDER)


def _sandbox_parser() -> argparse.ArgumentParser:
    sandbox = argparse.ArgumentParser(
        prog="cloudgrpc pay sandbox",
        parents=[_common_flags()],
        description="A stand-in for Campay on this machine: it speaks Campay's HTTP, and no money moves.",
        epilog="example: cloudgrpc pay sandbox --port 50053 --webhook http://127.0.0.1:50054/webhooks/campay",
    )
    sandbox.add_argument("--port", type=int, default=50053, metavar="P", help="where it listens (default: 50053)")
    sandbox.add_argument("--webhook", metavar="URL", help="what it calls when a payment ends (default: [http] port)")
    return sandbox


def _add_demo_cluster(
    roles: argparse._SubParsersAction[argparse.ArgumentParser], common: argparse.ArgumentParser
) -> None:
    demo = roles.add_parser(
        "demo-cluster",
        parents=[common],
        help="a gateway and nodes on this machine, to try everything",
        description="A gateway and storage nodes on this machine, as processes of their own. Ctrl-C stops all; what was"
        " stored is there again at the next start.",
    )
    demo.add_argument("--nodes", type=int, default=3, metavar="N", help="storage nodes (default: 3)")
    demo.add_argument("--gateway-port", type=int, metavar="P", help="the gateway's port (default: 50051)")
    demo.add_argument("--node-port", type=int, metavar="P", help="the first node's port, the others follow (9001)")
    demo.add_argument("--tls", action="store_true", help="with certificates, which are made; nodes join by themselves")
    demo.add_argument("--self-test", action="store_true", help="do the main job on real files, then stop: 0 or 1")


def _load_config(args: argparse.Namespace, tolerated: list[str] | None = None) -> Config:
    """`tolerated`: takes the faults, else they are raised."""
    from cloudgrpc import config

    flags: dict[Key, object] = {}
    told = vars(args)
    if args.data_dir:
        flags["data", "folder"] = args.data_dir
    if args.log_level:
        flags["logging", "level"] = args.log_level
    if told.get("ca"):
        flags["tls", "ca_file"] = args.ca
    if args.role == "gateway":
        flags |= {("gateway", key): told[key] for key in ("host", "port") if told[key] is not None}
    if args.role == "node" and args.gateway:
        host, _, port = args.gateway.rpartition(":")
        flags |= {("gateway", "host"): host or port, ("gateway", "port"): port}
    path = args.config or (Path(os.environ["CLOUDGRPC_CONFIG"]) if os.environ.get("CLOUDGRPC_CONFIG") else None)
    return config.load(path, flags=flags, tolerated=tolerated)


def _set_up_grpc(args: argparse.Namespace, config: Config) -> None:
    """What its C core writes on stderr; it looks once, when it is imported, which is when a role is."""
    if args.role not in {"gateway", "node", "demo-cluster"}:
        # A person is told in words why a connection fails.
        os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    elif args.role != "demo-cluster" and ((config.data_folder / "certs").is_dir() or getattr(args, "join", None)):
        # Of handshakes that fail nothing else tells: see servers/handshake_words.
        os.environ.setdefault("GRPC_TRACE", "handshaker")


def _set_up_log(level: str) -> None:
    logging.basicConfig(
        level=level.upper(),
        stream=sys.stderr,
        format="%(asctime)s %(levelname)-7s %(message)s",
        datefmt="%H:%M:%S",
    )
    # What asyncio and peewee say on debug may hold values of queries.
    for noisy in ("asyncio", "peewee", "peewee.pool", "grpc"):
        logging.getLogger(noisy).setLevel(max(logging.WARNING, logging.getLogger().level))
