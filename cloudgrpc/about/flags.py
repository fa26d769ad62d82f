"""What the roles about this program and this machine are called with. Read at every start, it imports little."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse


def add_about(roles: argparse._SubParsersAction[argparse.ArgumentParser], common: argparse.ArgumentParser) -> None:
    _add_doctor(roles, common)
    _add_version(roles, common)
    _add_completion(roles, common)
    _add_man(roles, common)


def _add_doctor(roles: argparse._SubParsersAction[argparse.ArgumentParser], common: argparse.ArgumentParser) -> None:
    doctor = roles.add_parser("doctor", parents=[common], help="look for what is wrong on this machine")
    doctor.add_argument("--json", action="store_true", help="print as JSON, for programs")


def _add_version(roles: argparse._SubParsersAction[argparse.ArgumentParser], common: argparse.ArgumentParser) -> None:
    version = roles.add_parser("version", parents=[common], help="which version this is, and of what it is made")
    version.add_argument("--licences", action="store_true", help="the licences of everything bundled")
    version.add_argument("--json", action="store_true", help="print as JSON, for programs")


def _add_completion(
    roles: argparse._SubParsersAction[argparse.ArgumentParser], common: argparse.ArgumentParser
) -> None:
    completion = roles.add_parser("completion", parents=[common], help="completion for your shell: bash, zsh or fish")
    completion.add_argument("shell", metavar="SHELL", choices=["bash", "zsh", "fish"], help="bash, zsh or fish")


def _add_man(roles: argparse._SubParsersAction[argparse.ArgumentParser], common: argparse.ArgumentParser) -> None:
    roles.add_parser("man", parents=[common], help="the manual page")
