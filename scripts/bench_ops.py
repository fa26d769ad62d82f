"""What the bench measures, and how: the real program as processes, in turns with bare gRPC.

`upload` and `download` alternate with the roofline, round by round, and the ratio is the median of the rounds' ratios,
so that a machine that is slow for a while is slow for both. Fairness: the roofline touches no file at all, while ours
reads and writes real ones, hashes, and flushes chunks to the nodes' disk. Only the client's own disk is left out: what
it sends lies in memory (/dev/shm) where there is room, and what it has received and verified goes to /dev/null.

Every row has freshly started processes. Memory is the peak of a process (VmHWM) over what it had when it had just
started.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import psutil

from environment import ROOT

sys.path.insert(0, str(ROOT / "tests"))

from cloudgrpc.clients.session import SessionStore, SignIn
from cluster_harness import Cluster
from roofline import Roofline

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from user import User

MIB, GIB = 1 << 20, 1 << 30
COPIES = 2
NODES = 3
SMALL_BYTES = 4 << 10
AT_ONCE = 8
STALL_S = 5.0  # long enough to fill every buffer; below the gateway's patience with a silent reader
ROOM_MB = 1_000_000  # quota and nodes are no part of what is measured

Cost = dict[str, float]  # by "client", "gateway", "nodes"


@dataclass(frozen=True)
class Row:
    """One line of the result. None: does not apply to this row."""

    op: str
    mib_s: float | None = None
    files_s: float | None = None
    roofline_mib_s: float | None = None
    ratio: float | None = None
    cpu_s_per_gib: Cost = field(default_factory=dict)
    rss_growth_mib: Cost = field(default_factory=dict)

    @property
    def cpu_total(self) -> float:
        return sum(self.cpu_s_per_gib.values())


@dataclass(frozen=True)
class Sample:
    """One round of ours."""

    seconds: float
    cpu_s: Cost
    growth_mib: Cost


class Meter:
    """CPU and memory of gateway and nodes."""

    def __init__(self, cluster: Cluster) -> None:
        self._pids = {name: program.pid for name, program in cluster.programs.items()}
        self._idle = {name: _status(pid, "VmRSS") for name, pid in self._pids.items()}

    @contextmanager
    def measuring(self) -> Iterator[tuple[Cost, Cost]]:
        """The two costs (CPU-seconds, growth in MiB) are filled when the block ends."""
        before = self._cpu()
        cpu_s: Cost = {}
        growth: Cost = {}
        yield cpu_s, growth
        spent = {name: after - before[name] for name, after in self._cpu().items()}
        grown = {name: (_status(pid, "VmHWM") - self._idle[name]) / 1024 for name, pid in self._pids.items()}
        gateway, nodes = spent.pop("gateway"), sum(spent.values())
        cpu_s.update(gateway=gateway, nodes=nodes)
        # The worst of the nodes: each of them has to stay small.
        growth.update(gateway=grown.pop("gateway"), nodes=max(grown.values()))

    def _cpu(self) -> dict[str, float]:
        times = {name: psutil.Process(pid).cpu_times() for name, pid in self._pids.items()}
        return {name: each.user + each.system for name, each in times.items()}


class Bench:
    """A running cluster with one user, and a roofline beside it."""

    def __init__(self, cluster: Cluster, user: User, roofline: Callable[[int], Roofline], files: Path) -> None:
        self._cluster = cluster
        self._user = user
        self._roofline = roofline
        self._files = files
        self._meter = Meter(cluster)
        self._file_id = ""

    def start_afresh(self) -> None:
        """New processes, so that no row is charged with the memory that the one before it left behind."""
        self._cluster.restart()
        self._meter = Meter(self._cluster)

    def upload(self, size: int, rounds: int) -> Row:
        source = random_file(self._files / "big", size)
        row = self._in_turns("upload", size, rounds, COPIES, lambda: self.upload_once(source))
        source.unlink()
        return row

    def download(self, size: int, rounds: int) -> Row:
        return self._in_turns("download", size, rounds, 1, lambda: self.download_once(size))

    def upload_once(self, source: Path) -> Sample:
        sample, (answer,) = self._clients([["upload", source]])
        self._file_id = answer["file_id"]
        return sample

    def download_once(self, size: int) -> Sample:
        """What was uploaded last, which has so many bytes."""
        sample, (answer,) = self._clients([["download", self._file_id]])
        if answer["size"] != size:
            raise RuntimeError(f"{answer['size']} of {size} bytes came back")
        return sample

    def upload_at_once(self, size: int) -> Row:
        """`size` in all, in eight files through eight connections."""
        each = size // AT_ONCE
        sources = [random_file(self._files / f"part{number}", each) for number in range(AT_ONCE)]
        sample, _ = self._clients([["upload", source] for source in sources])
        for source in sources:
            source.unlink()
        return row_of("upload-8", each * AT_ONCE, [sample], files=AT_ONCE)

    def upload_small(self, files: int, rounds: int) -> Row:
        """The command itself, from its start to its end."""
        return row_of(
            "upload-small", files * SMALL_BYTES, [self._upload_folder(files) for _ in range(rounds)], files=files
        )

    def download_stalled(self, size: int) -> Row:
        """Eight readers of a file that stop reading after a MiB; only memory is of interest."""
        with self._meter.measuring() as (cpu_s, growth):
            client = self._client(["stall", self._file_id, AT_ONCE])
            try:
                _say(client, "go")
                _expect(client, "stalled")
                time.sleep(STALL_S)
            finally:
                client.communicate()
        return Row(
            "download-stalled", cpu_s_per_gib=_per_gib({"client": 0.0, **cpu_s}, size), rss_growth_mib=dict(growth)
        )

    def _in_turns(self, op: str, size: int, rounds: int, copies: int, ours: Callable[[], Sample]) -> Row:
        samples, bare = [], []
        with self._roofline(copies) as roofline:
            for _ in range(rounds):
                os.sync()
                bare.append(roofline.measure(op, size // MIB)[0])
                os.sync()
                samples.append(ours())
        ratios = [size / MIB / sample.seconds / mib_s for sample, mib_s in zip(samples, bare, strict=True)]
        return row_of(op, size, samples, roofline_mib_s=median(bare), ratio=median(ratios))

    def _upload_folder(self, files: int) -> Sample:
        folder = Path(self._files / f"small{time.monotonic_ns()}")
        folder.mkdir()
        for number in range(files):
            random_file(folder / f"{number:05}.bin", SMALL_BYTES)
        with self._meter.measuring() as (cpu_s, growth):
            used, started = _children_cpu_s(), time.perf_counter()
            ran = self._cluster.run("shell", "upload", "-r", str(folder), timeout_s=600)
            seconds = time.perf_counter() - started
        if ran.returncode:
            raise RuntimeError(f"upload -r ended with {ran.returncode}:\n{ran.stdout}{ran.stderr}")
        return Sample(seconds, {"client": _children_cpu_s() - used, **cpu_s}, dict(growth))

    def _clients(self, works: Sequence[Sequence[object]]) -> tuple[Sample, list[dict[str, Any]]]:
        """Run these clients at once; the seconds are from the start of all to the end of the last."""
        clients = [self._client(work) for work in works]
        try:
            with self._meter.measuring() as (cpu_s, growth):
                started = time.perf_counter()
                for client in clients:
                    _say(client, "go")
                answers = [json.loads(_line(client)) for client in clients]
                seconds = time.perf_counter() - started
        finally:
            for client in clients:
                client.communicate()
        client_cpu_s = sum(answer["cpu_s"] for answer in answers)
        return Sample(seconds, {"client": client_cpu_s, **cpu_s}, dict(growth)), answers

    def _client(self, work: Sequence[object]) -> subprocess.Popen[str]:
        """A client that has imported everything and waits for its word."""
        role, *rest = map(str, work)
        command = [sys.executable, str(ROOT / "scripts" / "bench_client.py"), role]
        client = subprocess.Popen(
            [*command, self._cluster.address, self._user.token, *rest],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=self._cluster.environment(),
        )
        _expect(client, "ready")
        return client


@contextmanager
def running(disk: Path, files: Path, **settings: Any) -> Iterator[Bench]:
    """`disk`: where the nodes keep their chunks; `files`: the client's folder. Everything ends with the block."""
    cluster = Cluster(
        disk,
        nodes=NODES,
        capacity_gb=ROOM_MB // 1024,
        quick=False,
        cluster_replication_factor=COPIES,
        cluster_write_quorum=COPIES,
        drive_new_account_mb=ROOM_MB // COPIES,
        **settings,
    )
    try:
        cluster.start()
        user = cluster.enroll("bench@example.org")
        home = disk / "home" / ".config" / "cloudgrpc"
        SessionStore(home).remember(cluster.address, SignIn(user.email, user.token))
        yield Bench(cluster, user, Roofline, files)
    finally:
        cluster.close()


def row_of(
    op: str,
    size: int,
    samples: Sequence[Sample],
    *,
    files: int = 1,
    roofline_mib_s: float | None = None,
    ratio: float | None = None,
) -> Row:
    """Medians over the rounds; memory is the worst of them."""
    seconds = median(sample.seconds for sample in samples)
    return Row(
        op,
        mib_s=size / MIB / seconds,
        files_s=files / seconds,
        roofline_mib_s=roofline_mib_s,
        ratio=ratio,
        cpu_s_per_gib=_per_gib({who: median(s.cpu_s[who] for s in samples) for who in samples[0].cpu_s}, size),
        rss_growth_mib={who: max(s.growth_mib[who] for s in samples) for who in samples[0].growth_mib},
    )


def random_file(path: Path, size: int) -> Path:
    """Incompressible, so that no compression on the way can flatter the figures."""
    with path.open("wb") as file:
        for start in range(0, size, MIB):
            file.write(os.urandom(min(MIB, size - start)))
    return path


def _per_gib(cpu_s: Cost, size: int) -> Cost:
    return {who: spent * GIB / size for who, spent in cpu_s.items()}


def _status(pid: int, key: str) -> int:
    """A figure of /proc/PID/status, in KiB."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{key}:"))


def _children_cpu_s() -> float:
    """Of the children that have ended."""
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


def _say(client: subprocess.Popen[str], word: str) -> None:
    if client.stdin is not None:
        client.stdin.write(f"{word}\n")
        client.stdin.flush()


def _line(client: subprocess.Popen[str]) -> str:
    line = client.stdout.readline() if client.stdout is not None else ""
    if not line:
        raise RuntimeError(f"a client ended with exit code {client.wait()}; what it said is above")
    return line


def _expect(client: subprocess.Popen[str], word: str) -> None:
    line = _line(client)
    if line.strip() != word:
        raise RuntimeError(f"a client said {line!r} instead of {word!r}")
