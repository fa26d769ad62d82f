"""From argv to a role: the one place that prints a failure and picks the exit code. A role is imported when it runs."""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from cloudgrpc import __version__
from cloudgrpc.errors import CloudError, Exit, Unexpected

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cloudgrpc.config import Config, Key

MODULES = {
    "gateway": "cloudgrpc.servers.gateway",
    "node": "cloudgrpc.servers.node",
    "shell": "cloudgrpc.shell.shell",
    "demo-cluster": "cloudgrpc.servers.demo_cluster",
}
DESCRIPTION = """A self-hosted cloud drive on its own self-healing storage nodes.

Try it all on this machine:   cloudgrpc demo-cluster
then, in another terminal:    cloudgrpc shell
"""
EXIT_CODES = """exit codes:
  0 done   1 failed   2 wrong usage or settings   10 unavailable   11 not signed in   12 not found   13 exists already
  14 bad input   15 not possible now   16 conflict   17 too slow   18 data loss   19 not allowed   20 over a limit
  130 interrupted
"""


def main(argv: Sequence[str] | None = None) -> NoReturn:
    sys.exit(run(sys.argv[1:] if argv is None else argv))


def run(argv: Sequence[str]) -> int:
    """Run a role to its end; returns the exit code."""
    args = build_parser().parse_args(argv)
    try:
        config = _load_config(args)
        _set_up_log(config.logging.level)
        if getattr(args, "self_test", False):
            # Handed in, since the cluster is a role that listens and its test a role that calls.
            args.self_test = importlib.import_module("cloudgrpc.clients.self_test").run
        return importlib.import_module(MODULES[args.role]).run(config, args) or Exit.OK
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
    _add_demo_cluster(roles, common)
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
        description="A storage node: keeps chunks in DIR/node_storage_ID/ and joins the gateway, which may come later.",
        epilog="example: cloudgrpc node node1 9001 2",
    )
    node.add_argument("node_id", metavar="ID", help="its name in the cluster, such as node1")
    node.add_argument("port", metavar="PORT", type=int, help="where it listens, such as 9001")
    node.add_argument("capacity_gb", metavar="CAPACITY_GB", type=float, help="how much it keeps at most")
    node.add_argument("--host", default="127.0.0.1", help="its address, for the gateway and other nodes too")
    node.add_argument("--cpus", type=int, metavar="N", help="cores it tells the gateway (default: all)")
    node.add_argument("--gateway", metavar="HOST:PORT", help="the gateway to join (default: 127.0.0.1:50051)")


def _add_shell(roles: argparse._SubParsersAction[argparse.ArgumentParser], common: argparse.ArgumentParser) -> None:
    shell = roles.add_parser(
        "shell",
        parents=[common],
        help="your files, at a prompt or one command at a time",
        description="Your files. Without COMMAND a prompt; with it, that one command and its exit code.",
        epilog="example: cloudgrpc shell upload holiday.jpg   all commands: cloudgrpc shell help",
    )
    shell.add_argument("--gateway", metavar="HOST:PORT", help="the gateway to talk to (default: 127.0.0.1:50051)")
    shell.add_argument("words", metavar="COMMAND …", nargs=argparse.REMAINDER)


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
    demo.add_argument("--self-test", action="store_true", help="do the main job on real files, then stop: 0 or 1")


def _load_config(args: argparse.Namespace) -> Config:
    from cloudgrpc import config

    flags: dict[Key, object] = {}
    told = vars(args)
    if args.data_dir:
        flags["data", "folder"] = args.data_dir
    if args.log_level:
        flags["logging", "level"] = args.log_level
    if args.role == "gateway":
        flags |= {("gateway", key): told[key] for key in ("host", "port") if told[key] is not None}
    if args.role == "node" and args.gateway:
        host, _, port = args.gateway.rpartition(":")
        flags |= {("gateway", "host"): host or port, ("gateway", "port"): port}
    path = args.config or (Path(os.environ["CLOUDGRPC_CONFIG"]) if os.environ.get("CLOUDGRPC_CONFIG") else None)
    return config.load(path, flags=flags)


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
