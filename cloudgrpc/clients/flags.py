"""Flags of every role that calls a gateway."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

# Of the roles whose further words are read by parsers of their own; none of these has an option of such a name.
VALUED = {"--config", "--data-dir", "--log-level", "--gateway", "--ca"}
ALONE = {"--tls"}


def add_trust_flags(role: argparse.ArgumentParser) -> None:
    """Of those that call a gateway."""
    choice = role.add_mutually_exclusive_group()
    choice.add_argument(
        "--ca",
        metavar="FILE",
        help="speak TLS, and believe a gateway by the certificates in FILE (the operator has it); remembered",
    )
    choice.add_argument(
        "--tls", action="store_true", help="speak TLS, and believe a gateway as this system does others; remembered"
    )


def flags_among(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """The flags of a role that somebody wrote behind its words, and the other words."""
    flags: list[str] = []
    others: list[str] = []
    left = list(words)
    while left:
        word = left.pop(0)
        name, is_joined, _ = word.partition("=")
        if word in ALONE or (name in VALUED and is_joined):
            flags.append(word)
        elif word in VALUED and left and not left[0].startswith("-"):
            flags += [word, left.pop(0)]
        else:
            others.append(word)
    return flags, others
