"""What the roles about this program and this machine are called with. Read at every start, it imports little."""

from __future__ import annotations

import argparse


def add_about(roles: argparse._SubParsersAction[argparse.ArgumentParser], common: argparse.ArgumentParser) -> None:
    _add_doctor(roles, common)
    _add_version(roles, common)
    _add_completion(roles, common)
    _add_man(roles, common)


def _add_doctor(roles: argparse._SubParsersAction[argparse.ArgumentParser], common: argparse.ArgumentParser) -> None:
    doctor = roles.add_parser(
        "doctor",
        parents=[common],
        help="look for what is wrong on this machine",
        description="""Look for what is wrong on this machine, as one who runs a gateway or nodes here: settings,
data folder, disk, database, secrets, certificates, ports, mail, Campay, clock
and limits. Each line is ok, note or wrong, with what to do.

It changes nothing, and a gateway that runs meanwhile is not disturbed. A mail
server and Campay are signed in to; no mail is sent, and nothing is bought.
""",
        epilog="exit codes: 0 nothing is wrong   1 something is",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    doctor.add_argument("--json", action="store_true", help="print as JSON, for programs")


def _add_version(roles: argparse._SubParsersAction[argparse.ArgumentParser], common: argparse.ArgumentParser) -> None:
    version = roles.add_parser(
        "version",
        parents=[common],
        help="which version this is, and of what it is made",
        description="Which version this is, of what it is made, the newest schema step it knows, and the one that the"
        " database has.",
    )
    version.add_argument("--licences", action="store_true", help="the licences of everything bundled")
    version.add_argument("--json", action="store_true", help="print as JSON, for programs")


def _add_completion(
    roles: argparse._SubParsersAction[argparse.ArgumentParser], common: argparse.ArgumentParser
) -> None:
    completion = roles.add_parser(
        "completion",
        parents=[common],
        help="completion for your shell: bash, zsh or fish",
        description="Print what makes your shell complete our roles, acts, commands and options with Tab.",
        epilog="""once, and again after an update:
  bash   cloudgrpc completion bash > ~/.cloudgrpc.bash
         and in ~/.bashrc: source ~/.cloudgrpc.bash
  zsh    cloudgrpc completion zsh > ~/.cloudgrpc.zsh
         and in ~/.zshrc, after compinit: source ~/.cloudgrpc.zsh
  fish   cloudgrpc completion fish > ~/.config/fish/completions/cloudgrpc.fish
""",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    completion.add_argument("shell", metavar="SHELL", choices=["bash", "zsh", "fish"], help="bash, zsh or fish")


def _add_man(roles: argparse._SubParsersAction[argparse.ArgumentParser], common: argparse.ArgumentParser) -> None:
    roles.add_parser(
        "man",
        parents=[common],
        help="the manual page",
        description="The manual page: shown at a terminal, in a pipe its source.",
        epilog="""examples:
  cloudgrpc man
  cloudgrpc man > /usr/local/share/man/man1/cloudgrpc.1
""",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
