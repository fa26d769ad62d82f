"""`admin check`, `backup`, `restore` and `reconcile`: the care of the metadata, and of the whole with it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from cloudgrpc.admin import acts, backup_file
from cloudgrpc.admin.care_desk import CareDesk
from cloudgrpc.clients import render
from cloudgrpc.clients.progress import metered
from cloudgrpc.core.units import size_words
from cloudgrpc.errors import Exit, Unexpected, UsageWrong
from cloudgrpc.shell.parser import Parser

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from cloudgrpc.admin.desk import Desk
    from cloudgrpc.pb import cloud_storage_pb2 as pb

CHECK, BACKUP, RESTORE, RECONCILE = "check", "backup", "restore", "reconcile"
PROGRESS = "progress"
LABEL_LETTERS = 14
APART = """It holds no secrets. Back these up apart, and keep them from others:
  secrets/ in the gateway's data folder, with: cloudgrpc secrets backup FILE
    without its master.key no file can be read, without its cluster.key no node
    joins
  config.toml and .env, with the keys and passwords that they hold or name"""


def parsed(words: Sequence[str]) -> argparse.Namespace:
    """Raises: UsageWrong; SystemExit for --help."""
    args: argparse.Namespace = parser_of(words[0]).parse_args(words[1:])
    return args


def parser_of(act: str) -> Parser:
    parsers = {CHECK: _check_parser, BACKUP: _backup_parser, RESTORE: _restore_parser, RECONCILE: _reconcile_parser}
    return parsers[act]()


def run(desk: Desk, args: argparse.Namespace) -> int | None:
    code: int | None = args.act(CareDesk(desk), args)
    return code


def _check_parser() -> Parser:
    prog = f"cloudgrpc admin {CHECK}"
    words = """
    Compare metadata and nodes both ways, and change nothing.

    Exit code: 0 all is well, 3 copies are missing and repair will make them, 4 data is lost, 1 the metadata is wrong or
    a node could not be asked.
    """
    parser = Parser(prog, words, f"{prog}\n{prog} --json")
    parser.set_defaults(act=_check)
    acts.add_json(parser)
    return parser


def _backup_parser() -> Parser:
    prog = f"cloudgrpc admin {BACKUP}"
    words = "Write the metadata of one moment to a file, while all runs on. The chunks themselves stay on the nodes."
    parser = Parser(prog, f"{words}\n\n{APART}", f"{prog} drive-2026-12-31.backup\n{prog} --force newest.backup")
    parser.set_defaults(act=_backup)
    parser.add_argument("file", metavar="FILE", type=Path, help="on this computer; only you can read it")
    parser.add_argument("--force", action="store_true", help="replace FILE if it exists")
    parser.add_argument(
        "--yes", action="store_true", help=argparse.SUPPRESS
    )  # nothing is asked, but every act takes it
    return parser


def _restore_parser() -> Parser:
    prog = f"cloudgrpc admin {RESTORE}"
    words = """
    Fill an empty gateway with a backup. It begins read-only, and ends all sessions; the nodes are those of before, and
    the gateway needs the secrets of before.
    """
    parser = Parser(prog, words, f"{prog} drive-2026-12-31.backup")
    parser.set_defaults(act=_restore)
    parser.add_argument("file", metavar="FILE", type=Path, help="that `admin backup` wrote")
    acts.add_yes(parser)
    return parser


def _reconcile_parser() -> Parser:
    prog = f"cloudgrpc admin {RECONCILE}"
    words = "After a restore: how far nodes and payments were looked at; with --open, take writes again."
    parser = Parser(prog, words, f"{prog}\n{prog} --open --yes")
    parser.set_defaults(act=_reconcile)
    parser.add_argument("--open", action="store_true", help="open the drive for writing")
    parser.add_argument("--force", action="store_true", help="also when not everything was looked at")
    acts.add_yes(parser)
    acts.add_json(parser)
    return parser


# Check


def _check(desk: CareDesk, args: argparse.Namespace) -> int:
    line = acts.ProgressLine()
    findings: list[dict[str, str]] = []
    summary = None
    try:
        for reply in desk.check():
            if reply.HasField("summary"):
                summary = reply.summary
            if reply.level == PROGRESS:
                line.tell(reply.message)
            elif reply.level:
                line.end()
                findings.append({"level": reply.level, "subject": reply.subject, "message": reply.message})
                if not args.json:
                    acts.told(f"{reply.level:<8} {reply.subject}: {reply.message}")
    finally:
        line.end()
    if summary is None:
        raise Unexpected(fault="the gateway ended the check without its summary")
    if args.json:
        render.print_json({"findings": findings, "summary": _summary_facts(summary)})
    else:
        _show_summary(summary)
    return check_code(summary)


def check_code(summary: pb.CheckSummary) -> int:
    """The worst comes first; a node that could not be asked may hide anything but a loss."""
    if summary.lost:
        return Exit.LOST
    if summary.wrong or summary.nodes_unreachable:
        return Exit.FAILED
    return Exit.MISSING if summary.missing else Exit.OK


def _show_summary(summary: pb.CheckSummary) -> None:
    looked = (
        f"{render.count(summary.files, 'file')}, {render.count(summary.chunks, 'chunk')}, {summary.copies:,} copies"
    )
    nodes = render.count(summary.nodes, "node")
    print(f"Looked at {looked} on {nodes}.")
    told = [
        (summary.lost, "of the chunks are lost: no good copy of them is left"),
        (summary.wrong, "times the metadata contradicts itself"),
        (summary.nodes_unreachable, "of the nodes could not be asked"),
        (summary.missing, "of the chunks have fewer copies than wanted; repair makes them again"),
        (summary.unknown, "files on nodes belong to nothing; they go after the grace time"),
    ]
    for count, words in told:
        if count:
            print(f"{count:,} {words}.")
    if not any(count for count, _ in told[:-1]):
        print("All is well.")


def _summary_facts(summary: pb.CheckSummary) -> dict[str, int]:
    return {name: getattr(summary, name) for name in summary.DESCRIPTOR.fields_by_name}


# Backup


def _backup(desk: CareDesk, args: argparse.Namespace) -> None:
    backup_file.check_target(args.file, args.force)
    line = acts.ProgressLine()

    def told(pieces: Iterator[bytes]) -> Iterator[bytes]:
        size = 0
        for piece in pieces:
            size += len(piece)
            line.tell(f"{size_words(size)} of metadata so far")
            yield piece

    try:
        content = backup_file.write(args.file, told(desk.backup()))
    finally:
        line.end()
    acts.told(
        f"{args.file} holds the metadata as of {render.when(content.made_at)}: {size_words(content.size)}, and whole."
    )
    print(APART)


# Restore


def _restore(desk: CareDesk, args: argparse.Namespace) -> None:
    acts.check_can_ask(args)
    content = backup_file.read(args.file)
    made_by = f"CloudGrpc {content.program} on {content.engine}"
    lines = [
        f"{args.file}: {size_words(content.size)}, made {render.when(content.made_at)} by {made_by}, and whole",
        f"Cluster: {content.cluster_id}",
        *_rows(content.rows),
        "The gateway must be empty. It will be read-only, and all sessions in the backup are ended.",
    ]
    if not acts.is_agreed(args, lines, "Restore it?"):
        return
    with metered(args.file.name, content.size) as meter:
        reply = desk.restore(backup_file.pieces(args.file, meter))
    acts.told(f"Restored: the drive is as of {render.when(reply.made_at)}, and read-only.")
    for line in _rows(dict(reply.rows)):
        print(line)
    print("Everybody signs in again, and admin keys with names are to be made anew.")
    print(
        "The gateway needs the secrets of before, in its data folder's secrets/; with them, start the nodes of before."
    )
    print("Then look how far it is, and open it for writing: cloudgrpc admin reconcile")


def _rows(rows: dict[str, int]) -> list[str]:
    shown = [f"{count:,} {table}" for table, count in sorted(rows.items()) if count]
    return [f"Rows: {', '.join(shown)}"] if shown else []


# Reconcile


def _reconcile(desk: CareDesk, args: argparse.Namespace) -> None:
    if args.force and not args.open:
        raise UsageWrong(reason="--force goes with --open")
    if args.open:
        acts.check_can_ask(args)
    reply = desk.reconcile()
    if args.open and not reply.is_open:
        if not acts.is_agreed(args, [*_reconcile_lines(reply), reply.message], "Open the drive for writing?"):
            return
        reply = desk.reconcile(is_to_open=True, force=args.force)
    if args.json:
        render.print_json(_reconcile_facts(reply))
        return
    if args.yes or not args.open:
        for line in _reconcile_lines(reply):
            acts.told(line)
    acts.told(reply.message)
    if reply.is_open:
        print("Compare metadata and nodes with: cloudgrpc admin check")
    else:
        print("Once nothing is waited for, open it with: cloudgrpc admin reconcile --open   (--force: all the same)")


def _reconcile_lines(reply: pb.ReconcileClusterResponse) -> list[str]:
    lost = f"{render.count(reply.files_lost, 'file')}, {render.count(reply.chunks_lost, 'chunk')}"
    facts = [
        ("Restored", render.when(reply.restored_at)),
        ("Backup of", render.when(reply.backup_made_at)),
        ("Nodes waiting", ", ".join(reply.nodes_waiting) or "none: every node was looked at"),
        ("Lost", lost if reply.chunks_lost else "nothing"),
        (
            "Payments",
            f"Campay is still asked about {reply.payments_waiting:,}" if reply.payments_waiting else "settled",
        ),
    ]
    rest = reply.files_lost - len(reply.files)
    return [
        *(f"{label:<{LABEL_LETTERS}}{words}" for label, words in facts if words),
        *(f"  {file}" for file in reply.files),
        *([f"  ... and {rest:,} more"] if rest > 0 and reply.files else []),
        *(
            f"  Campay knows {each}, which this drive does not: look into it by hand."
            for each in reply.payments_unknown
        ),
    ]


def _reconcile_facts(reply: pb.ReconcileClusterResponse) -> dict[str, object]:
    """Times in UTC; files: some of the lost ones, whose and the path; payments_unknown: that Campay alone knows."""
    return {
        "is_open": reply.is_open,
        "restored_at": reply.restored_at or None,
        "backup_made_at": reply.backup_made_at or None,
        "nodes_waiting": list(reply.nodes_waiting),
        "chunks_lost": reply.chunks_lost,
        "files_lost": reply.files_lost,
        "files": list(reply.files),
        "payments_waiting": reply.payments_waiting,
        "payments_unknown": list(reply.payments_unknown),
    }
