"""`secrets list`: which secrets there are, where they are kept, and their fingerprints; never a secret."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from cloudgrpc.admin import figures
from cloudgrpc.clients import render
from cloudgrpc.core.units import rfc3339
from cloudgrpc.trust.secret_files import kept
from cloudgrpc.trust.secrets_backup import last

if TYPE_CHECKING:
    import argparse

    from cloudgrpc.config import Config
    from cloudgrpc.trust.secret_files import Kept
    from cloudgrpc.trust.secrets_backup import Saved

TITLES = ["Name", "In use", "Accepted, too", "Changed", "Saved", "Where"]
MICROS = 1_000_000


def show(config: Config, args: argparse.Namespace, _outer: argparse.Namespace) -> None:
    found, saved = kept(config), last(config)
    if args.json:
        render.print_json([_facts(each, saved) for each in found])
        return
    now = datetime.now(UTC)
    render.print_table(TITLES, [_row(each, saved, now) for each in found])
    print()
    if saved.made_at:
        print(f"The last backup was made {figures.ago(_told(saved.made_at), now)}: {render.shown(saved.file)}")
    else:
        print("There is no backup of them. Make one, and keep it elsewhere: cloudgrpc secrets backup FILE")


def _row(each: Kept, saved: Saved, now: datetime) -> list[str]:
    first, others = each.fingerprints[:1], each.fingerprints[1:]
    return [
        each.name,
        *(first or ["not made yet"]),
        ", ".join(others),
        figures.ago(_told(each.changed_at), now) if each.changed_at else "",
        "" if not first else "yes" if _is_saved(each, saved) else "no",
        render.shown(each.place),
    ]


def _facts(each: Kept, saved: Saved) -> dict[str, object]:
    """Times in UTC; null for what is in no file."""
    return {
        "name": each.name,
        "place": each.place,
        "fingerprints": each.fingerprints,
        "changed_at": _told(each.changed_at) if each.changed_at else None,
        "is_saved": _is_saved(each, saved),
    }


def _is_saved(each: Kept, saved: Saved) -> bool:
    return set(each.fingerprints) <= set(saved.fingerprints)


def _told(seconds: float) -> str:
    return rfc3339(int(seconds * MICROS))
