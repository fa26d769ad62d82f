"""The role of the gateway: opens the metadata, listens, and leads the rounds of upkeep."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
from typing import TYPE_CHECKING

from cloudgrpc import __version__, rpc
from cloudgrpc.core.units import size_words
from cloudgrpc.errors import FolderInUse, LocalFile, SettingsWrong
from cloudgrpc.meta import db, nodes, schema
from cloudgrpc.outside.mail import Mailer
from cloudgrpc.servers.house import Outside, build, build_server
from cloudgrpc.servers.process import parent_gone, run_async, stop_event, until_stopped
from cloudgrpc.servers.secrets_store import secret_place, shared_secret

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from cloudgrpc.config import Config
    from cloudgrpc.outside.campay import Campay
    from cloudgrpc.servers.house import House
    from cloudgrpc.servers.http_listener import HttpListener

GRACE_S = 2.0
PAYMENTS = {
    "": "not configured: nothing can be bought",
    "sandbox": "sandbox: no money moves",
    "demo": "Campay's demo: at most {most} XAF are charged",
    "production": "Campay",
}


def run(config: Config, args: argparse.Namespace) -> None:
    rpc.tune_allocator()
    run_async(serve(config, exit_with_parent=args.exit_with_parent))


async def serve(config: Config, *, exit_with_parent: bool = False) -> None:
    """Run until told to stop.

    Raises: PlaintextRefused, PortInUse, FolderInUse, SchemaNewer, SettingsWrong, DatabaseUnavailable.
    """
    rpc.check_listen(config.gateway.host, config.cluster.allow_plaintext)
    _check_campay(config)
    stop = stop_event()
    with _data_folder(config), contextlib.closing(db.open_database(config.database, config.data_folder)) as database:
        await database.run(schema.migrate)
        secret = shared_secret(config, ("cluster", "secret"))
        mailer = Mailer(config.mail) if config.mail.user else None
        campay = _campay(config)
        outside = Outside(mailer.send_code if mailer else _print_code, campay)
        house = build(config, database, secret, await database.run(schema.cluster_id), outside)
        server = build_server(house, config, secret)
        port = rpc.listen(server, config.gateway.host, config.gateway.port, "--port")
        http = _http_listener(config, house)
        http_port = await http.start() if http else None
        await house.pulse.beat()
        await server.start()
        _announce(config, port, http_port, await database.read(nodes.pool_capacity))
        probing = house.nodes.keep_probing(config.upkeep.round_s)
        work = [
            house.upkeep.run(),
            probing,
            house.speeds.run(),
            house.pulse.run(),
            *([parent_gone(stop)] if exit_with_parent else []),
        ]
        try:
            await until_stopped(stop, *work)
        finally:
            if mailer is not None:
                mailer.close()  # first: nobody waits for a mail that hangs
            await house.pulse.stop()
            if http is not None:
                await http.stop()
            await house.feed.close()  # whoever follows would only be cut off
            await server.stop(GRACE_S)
            await house.close()
            if campay is not None:
                campay.close()


def _check_campay(config: Config) -> None:
    """Real customers must never pay at a pretended Campay. Raises: SettingsWrong."""
    is_production = bool(config.database.host) or not rpc.is_loopback(config.gateway.host)
    if config.campay.mode == "sandbox" and is_production:
        raise SettingsWrong(
            faults="[campay] base_url: is a sandbox on this machine, but a gateway on PostgreSQL, or one that listens"
            " beyond loopback, is for real customers; give Campay's own URL, or leave [campay] username empty"
        )


def _campay(config: Config) -> Campay | None:
    if not config.campay.mode:
        return None
    # Its HTTP client costs 0.1 s, which only those pay who sell.
    from cloudgrpc.outside.campay import Campay

    return Campay(config.campay)


def _http_listener(config: Config, house: House) -> HttpListener | None:
    """None when it is not configured. Raises: PlaintextRefused."""
    if not config.http.port:
        return None
    rpc.check_listen(config.http.host, config.cluster.allow_plaintext)
    from cloudgrpc.servers.http_listener import HttpListener
    from cloudgrpc.services.http import build_app
    from cloudgrpc.services.observing import routes

    app = build_app(
        house.settling,
        config.campay.webhook_key,
        config.limits.webhooks_per_minute,
        behind_proxy=config.gateway.behind_proxy,
        watched=routes(house.figures),
    )
    return HttpListener(app, config.http.host, config.http.port, "[http] port")


@contextlib.contextmanager
def _data_folder(config: Config) -> Iterator[None]:
    """The folder, held against a second gateway: two on one SQLite file would each lead its own upkeep."""
    folder = config.data_folder
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = (folder / "gateway.lock").open("w")
    except OSError as error:
        raise LocalFile(path=folder, reason=error.strerror or error) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise FolderInUse(folder=folder) from error
        yield


def _announce(config: Config, port: int, http_port: int | None, pool: int) -> None:
    more = "" if pool else ", grows as nodes join"
    lines = [
        f"CloudGrpc {__version__} gateway",
        f"  listens on  {rpc.address(config.gateway.host, port)}",
        *([f"  http        {rpc.address(config.http.host, http_port)}"] if http_port else []),
        f"  database    {db.describe(config.database, config.data_folder)}",
        f"  pool        {size_words(pool) if pool else '0 GB'}{more}",
        f"  mail        {_mail(config)}",
        f"  payments    {PAYMENTS[config.campay.mode].format(most=config.campay.demo_max_xaf)}",
        f"  admin key   {secret_place(config, ('admin', 'key'))}",
    ]
    print("\n".join(lines), flush=True)


def _mail(config: Config) -> str:
    mail = config.mail
    return f"{mail.host}:{mail.port} as {mail.user}" if mail.user else "not configured: sign-in codes are printed here"


async def _print_code(email: str, code: str) -> None:
    """Standard output only, never the log: a log is kept, and read by others."""
    await asyncio.to_thread(print, f"OTP code for {email}: {code} (valid 5 minutes)", flush=True)
