"""`cloudgrpc version`: which version this is, of what it is made, and with --licences on which terms."""

from __future__ import annotations

import platform
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from cloudgrpc import __version__
from cloudgrpc.about.bundle import Bundle, bundle
from cloudgrpc.clients.render import print_json
from cloudgrpc.errors import CloudError
from cloudgrpc.meta import db, looking, schema

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from cloudgrpc.about.licences import Licence
    from cloudgrpc.config import Config

# The packages whose version matters when something behaves oddly.
PARTS = ("grpcio", "protobuf", "cryptography", "peewee", "psycopg2-binary", "msgspec", "uvloop", "cmd2", "textual")
CONNECT_S = 2
RULE = "=" * 79


def run(load: Callable[[], Config], args: argparse.Namespace) -> None:
    made = bundle()
    if args.licences:
        _show_licences(made.licences, is_json=args.json)
        return
    facts = _facts(made) | {"schema": _schema(load)}
    if args.json:
        print_json(facts)
    else:
        _show(facts)


def _facts(made: Bundle) -> dict[str, object]:
    """Whatever there is none of is null in JSON, and goes unsaid to people."""
    import ssl

    from cryptography.hazmat.backends.openssl import backend

    versions = {each.name.lower(): each.version for each in made.licences}
    is_frozen = bool(getattr(sys, "frozen", False))
    return {
        "version": __version__,
        "commit": made.commit or None,
        "form": "executable" if is_frozen else "source",
        "place": sys.executable if is_frozen else str(Path(__file__).parents[1]),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "engines": looking.engine_versions()
        | {
            "OpenSSL": backend.openssl_version_text().removeprefix("OpenSSL "),
            "Python's OpenSSL": ssl.OPENSSL_VERSION.removeprefix("OpenSSL "),
        },
        "packages": {name: versions[name] for name in PARTS if name in versions},
    }


def _schema(load: Callable[[], Config]) -> dict[str, object]:
    """`known`: the newest step of this version; `here`: of the database that is configured."""
    told: dict[str, object] = {"known": schema.known_steps()[-1], "database": None, "here": None, "server": None}
    try:
        config = load()
        told["database"] = db.describe(config.database, config.data_folder)
        path = config.data_folder / db.SQLITE_FILE
        if config.database.host:
            told["server"], steps = looking.postgres_steps(config.database, CONNECT_S)
        else:
            steps = looking.sqlite_steps(path) if path.exists() else []
    except CloudError as error:
        return told | {"fault": str(error)}
    return told | {"here": steps[-1] if steps else None}


def _show(facts: dict[str, object]) -> None:
    commit = f", commit {facts['commit']}" if facts["commit"] else ""
    rows = [("", f"cloudgrpc {facts['version']}{commit}"), ("runs as", f"{facts['form']}, {facts['place']}")]
    rows += [("Python", f"{facts['python']} on {facts['platform']}")]
    for group in ("engines", "packages"):
        named = facts[group]
        assert isinstance(named, dict)  # noqa: S101 - as _facts makes it
        rows += list(named.items())
    told = facts["schema"]
    assert isinstance(told, dict)  # noqa: S101 - as _schema makes it
    rows += [("schema", f"{told['known']} is the newest step that this version knows")]
    rows += [("database", _database_words(told))]
    width = max(len(name) for name, _ in rows) + 2
    for name, words in rows:
        print(f"  {name:<{width}}{words}" if name else words)


def _database_words(told: dict[str, object]) -> str:
    if "fault" in told:
        return str(told["fault"])
    server = f", server {told['server']}" if told["server"] else ""
    step = f"at step {told['here']}" if told["here"] else "not made yet"
    return f"{told['database']}{server}: {step}"


def _show_licences(licences: list[Licence], *, is_json: bool) -> None:
    if is_json:
        print_json([{name: getattr(each, name) for name in each.__struct_fields__} for each in licences])
        return
    width = max((len(_titled(each)) for each in licences), default=0) + 2
    print("What this program is made of, and on which terms; the whole texts follow.\n")
    for each in licences:
        print(f"  {_titled(each):<{width}}{each.licence}")
    for each in licences:
        print(f"\n{RULE}\n{_titled(each)}: {each.licence}\n{RULE}\n\n{each.text}")


def _titled(licence: Licence) -> str:
    return f"{licence.name} {licence.version}".strip()
