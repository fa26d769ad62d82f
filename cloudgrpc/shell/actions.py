"""A command of the shell whose first word chooses what it does, such as `account close`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cloudgrpc.shell.parser import Parser

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    Run = Callable[[argparse.Namespace], None]


class ActionParser(Parser):
    """The parser of one action, as argparse makes it: by names."""

    def __init__(self, *, prog: str, description: str, examples: str, **_newer: object) -> None:
        """`_newer`: what later versions of argparse hand down."""
        super().__init__(prog, description, examples)


class Actions:
    """The actions of one command; without any of them it runs `otherwise`."""

    def __init__(self, parser: Parser, otherwise: Run) -> None:
        parser.set_defaults(action=otherwise)
        # Else argparse calls the actions by the parser's usage, which may have several lines.
        self.added = parser.add_subparsers(
            title="actions", metavar="ACTION", prog=parser.prog, parser_class=ActionParser
        )

    def add(self, name: str, run: Run, description: str, examples: str) -> Parser:
        parser = self.added.add_parser(name, help=description, description=description, examples=examples)
        parser.set_defaults(action=run)
        return parser


def run_action(args: argparse.Namespace) -> None:
    args.action(args)
