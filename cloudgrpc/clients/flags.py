"""Flags of every role that calls a gateway."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse


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
