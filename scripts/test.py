"""`python3 scripts/test.py`: sets everything up, then runs every check and every test.

    scripts/test.py                     everything, one line per check, then pytest, on several cores
    scripts/test.py --soak              the same with the long and deep runs, one test at a time
    scripts/test.py --release           builds the executable as well, and tests it: tests/release
    scripts/test.py PATHS… -k WORD …    pytest alone, with these arguments (paths as seen from the checkout)

A check's output is shown when it fails. The last line is `N passed, N failed`, checks and tests counted alike; the exit
code is 1 when anything failed.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from collections import Counter
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import environment
from environment import ROOT

BIN = environment.VENV / "bin"
CONTRACT = ROOT / "tests" / "contract" / "cloud_storage.proto"
# What the contract does differently from buf's standard; it must not change, so these rules cannot hold.
BUF_LINT = """{"version": "v2", "lint": {"use": ["STANDARD"], "except": [
    "PACKAGE_DIRECTORY_MATCH", "PACKAGE_VERSION_SUFFIX", "RPC_REQUEST_STANDARD_NAME", "RPC_RESPONSE_STANDARD_NAME"]}}"""
BUF_BREAKING = '{"version": "v2", "breaking": {"use": ["FILE"]}}'
# Half of a test is waiting, so two workers pay on one core, too; each has a PostgreSQL and clusters of its own.
# One more than cores saves a tenth of the time, and makes a busy machine late for tests that are about time.
WORKERS = min(max(os.cpu_count() or 1, 2), 4)
# A file's tests share a cluster, so they stay together. As they are listed: the slow ones first, the quick ones last.
SIDE_BY_SIDE = ["-n", str(WORKERS), "--dist", "loadfile", "--no-loadscope-reorder"]


def checks(against: Path) -> dict[str, list[str]]:
    """Commands by what people call them. `against` holds the contract under the path that our proto has."""
    buf, proto = str(BIN / "buf"), str(ROOT / "proto")
    return {
        "ruff format": [str(BIN / "ruff"), "format", "--check"],
        "ruff check": [str(BIN / "ruff"), "check"],
        "mypy cloudgrpc": [str(BIN / "mypy"), "-p", "cloudgrpc"],
        "mypy scripts": [str(BIN / "mypy"), "scripts"],
        "import laws": [str(BIN / "lint-imports"), "--no-logo"],
        "generated code": [str(environment.PYTHON), "scripts/generate.py", "--check"],
        "buf lint": [buf, "lint", proto, "--config", BUF_LINT],
        "wire contract": [buf, "breaking", proto, "--against", str(against), "--config", BUF_BREAKING],
        "dependencies": [str(environment.PYTHON), "-m", "deptry", "."],
        "dead code": [str(BIN / "vulture")],
        "lock files": [str(environment.PYTHON), "scripts/lock.py", "--check"],
    }


def run_checks() -> Counter[str]:
    results: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        against = Path(folder) / "cloudgrpc" / "pb"
        against.mkdir(parents=True)
        shutil.copy(CONTRACT, against)
        # Two at a time: most of them use one core.
        with ThreadPoolExecutor(2) as pool:
            running = [pool.submit(run_check, name, command) for name, command in checks(Path(folder)).items()]
            for check in as_completed(running):
                passed, words = check.result()
                results["passed" if passed else "failed"] += 1
                print(words, flush=True)
    return results


def run_check(name: str, command: list[str]) -> tuple[bool, str]:
    started = time.perf_counter()
    # buf takes its configuration from the folder it runs in, and looks for modules there.
    folder = ROOT / "proto" if "--config" in command else ROOT
    ran = subprocess.run(
        command,
        cwd=folder,
        env=environment.tool_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    line = f"{'FAILED' if ran.returncode else 'ok':6} {name:16} {time.perf_counter() - started:6.1f} s"
    return not ran.returncode, f"{line}\n{ran.stdout}" if ran.returncode else line


def build_executable() -> Counter[str]:
    """What tests/release looks at; what is there and made of the same sources, stays."""
    passed, words = run_check("executable", [sys.executable, "scripts/build.py", "--both", "--if-needed"])
    print(words, flush=True)
    return Counter(["passed" if passed else "failed"])


def run_pytest(words: list[str]) -> Counter[str]:
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [str(environment.PYTHON), "-m", "pytest", f"--junitxml={report}", *words]
        exit_code = _wait(subprocess.Popen(command, cwd=ROOT, env=environment.tool_environment()))
        results = read_report(report)
    # No test found, a wrong argument, a crash: what ends badly without a failed test is a failure too.
    if exit_code and not results["failed"]:
        print(f"pytest ended with exit code {exit_code}")
        results["failed"] += 1
    return results


def _wait(process: subprocess.Popen[bytes]) -> int:
    """Ctrl-C reaches pytest as well; it is waited for, since its fixtures end the processes they started."""
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:
            continue


def read_report(report: Path) -> Counter[str]:
    """Counts from pytest's JUnit file; nothing when pytest did not come to write it."""
    if not report.exists():
        return Counter()
    # Our own file, written a moment ago.
    cases = list(ET.parse(report).iter("testcase"))  # noqa: S314
    return Counter(_outcome(case) for case in cases)


def _outcome(case: ET.Element) -> str:
    found = {child.tag for child in case}
    return "failed" if found & {"failure", "error"} else "skipped" if "skipped" in found else "passed"


def verdict(results: Counter[str]) -> str:
    skipped = f", {results['skipped']} skipped" if results["skipped"] else ""
    return f"{results['passed']} passed, {results['failed']} failed{skipped}"


def main(words: list[str]) -> int:
    if {"-h", "--help"} & set(words):
        print(re.sub(r"``?", "", __doc__ or ""))
        return 0
    environment.ensure("dev")
    everything = not set(words) - {"--soak", "--release"}
    results: Counter[str] = Counter()
    if everything:
        results += run_checks()
    if "--release" in words:
        built = build_executable()
        results += built
        if built["failed"]:
            words = [word for word in words if word != "--release"]
    # The long runs measure how quick things are, and whoever looks at a part wants to see it in order.
    results += run_pytest(words if "--soak" in words or not everything else [*words, *SIDE_BY_SIDE])
    print(verdict(results))
    return 1 if results["failed"] else 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
