"""The words behind a role: acts of admin, certs and secrets, commands of the shell and of pay. Loads them all."""

from __future__ import annotations

import argparse
import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cloudgrpc.admin import certs_role, secrets_role
from cloudgrpc.admin.role import ACTS
from cloudgrpc.clients.session import Gateway, SessionStore
from cloudgrpc.shell.shell import Shell

if TYPE_CHECKING:
    from collections.abc import Iterator

NOWHERE = "127.0.0.1:1"  # the shell's commands know a gateway; none of them calls it here


@dataclass(frozen=True)
class Named:
    """`meaning`: one line."""

    name: str
    meaning: str
    parser: argparse.ArgumentParser


def second_words(role: str) -> Iterator[Named]:
    """Of a role whose further words are read by parsers of their own."""
    if role == "admin":
        yield from _acts()
    elif role == "certs":
        yield from words_of(certs_role.build_parser())
    elif role == "secrets":
        yield from words_of(secrets_role.build_parser())
    else:
        with Gateway(NOWHERE) as gateway:
            commands = Shell(gateway, SessionStore(Path())).commands
            if role == "pay":
                yield from words_of(commands["pay"].parser)
            else:
                for name, command in commands.items():
                    yield Named(name, command.summary.rstrip("."), command.parser)


def words_of(parser: argparse.ArgumentParser) -> Iterator[Named]:
    """The parsers below one, by name."""
    for action in parser._actions:  # noqa: SLF001 - argparse tells its parsers in no other way
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001 - as above
            meanings = {each.dest: each.help or "" for each in action._choices_actions}  # noqa: SLF001 - as above
            for name, each in action.choices.items():
                yield Named(name, first_sentence(meanings.get(name)), each)


def _acts() -> Iterator[Named]:
    for act, module in ACTS.items():
        parser = importlib.import_module(module).parser_of(act)
        yield Named(act, first_sentence(parser.description), parser)


def first_sentence(text: str | None) -> str:
    return " ".join((text or "").split()).partition(". ")[0].rstrip(".")
