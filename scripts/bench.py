"""`python3 scripts/bench.py`: how fast, at what cost, beside bare gRPC in the same run. Linux only, as it reads /proc.

    --size 1GiB     of the big file       --rounds 3    in turns with the roofline
    --files 1000    of 4 KiB each         --json        nothing but the figures, for programs
    --disk DIR      where the nodes' chunks lie for the time being (default: /var/tmp)
    --only start    instead of all that: size and start-up of the executable, which is built if need be

What is measured and how is told in bench_ops.py and bench_start.py; the roofline in roofline.py.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import environment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bench_ops import Row

UNITS = {"": 1, "KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30}
PIECE_BYTES = 4 << 20  # sizes are whole chunks, as the roofline moves nothing smaller
COMPARED_BYTES, COMPARED_ROUNDS = 256 << 20, 5  # with and without encryption at rest
MEMORY = Path("/dev/shm")  # noqa: S108 - private folders are made in it

# What the product promises for a file of 1 GiB, two copies and 1,000 small files: row, figure, bound.
LIMITS = [
    ("upload", "ratio", ">=", 0.6),
    ("upload", "cpu_total", "<", 9.0),
    ("download", "ratio", ">=", 0.75),
    ("download", "cpu_total", "<", 4.5),
    ("upload-small", "files_s", ">=", 150.0),
    ("upload-sealed", "ratio", ">=", 0.95),
    ("download-sealed", "ratio", ">=", 0.95),
    *(
        (op, f"{who} MiB", "<", 200.0)
        for op in ("upload", "download", "upload-8", "download-stalled")
        for who in ("gateway", "nodes")
    ),
]


def size_of(word: str) -> int:
    found = re.fullmatch(r"(\d+)\s*([KMG]iB)?", word, flags=re.IGNORECASE)
    size = int(found[1]) * UNITS[(found[2] or "").upper()] if found else 0
    if size < 8 * PIECE_BYTES or size % (8 * PIECE_BYTES):
        raise argparse.ArgumentTypeError(f"{word}: give a multiple of 32MiB, such as 256MiB or 1GiB")
    return size


def positive(word: str) -> int:
    if not word.isdecimal() or not int(word):
        raise argparse.ArgumentTypeError(f"{word}: must be a number above 0")
    return int(word)


def arguments(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench.py", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--size", type=size_of, default=size_of("1GiB"), help="of the big file (1GiB)")
    parser.add_argument("--files", type=positive, default=1000, help="how many small files (1000)")
    parser.add_argument("--rounds", type=positive, default=3, help="in turns with the roofline (3)")
    parser.add_argument("--disk", type=Path, default=default_disk(), help="where the nodes' chunks lie (%(default)s)")
    parser.add_argument("--only", choices=["start"], help="size and start-up of the executable, nothing else")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    return parser.parse_args(words)


def default_disk() -> Path:
    """Not the folder for temporary files first: on many machines that is memory, where flushing costs nothing."""
    lasting = Path("/var/tmp")  # noqa: S108 - a private folder is made in it
    return lasting if lasting.is_dir() else Path(tempfile.gettempdir())


def main(words: list[str]) -> int:
    options = arguments(words)
    if sys.platform != "linux":
        return refuse("the bench reads /proc, so it runs on Linux only")
    if options.only == "start":
        return start_up(options.rounds, is_json=options.json)
    if not options.disk.is_dir():
        return refuse(f"{options.disk}: no such folder")
    # Every round keeps its file on two nodes, and so do the eight uploads; small files are rounded up to disk blocks.
    needed = options.size * 2 * (options.rounds + 1) + options.files * options.rounds * 32_768
    needed += min(options.size, COMPARED_BYTES) * 4 * (COMPARED_ROUNDS + 1)
    in_memory = MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > options.size * 2
    needed += 0 if in_memory else options.size * 2
    if shutil.disk_usage(options.disk).free < needed * 1.2:
        return refuse(f"{options.disk} has not the {needed * 1.2 / (1 << 30):.1f} GiB free that this takes; see --disk")
    with folder_in(options.disk) as disk, folder_in(MEMORY if in_memory else options.disk) as files:
        rows = measure(options, disk, files)
    if options.json:
        print(json.dumps({"rows": [rounded(row) for row in rows]}))
    else:
        show(rows, options, in_memory)
    return 0


def start_up(rounds: int, *, is_json: bool) -> int:
    import bench_start
    import build

    if wanted := [kind for kind in ("file", "folder") if not build.is_fresh(kind)]:
        build.build(wanted)
    environment.say(f"measuring starts, {rounds} rounds …")
    starts, sizes = bench_start.measure(rounds), bench_start.sizes()
    if is_json:
        print(json.dumps({"seconds": {each.what: each.seconds for each in starts}, "bytes": sizes}))
    else:
        bench_start.show(starts, sizes)
    return 0


def measure(options: argparse.Namespace, disk: Path, files: Path) -> list[Row]:
    import bench_ops

    with bench_ops.running(disk, files) as bench:
        steps: dict[str, Callable[[], Row]] = {
            "upload": lambda: bench.upload(options.size, options.rounds),
            "download": lambda: bench.download(options.size, options.rounds),
            "upload-small": lambda: bench.upload_small(options.files, options.rounds),
            "upload-8": lambda: bench.upload_at_once(options.size),
            "download-stalled": lambda: bench.download_stalled(options.size),
        }
        rows = []
        for op, step in steps.items():
            environment.say(f"measuring {op} …")
            bench.start_afresh()
            rows.append(step())
    import bench_sealing

    environment.say("measuring what encryption at rest costs …")
    return rows + bench_sealing.compare(disk, files, min(options.size, COMPARED_BYTES), COMPARED_ROUNDS)


@contextmanager
def folder_in(parent: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="cloudgrpc-bench-", dir=parent, ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def rounded(row: Row) -> dict[str, object]:
    def short(value: object) -> object:
        if isinstance(value, dict):
            return {key: short(each) for key, each in value.items()}
        return round(value, 3) if isinstance(value, float) else value

    return {key: short(value) for key, value in asdict(row).items()}


def show(rows: list[Row], options: argparse.Namespace, in_memory: bool) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"one file of {options.size >> 20} MiB, two copies; {options.files} files of 4 KiB")
    for heading in ("", "MiB/s", "files/s", "bare gRPC", "ratio"):
        table.add_column(heading, justify="right" if heading else "left")
    for heading in ("client", "gateway", "nodes", "all"):
        table.add_column(f"CPU-s/GiB\n{heading}", justify="right")
    for heading in ("gateway", "a node"):
        table.add_column(f"grew MiB\n{heading}", justify="right")
    for row in rows:
        speeds = [figure(row.mib_s, 1), figure(row.files_s, 1), figure(row.roofline_mib_s, 1), figure(row.ratio, 2)]
        costs = [figure(row.cpu_s_per_gib.get(who), 2) for who in ("client", "gateway", "nodes")]
        grown = [figure(row.rss_growth_mib.get(who), 0) for who in ("gateway", "nodes")]
        table.add_row(row.op, *speeds, *costs, figure(row.cpu_total, 2), *grown)
    console = Console(width=None if sys.stdout.isatty() else 140)
    console.print(table)
    console.print(
        "the ratio of a -sealed row is to the -plain one beside it: [encryption] at_rest on and off", markup=False
    )
    console.print(f"nodes on {options.disk}, the client's files {'in memory' if in_memory else 'beside them'}")
    for words, holds in limits(rows):
        console.print(f"  [green]holds[/]   {words}" if holds else f"  [bold red]BROKEN[/]  {words}")


def figure(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:,.{digits}f}"


def limits(rows: list[Row]) -> list[tuple[str, bool]]:
    """The promises, each with whether this run kept it. They are meant for the default sizes."""
    by_op = {row.op: row for row in rows}
    judged = []
    for op, name, sign, bound in LIMITS:
        row = by_op[op]
        measured = row.rss_growth_mib[name.split()[0]] if name.endswith(" MiB") else getattr(row, name)
        holds = measured >= bound if sign == ">=" else measured < bound
        judged.append((f"{op}: {name} {measured:.2f}, promised {sign} {bound:g}", holds))
    return judged


def refuse(words: str) -> int:
    environment.say(f"error: {words}")
    return 1


def interrupt(_number: int, _frame: object) -> None:
    """SIGTERM ends like Ctrl-C: processes are ended and folders removed."""
    raise KeyboardInterrupt


if __name__ == "__main__":
    if Path(sys.prefix).resolve() != environment.VENV.resolve():
        environment.ensure("dev")
        python = str(environment.PYTHON)
        os.execve(python, [python, __file__, *sys.argv[1:]], environment.tool_environment())
    signal.signal(signal.SIGTERM, interrupt)
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        environment.say("\nstopped")
        sys.exit(130)
