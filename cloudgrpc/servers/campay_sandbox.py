"""The role `cloudgrpc pay sandbox`: a Campay that takes no money, on this machine only."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cloudgrpc import rpc
from cloudgrpc.outside.campay_plays import table
from cloudgrpc.outside.campay_sandbox import Sandbox
from cloudgrpc.servers.http_listener import HttpListener
from cloudgrpc.servers.process import parent_gone, run_async, stop_event, until_stopped

if TYPE_CHECKING:
    import argparse

    from cloudgrpc.config import Config
    from cloudgrpc.sales import Campay

HOST = "127.0.0.1"  # whoever reaches it can pay with nothing
WEBHOOK_PATH = "/webhooks/campay"
JOURNAL = "campay_sandbox.jsonl"


@dataclass(frozen=True)
class Keys:
    """What gateway and sandbox know each other by. `are_new`: nobody configured them all."""

    username: str
    password: str
    webhook_key: str
    are_new: bool


def run(config: Config, args: argparse.Namespace) -> None:
    """`args`: port, webhook (a URL or None), exit_with_parent."""
    run_async(serve(config, args.port, args.webhook, exit_with_parent=args.exit_with_parent))


async def serve(config: Config, port: int, webhook: str | None = None, *, exit_with_parent: bool = False) -> None:
    """Run until told to stop. `port` 0: any that is free. Raises: PortInUse, LocalFile."""
    stop = stop_event()
    keys = keys_of(config.campay)
    webhook_url = webhook or _gateway_webhook(config)
    sandbox = Sandbox(
        keys.username,
        keys.password,
        keys.webhook_key,
        webhook_url,
        journal=config.data_folder / JOURNAL,
        tell=_tell,
    )
    listener = HttpListener(sandbox.app, HOST, port, "--port")
    port = await listener.start()
    try:
        print("\n".join(_screen(port, keys, webhook_url, len(sandbox.transactions))), flush=True)
        sandbox.resume()
        await until_stopped(stop, *([parent_gone(stop)] if exit_with_parent else []))
    finally:
        await sandbox.close()
        await listener.stop()


def keys_of(campay: Campay) -> Keys:
    """The configured ones; what is missing is made up."""
    return Keys(
        campay.username or f"sandbox-{secrets.token_hex(4)}",
        campay.password or secrets.token_urlsafe(18),
        campay.webhook_key or secrets.token_urlsafe(32),
        are_new=not (campay.username and campay.password and campay.webhook_key),
    )


def _gateway_webhook(config: Config) -> str:
    return f"http://{HOST}:{config.http.port}{WEBHOOK_PATH}" if config.http.port else ""


def _screen(port: int, keys: Keys, webhook_url: str, kept: int) -> list[str]:
    url = f"http://{rpc.address(HOST, port)}/api"
    lines = [
        f"Campay sandbox listens on {url}; it takes no money",
        f"  webhook       {webhook_url or 'nobody is called: give --webhook URL, or [http] port'}",
        f"  transactions  {kept} from before" if kept else "  transactions  none yet",
        "",
        *table(),
        "",
    ]
    if keys.are_new:
        lines += [
            "Give the gateway this environment:",
            "",
            f"  CAMPAY_BASE_URL={url}",
            f"  CAMPAY_APP_USERNAME={keys.username}",
            f"  CAMPAY_APP_PASSWORD={keys.password}",
            f"  CLOUDGRPC_CAMPAY_WEBHOOK_KEY={keys.webhook_key}",
            "",
        ]
    return lines


def _tell(line: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {line}", flush=True)
