"""`cloudgrpc doctor`: looks for what is wrong on this machine, for whoever runs a gateway or nodes here.

Each check runs in a thread of its own and is given up after a while, so that one that hangs hides no other. Nothing is
made or changed, and a gateway that runs meanwhile notices nothing.
"""

from __future__ import annotations

import importlib
import os
import sys
import textwrap
import threading
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from cloudgrpc import __version__
from cloudgrpc.about.findings import Finding, Standing, note, ok, wrong
from cloudgrpc.clients import render
from cloudgrpc.errors import Exit
from cloudgrpc.shell.stream_table import terminal_width

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterable, Iterator

    from cloudgrpc.config import Config

PATIENCE_S = 12.0  # with all of them, for they run at once
# What is looked at, in the order it is told -> where. A module is loaded within its check: one that fails is told.
CHECKS: dict[str, tuple[str, str]] = {
    "machine": ("cloudgrpc.about.checks_machine", "look"),
    "data folder": ("cloudgrpc.about.checks_folder", "look"),
    "database": ("cloudgrpc.about.checks_database", "look"),
    "secrets": ("cloudgrpc.about.checks_trust", "look_at_secrets"),
    "certificates": ("cloudgrpc.about.checks_trust", "look_at_certificates"),
    "gateway": ("cloudgrpc.about.checks_ports", "look"),
    "mail": ("cloudgrpc.about.checks_outside", "look_at_mail"),
    "campay": ("cloudgrpc.about.checks_outside", "look_at_campay"),
}
MARGIN = 21  # where the words begin
SIGNS = {Standing.OK: "32", Standing.NOTE: "33", Standing.WRONG: "1;31"}  # ANSI styles


def run(load: Callable[[list[str]], Config], args: argparse.Namespace) -> int:
    """0: nothing is wrong; 1: something is."""
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # why a connection fails is told in words
    config, found = _settings(load, args)
    looks = [Look(name, module, function, config) for name, (module, function) in CHECKS.items()]
    until = time.monotonic() + PATIENCE_S
    if not args.json:
        _show(found)
    for look in looks:
        # What comes in the order of the table is told as soon as it is there.
        told = look.findings(until)
        found += told
        if not args.json:
            _show(told)
    if not any(each.check == "clock" for each in found):
        unknown = [note("clock", "nothing here to compare it with", "Look whether it is right: date -u")]
        found += unknown
        if not args.json:
            _show(unknown)
    _sum_up(found, is_json=args.json)
    sys.stdout.flush()
    code = Exit.FAILED if any(each.standing is Standing.WRONG for each in found) else Exit.OK
    if any(look.is_running for look in looks):
        os._exit(code)  # a thread that hangs in the name service would be waited for
    return code


class Look:
    """One check, under way from the beginning."""

    def __init__(self, name: str, module: str, function: str, config: Config) -> None:
        self._name = name
        self._findings: list[Finding] = []
        self._thread = threading.Thread(
            target=self._run, args=(module, function, config), name=f"doctor-{name}", daemon=True
        )
        self._thread.start()

    @property
    def is_running(self) -> bool:
        return self._thread.is_alive()

    def findings(self, until: float) -> list[Finding]:
        """`until`: on the monotonic clock; then it is told as it is."""
        self._thread.join(max(0.0, until - time.monotonic()))
        told = list(self._findings)
        if self._thread.is_alive():
            told.append(
                wrong(self._name, f"no answer within {PATIENCE_S:.0f} s", "Look at what it waits for, and try again.")
            )
        return told

    def _run(self, module: str, function: str, config: Config) -> None:
        try:
            for finding in getattr(importlib.import_module(module), function)(config):
                self._findings.append(finding)
        except OSError as error:
            words = f"could not be looked at: {error.filename or self._name}: {error.strerror or error}"
            self._findings.append(wrong(self._name, words, "Run doctor as the user of the gateway or the node."))
        except Exception as error:  # noqa: BLE001 - the other checks are told all the same
            words = f"could not be looked at: {type(error).__name__}: {error}"
            self._findings.append(wrong(self._name, words, "Please report this with what you see here."))


def _settings(load: Callable[[list[str]], Config], args: argparse.Namespace) -> tuple[Config, list[Finding]]:
    """What is wrong with them stops nothing: the rest is looked at with what can be read."""
    faults: list[str] = []
    try:
        config = load(faults)
    except Exception as error:  # noqa: BLE001 - as of a file that cannot even be read
        from cloudgrpc.config import Config

        config = Config()
        faults.append(f"{type(error).__name__}: {error}")
    way_out = "Correct it; nothing starts before. All settings are in config.toml of the source, and in the README."
    found = [wrong("settings", fault, way_out if fault == faults[-1] else "") for fault in faults]
    if not faults:
        path = args.config or Path(os.environ.get("CLOUDGRPC_CONFIG", "config.toml"))
        found.append(ok("settings", f"as in {path}" if path.exists() else f"no {path}: defaults, and the environment"))
    return config, found


def _show(findings: Iterable[Finding]) -> None:
    for each in findings:
        sign = render.styled(f"{each.standing:<5}", SIGNS[each.standing])
        print(f"{sign}  {each.check:<14}{_folded(each.words)}")
        if each.to_do:
            print(f"{'':{MARGIN}}{render.styled(f'> {_folded(each.to_do, 2)}', render.DIM)}")
    sys.stdout.flush()


def _folded(text: str, more: int = 0) -> str:
    """Where a person reads it. What is to be typed stays in one piece as far as it can."""
    words = render.shown(text)
    if not sys.stdout.isatty():
        return words
    columns = max(MARGIN + 20, terminal_width()) - MARGIN - more
    lines = textwrap.wrap(words, columns, break_long_words=False, break_on_hyphens=False)
    return f"\n{'':{MARGIN + more}}".join(lines)


def _sum_up(found: list[Finding], *, is_json: bool) -> None:
    wrongs = sum(each.standing is Standing.WRONG for each in found)
    notes = sum(each.standing is Standing.NOTE for each in found)
    if is_json:
        render.print_json({"version": __version__, "wrong": wrongs, "notes": notes, "checks": list(_facts(found))})
        return
    notes_words = f", {_count(notes, 'note')}" if notes else ""
    if wrongs:
        print(f"\n{_count(wrongs, 'thing')} wrong{notes_words}.")
    else:
        print(f"\nNothing is wrong{notes_words}.")


def _facts(found: list[Finding]) -> Iterator[dict[str, str]]:
    for each in found:
        yield asdict(each) | {"standing": str(each.standing)}


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
