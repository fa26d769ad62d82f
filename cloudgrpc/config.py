"""Settings: config.toml, over it the environment (and .env), over it flags -> frozen structs.

Every key has its default and meaning here; config.toml repeats them for people, and a test holds the two together.
All faults are told at once, each by the place it came from.
"""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import msgspec
from msgspec import Meta, Struct

from cloudgrpc.errors import SettingsWrong
from cloudgrpc.sales import Campay, Payments, Prefixes, Tier
from cloudgrpc.setting_names import FAMILIAR, OUTSIDE_SECTIONS, PREFIX, ROTATED, SECRET_KEYS

if TYPE_CHECKING:
    from collections.abc import Mapping

Port = Annotated[int, Meta(ge=1, le=65535)]
Seconds = Annotated[float, Meta(gt=0, le=100 * 365 * 86400)]
Rate = Annotated[int, Meta(ge=1, le=1_000_000_000)]
MibPerSecond = Annotated[float, Meta(gt=0, le=100_000)]
Days = Annotated[float, Meta(gt=0, le=100 * 365)]
Text = Annotated[str, Meta(min_length=1, max_length=4096)]
Texts = tuple[str, ...]

MIB, GIB = 1 << 20, 1 << 30


class Data(Struct, frozen=True, forbid_unknown_fields=True):
    """Where this machine keeps everything."""

    folder: Text = "cloudgrpc-data"


class Gateway(Struct, frozen=True, forbid_unknown_fields=True):
    """Where the gateway listens, and where nodes and clients find it."""

    host: Text = "127.0.0.1"
    port: Port = 50051
    behind_proxy: bool = False
    digest_key: str = ""


class Database(Struct, frozen=True, forbid_unknown_fields=True):
    """PostgreSQL when a host is given, else SQLite in the data folder."""

    host: str = ""
    port: Port = 5432
    name: Text = "cloudgrpc"
    user: Text = "cloudgrpc"
    password: str = ""


class Cluster(Struct, frozen=True, forbid_unknown_fields=True):
    """How gateway and nodes work together."""

    secret: str = ""
    secret_file: str = ""
    old_secrets: Texts = ()
    allow_plaintext: bool = False
    listen: str = ""
    replication_factor: Annotated[int, Meta(ge=1, le=16)] = 2
    write_quorum: Annotated[int, Meta(ge=1, le=16)] = 2
    heartbeat_s: Seconds = 5
    offline_after_s: Seconds = 15
    node_timeout_s: Seconds = 10
    least_health: Annotated[float, Meta(ge=0, le=1)] = 0.3


class Encryption(Struct, frozen=True, forbid_unknown_fields=True):
    """Whether and with what stored files are sealed."""

    at_rest: bool = True
    master_key: str = ""
    master_key_file: str = ""
    old_master_keys: Texts = ()
    background_mib_s: MibPerSecond = 32


class Tls(Struct, frozen=True, forbid_unknown_fields=True):
    """Certificates: of the gateway for people, and how long those live that the cluster makes itself."""

    certificate_file: str = ""
    key_file: str = ""
    ca_file: str = ""
    certificate_days: Days = 90


class Node(Struct, frozen=True, forbid_unknown_fields=True):
    """A storage node's disk."""

    disk_reserve_mb: Annotated[int, Meta(ge=0, le=1_000_000_000)] = 256
    zone: Annotated[str, Meta(pattern=r"^([A-Za-z0-9][A-Za-z0-9._-]{0,62})?$")] = ""
    http_port: Annotated[int, Meta(ge=0, le=65535)] = 0


class Drive(Struct, frozen=True, forbid_unknown_fields=True):
    """What accounts get, how long a transfer may rest, and what is kept of what was."""

    new_account_mb: Annotated[int, Meta(ge=1, le=1_000_000_000)] = 1024
    overcommit: Annotated[float, Meta(gt=0, le=1000)] = 4
    upload_lease_s: Seconds = 600
    upload_days: Days = 2
    silence_s: Seconds = 30
    keep_versions: Annotated[int, Meta(ge=1, le=1_000_000)] = 10
    trash_days: Days = 30
    max_depth: Annotated[int, Meta(ge=1, le=500)] = 100
    max_path_bytes: Annotated[int, Meta(ge=255, le=65536)] = 4096


class Mail(Struct, frozen=True, forbid_unknown_fields=True):
    """How sign-in codes travel; without a user they are printed on the gateway's console."""

    host: Text = "smtp.gmail.com"
    port: Port = 465
    security: Annotated[str, Meta(pattern="^(ssl|starttls)$")] = "ssl"
    user: str = ""
    password: str = ""
    sender: str = ""
    sender_name: Text = "CloudGrpc"
    ca_file: str = ""
    timeout_s: Seconds = 20


class Http(Struct, frozen=True, forbid_unknown_fields=True):
    """Where the gateway listens for HTTP, of Campay and of what watches it; port 0: it does not."""

    host: Text = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535)] = 0


class Admin(Struct, frozen=True, forbid_unknown_fields=True):
    """What operators show."""

    key: str = ""


class Limits(Struct, frozen=True, forbid_unknown_fields=True):
    """How often things may be done: codes and tries by address and peer, calls by session and peer."""

    resend_s: Seconds = 30
    codes_per_hour: Rate = 10
    peer_codes_per_hour: Rate = 60
    tries_per_hour: Rate = 30
    peer_tries_per_hour: Rate = 300
    calls_per_second: Rate = 500
    peer_calls_per_second: Rate = 2000
    admin_tries_per_hour: Rate = 20
    join_tries_per_hour: Rate = 20
    webhooks_per_minute: Rate = 600
    payments_per_hour: Rate = 20


class Upkeep(Struct, frozen=True, forbid_unknown_fields=True):
    """The rounds that keep the cluster whole."""

    round_s: Seconds = 5
    repair_delay_s: Seconds = 300
    repair_mib_s: MibPerSecond = 64
    inventory_s: Seconds = 3600
    grace_s: Seconds = 3 * 86400
    closed_account_s: Seconds = 30 * 86400
    upload_record_s: Seconds = 2 * 86400
    event_days: Days = 365
    scrub_days: Days = 30
    scrub_mib_s: MibPerSecond = 32
    rebalance_mib_s: MibPerSecond = 32
    rebalance_percent: Annotated[float, Meta(gt=0, le=100)] = 10


class Logging(Struct, frozen=True, forbid_unknown_fields=True):
    """What is told on stderr."""

    level: Annotated[str, Meta(pattern="^(debug|info|warning|error)$")] = "info"


class Config(Struct, frozen=True, forbid_unknown_fields=True):
    data: Data = Data()
    gateway: Gateway = Gateway()
    database: Database = Database()
    cluster: Cluster = Cluster()
    encryption: Encryption = Encryption()
    tls: Tls = Tls()
    node: Node = Node()
    drive: Drive = Drive()
    mail: Mail = Mail()
    payments: Payments = Payments()
    campay: Campay = Campay()
    http: Http = Http()
    admin: Admin = Admin()
    limits: Limits = Limits()
    upkeep: Upkeep = Upkeep()
    logging: Logging = Logging()

    @property
    def data_folder(self) -> Path:
        return Path(self.data.folder).expanduser().absolute()

    @property
    def gateway_address(self) -> str:
        return f"{self.gateway.host}:{self.gateway.port}"

    @property
    def cluster_place(self) -> tuple[str, int]:
        """Host and port where the gateway hears nodes once there are certificates."""
        if not self.cluster.listen:
            return self.gateway.host, self.gateway.port + 1
        host, _, port = self.cluster.listen.rpartition(":")
        return host, int(port)


Key = tuple[str, str]
Raw = dict[Key, tuple[str, object]]  # (section, key) -> (where it was said, value)


def load(
    path: Path | None = None,
    environment: Mapping[str, str] | None = None,
    flags: Mapping[Key, object] | None = None,
    folder: Path | None = None,
    tolerated: list[str] | None = None,
) -> Config:
    """Read every source and return the settings in force.

    `path`: the TOML file, which must then exist; None: `config.toml` in `folder` if there is one. `environment`: the
    process's own when None. `flags`: what the command line said. `folder`: where `config.toml` and `.env` are looked
    for, the working folder when None. `tolerated`: takes the faults; what is wrong then has its default.

    Raises: SettingsWrong with every fault, one a line.
    """
    folder = folder or Path.cwd()
    spoken = os.environ if environment is None else environment
    dotenv: dict[str, str | None] = {}
    if (folder / ".env").exists():
        from dotenv import dotenv_values

        dotenv = dotenv_values(folder / ".env")
    faults: list[str] = [] if tolerated is None else tolerated
    raw: Raw = {}
    raw |= _from_file(path or folder / "config.toml", path is not None, faults)
    raw |= _from_environment(dotenv, ".env", faults)
    raw |= _from_environment(spoken, "environment", faults)
    raw |= {key: (f"command line: [{key[0]}] {key[1]}", value) for key, value in (flags or {}).items()}
    config = _build(_resolve_files(raw, faults), faults)
    faults += _disagreements(config)
    if faults and tolerated is None:
        raise SettingsWrong(faults="\n".join(faults))
    return config


@functools.cache
def sections() -> dict[str, type[Struct]]:
    return dict(get_type_hints(Config))


@functools.cache
def _keys(section: str) -> dict[str, Any]:
    return get_type_hints(sections()[section], include_extras=True)


def _known(section: str, key: str) -> bool:
    return section in sections() and (
        key in _keys(section) or (key.endswith("_file") and (section, key.removesuffix("_file")) in SECRET_KEYS)
    )


def _from_file(path: Path, required: bool, faults: list[str]) -> Raw:
    try:
        text = path.read_text(encoding="utf-8")
        import tomllib

        tables = tomllib.loads(text)
    except FileNotFoundError:
        if required:
            faults.append(f"{path}: no such file")
        return {}
    except (OSError, ValueError) as error:
        faults.append(f"{path}: {error}")
        return {}
    raw: Raw = {}
    for section, table in tables.items():
        if not isinstance(table, dict) or section not in sections():
            faults.append(f"{path}: [{section}]: unknown section; there are {', '.join(sections())}")
            continue
        for key, value in table.items():
            if _known(section, key):
                raw[section, key] = (f"{path}: [{section}] {key}", value)
            else:
                faults.append(f"{path}: [{section}] {key}: unknown key; there are {', '.join(_keys(section))}")
    return raw


def _from_environment(variables: Mapping[str, str | None], place: str, faults: list[str]) -> Raw:
    raw: Raw = {}
    for name, value in variables.items():
        if value is None:  # a name alone, in .env
            continue
        if name in FAMILIAR:
            raw[FAMILIAR[name]] = (f"{place}: {name}", value)
        elif name.startswith(PREFIX) and name not in OUTSIDE_SECTIONS:
            section, _, key = name.removeprefix(PREFIX).lower().partition("_")
            if _known(section, key):
                raw[section, key] = (f"{place}: {name}", value)
            else:
                faults.append(f"{place}: {name}: no such setting")
    return raw


def _resolve_files(raw: Raw, faults: list[str]) -> Raw:
    """Put the content of a `*_file` in the place of its key."""
    resolved: Raw = {}
    for (section, key), (place, value) in raw.items():
        plain = key.removesuffix("_file")
        if plain == key or (section, plain) not in SECRET_KEYS:
            resolved[section, key] = (place, value)
        elif (section, plain) in ROTATED and value == "":
            continue
        elif (section, plain) in raw:
            faults.append(f"{place}: {plain} is given too; give one of them")
        else:
            try:
                content = Path(str(value)).expanduser().read_text(encoding="utf-8").strip()
            except (OSError, ValueError) as error:
                faults.append(f"{place}: {error}")
                continue
            if content:
                resolved[section, plain] = (place, content)
                if (section, plain) in ROTATED:
                    resolved[section, key] = (place, value)
            else:
                faults.append(f"{place}: {value} is empty")
    return resolved


def _build(raw: Raw, faults: list[str]) -> Config:
    """Convert key by key, since a struct converted whole would tell only its first fault."""
    built: dict[str, Any] = {}
    for section, kind in sections().items():
        values = {}
        for key, hint in _keys(section).items():
            if (section, key) in raw:
                place, value = raw[section, key]
                try:
                    values[key] = _convert(value, hint)
                except msgspec.DecodeError as error:  # its kind ValidationError, or a list that is no JSON
                    faults.append(f"{place}: {error}")
        built[section] = kind(**values)
    return Config(**built)


def _convert(value: object, hint: Any) -> Any:
    """Only the environment's strings may stand for numbers and booleans, and, as JSON, for lists."""
    if not isinstance(value, str):
        return msgspec.convert(value, hint)
    if hint in (Prefixes, Texts, tuple[Tier, ...]):
        return msgspec.json.decode(value, type=hint)
    return msgspec.convert(value, hint, strict=False)


def _disagreements(config: Config) -> list[str]:
    cluster, upkeep, drive, mail, campay = config.cluster, config.upkeep, config.drive, config.mail, config.campay
    tiers = config.payments.tiers
    tier_words = [words for tier in tiers for words in (tier.name, tier.description)]
    rules = [
        (cluster.write_quorum <= cluster.replication_factor, "[cluster] write_quorum: more than replication_factor"),
        (cluster.offline_after_s > cluster.heartbeat_s, "[cluster] offline_after_s: must be more than heartbeat_s"),
        (upkeep.grace_s > drive.upload_lease_s, "[upkeep] grace_s: must be more than [drive] upload_lease_s"),
        ("@" in (mail.sender or mail.user or "@"), "[mail] sender: missing, as [mail] user is no address"),
        (mail.sender_name.isprintable(), "[mail] sender_name: must be printable"),
        (bool(mail.password) or not mail.user, "[mail] password: missing, as [mail] user is given"),
        (bool(campay.password) or not campay.username, "[campay] password: missing, as username is given"),
        (campay.is_here or not campay.base_url.startswith("http://"), "[campay] base_url: needs https"),
        (bool(campay.host), "[campay] base_url: is no URL"),
        (_is_place(cluster.listen), "[cluster] listen: is not HOST:PORT"),
        (bool(config.tls.certificate_file) == bool(config.tls.key_file), "[tls] certificate_file, key_file: need both"),
        (len({tier.tier_id for tier in tiers}) == len(tiers), "[payments] tiers: two have one tier_id"),
        (all(map(str.isprintable, tier_words)), "[payments] tiers: name and description must be printable"),
        (_strong(config.admin.key), "[admin] key: needs at least 16 characters"),
        (_strong(config.cluster.secret), "[cluster] secret: needs at least 16 characters"),
        (all(map(_strong, cluster.old_secrets)), "[cluster] old_secrets: each needs at least 16 characters"),
        (_strong(config.gateway.digest_key), "[gateway] digest_key: needs at least 16 characters"),
    ]
    return [fault for holds, fault in rules if not holds]


def _is_place(told: str) -> bool:
    """Empty means: as is usual."""
    host, _, port = told.rpartition(":")
    return not told or (bool(host) and port.isascii() and port.isdigit() and 1 <= int(port) <= 65535)


def _strong(secret: str) -> bool:
    """Empty means: generate one."""
    return not secret or len(secret) >= 16
