"""What encryption at rest costs: two clusters side by side, one with it and one without, in turns.

The median of the rounds' ratios is told, so that a machine that is slow for a while is slow for both; and each round
begins with the other of the two. Both are cold once: the first round does not count.
"""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

from bench_ops import random_file, row_of, running

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from bench_ops import Bench, Row, Sample


def compare(disk: Path, files: Path, size: int, rounds: int) -> list[Row]:
    """`disk`: where the nodes keep their chunks; `files`: the client's folder."""
    folders = [disk / name for name in ("plain", "sealed")]
    for folder in folders:
        folder.mkdir()
    source = random_file(files / "compared", size)
    with (
        running(folders[0], files, encryption_at_rest=False) as plain,
        running(folders[1], files, encryption_at_rest=True) as sealed,
    ):
        both = {"plain": plain, "sealed": sealed}
        uploads = _in_turns("upload", both, size, rounds, lambda bench: bench.upload_once(source))
        return uploads + _in_turns("download", both, size, rounds, lambda bench: bench.download_once(size))


def _in_turns(op: str, both: dict[str, Bench], size: int, rounds: int, measure: Callable[[Bench], Sample]) -> list[Row]:
    samples: dict[str, list[Sample]] = {name: [] for name in both}
    line = list(both)
    for _ in range(rounds + 1):
        for name in line:
            samples[name].append(measure(both[name]))
        line.reverse()
    plain, sealed = (samples[name][1:] for name in both)
    ratio = median(one.seconds / other.seconds for one, other in zip(plain, sealed, strict=True))
    return [row_of(f"{op}-plain", size, plain), row_of(f"{op}-sealed", size, sealed, ratio=ratio)]
