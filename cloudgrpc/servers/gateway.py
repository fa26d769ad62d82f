"""The role of the gateway: opens the metadata, listens, and leads the rounds of upkeep."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
from typing import TYPE_CHECKING

from cloudgrpc import __version__, rpc
from cloudgrpc.core.concerns import SAVE_SECRETS
from cloudgrpc.core.units import size_words
from cloudgrpc.errors import FolderInUse, LocalFile, SettingsWrong
from cloudgrpc.meta import db, nodes, schema, sealing
from cloudgrpc.servers.gateway_trust import GatewayTrust
from cloudgrpc.servers.handshake_words import METHOD, heard
from cloudgrpc.servers.house import Outside, build, build_cluster_server, build_server
from cloudgrpc.servers.process import parent_gone, run_async, stop_event, until_stopped
from cloudgrpc.servers.renewal import by_authority, keep_renewed
from cloudgrpc.trust.gateway_papers import authority_of
from cloudgrpc.trust.secrets import ADMIN, MASTER, cluster_secret, file_of, secret_place, watched_master_keys

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from cloudgrpc.config import Config
    from cloudgrpc.outside.campay import Campay
    from cloudgrpc.outside.mail import Mailer
    from cloudgrpc.servers.handshake_words import FailedHandshake
    from cloudgrpc.servers.house import House
    from cloudgrpc.servers.http_listener import HttpListener
    from cloudgrpc.services.metrics import GatewayFigures

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

    Raises: PlaintextRefused, PortInUse, FolderInUse, SchemaNewer, SettingsWrong, DatabaseUnavailable, MasterKeyMissing.
    """
    trust = GatewayTrust.open(config)
    if trust is None:
        rpc.check_listen(config.gateway.host, config.cluster.allow_plaintext)
    _check_campay(config)
    stop = stop_event()
    with (
        _data_folder(config),
        contextlib.closing(db.open_database(config.database, config.data_folder)) as database,
        contextlib.ExitStack() as ending,
    ):
        await database.run(schema.migrate)
        await _bind_keys(config, database)
        secret = cluster_secret(config)
        mailer = _mailer(config)
        campay = _campay(config)
        outside = Outside(mailer.send_code if mailer else _print_code, campay)
        house = build(config, database, secret, await database.run(schema.cluster_id), outside, trust=trust)
        ending.enter_context(heard(lambda failed: _note_handshake(house, config, failed)))
        server = build_server(house, config, secret, hears_nodes=trust is None)
        people = rpc.server_credentials(trust.people, demand=False) if trust else None
        port = rpc.listen(server, config.gateway.host, config.gateway.port, "--port", people)
        cluster_server = build_cluster_server(house, secret) if trust else None
        if trust and cluster_server:
            demanding = rpc.server_credentials(trust.tls, demand=True)
            rpc.listen(cluster_server, *config.cluster_place, "[cluster] listen", demanding)
        figures = _figures(config, house, database)
        http = _http_listener(config, house, figures) if figures else None
        http_port = await http.start() if http else None
        await house.pulse.beat()
        await server.start()
        if cluster_server:
            await cluster_server.start()
        pool = await database.read(nodes.pool_capacity)
        _announce(config, port, http_port, pool, trust=trust, is_key_unsaved=house.overviews.is_key_unsaved())
        probing = house.nodes.keep_probing(config.upkeep.round_s)
        work = [
            house.upkeep.run(),
            probing,
            house.speeds.run(),
            house.pulse.run(),
            *([keep_renewed(trust.papers, by_authority(authority_of(config), trust.papers))] if trust else []),
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
            if figures is not None:
                await figures.close()
            await house.feed.close()  # whoever follows would only be cut off
            await asyncio.gather(*(one.stop(GRACE_S) for one in (server, cluster_server) if one))
            await house.close()
            if campay is not None:
                campay.close()


def _note_handshake(house: House, config: Config, failed: FailedHandshake) -> None:
    place = "the place for nodes" if failed.port == config.cluster_place[1] else "the gateway"
    house.audit.refused(METHOD, failed.error(place), failed.visitor)


async def _bind_keys(config: Config, database: db.Database) -> None:
    """What stored files are sealed with. Raises: MasterKeyMissing when what is stored needs another; SettingsWrong."""
    path = file_of(config, MASTER)
    if path is not None and not path.exists():
        # A new key would be made in its place, and be in the way when the old one is brought back.
        await database.read(sealing.check_master_keys)
    keys = watched_master_keys(config)
    sealing.bind(lambda: keys.value, seals_new=config.encryption.at_rest)
    await database.read(sealing.check_master_keys)


def _check_campay(config: Config) -> None:
    """Real customers must never pay at a pretended Campay. Raises: SettingsWrong."""
    is_production = bool(config.database.host) or not rpc.is_loopback(config.gateway.host)
    if config.campay.mode == "sandbox" and is_production:
        raise SettingsWrong(
            faults="[campay] base_url: is a sandbox on this machine, but a gateway on PostgreSQL, or one that listens"
            " beyond loopback, is for real customers; give Campay's own URL, or leave [campay] username empty"
        )


def _mailer(config: Config) -> Mailer | None:
    """None when it is not configured. Raises: SettingsWrong."""
    if not config.mail.user:
        return None
    from cloudgrpc.outside.mail import Mailer

    return Mailer(config.mail)


def _campay(config: Config) -> Campay | None:
    if not config.campay.mode:
        return None
    # Its HTTP client costs 0.1 s, which only those pay who sell.
    from cloudgrpc.outside.campay import Campay

    return Campay(config.campay)


def _figures(config: Config, house: House, database: db.Database) -> GatewayFigures | None:
    """None when nobody can ask for them."""
    if not config.http.port:
        return None
    # Prometheus' client costs 0.04 s, which only those pay who are scraped.
    from cloudgrpc.services.metrics import GatewayFigures

    return GatewayFigures(house.meters, database, house.overviews, house.readiness)


def _http_listener(config: Config, house: House, figures: GatewayFigures) -> HttpListener:
    """Raises: HttpInPlaintext."""
    rpc.check_http(config.http.host, config.cluster.allow_plaintext)
    from cloudgrpc.servers.http_listener import HttpListener
    from cloudgrpc.services.http import build_app
    from cloudgrpc.services.observing import routes

    app = build_app(
        house.settling,
        config.campay.webhook_key,
        config.limits.webhooks_per_minute,
        behind_proxy=config.gateway.behind_proxy,
        watched=routes(figures),
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


def _announce(
    config: Config, port: int, http_port: int | None, pool: int, *, trust: GatewayTrust | None, is_key_unsaved: bool
) -> None:
    more = "" if pool else ", grows as nodes join"
    lines = [
        f"CloudGrpc {__version__} gateway",
        f"  listens on  {rpc.address(config.gateway.host, port)}{', with TLS' if trust else ''}",
        *([f"  nodes       {rpc.address(*config.cluster_place)}, with certificates of this cluster"] if trust else []),
        *([f"  http        {rpc.address(config.http.host, http_port)}"] if http_port else []),
        f"  database    {db.describe(config.database, config.data_folder)}",
        f"  pool        {size_words(pool) if pool else '0 GB'}{more}",
        f"  mail        {_mail(config)}",
        f"  payments    {PAYMENTS[config.campay.mode].format(most=config.campay.demo_max_xaf)}",
        f"  admin key   {secret_place(config, ADMIN)}",
        *_master_key(config, is_unsaved=is_key_unsaved),
    ]
    print("\n".join(lines), flush=True)


def _master_key(config: Config, *, is_unsaved: bool) -> list[str]:
    at_rest = config.encryption.at_rest
    words = [] if at_rest else ["  at rest     what is stored from now on is not encrypted"]
    if at_rest or is_unsaved:
        words.append(f"  master key  {secret_place(config, MASTER)}")
    if is_unsaved:
        told = [
            "without it no file can ever be read, and it is on this machine alone.",
            f"Save it elsewhere: {SAVE_SECRETS}",
        ]
        words += [f"{'':14}{line}" for line in told]
    return words


def _mail(config: Config) -> str:
    mail = config.mail
    return f"{mail.host}:{mail.port} as {mail.user}" if mail.user else "not configured: sign-in codes are printed here"


async def _print_code(email: str, code: str) -> None:
    """Standard output only, never the log: a log is kept, and read by others."""
    await asyncio.to_thread(print, f"OTP code for {email}: {code} (valid 5 minutes)", flush=True)
