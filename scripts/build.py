"""`python3 scripts/build.py`: makes one executable of the program, which needs no Python on the machine it runs on.

    scripts/build.py              dist/cloudgrpc, one file, which unpacks itself at every start
    scripts/build.py --onedir     dist/cloudgrpc-VERSION-SYSTEM-MACHINE, a folder that starts at once, and its .tar.gz
    scripts/build.py --both       the two of them
    --if-needed                   nothing, when they are there and made of the same sources

It runs on systems like the one it was made on: the same kind of processor, and a C library that is not older. What goes
in is pinned in scripts/locks, and how it is put together in build.spec.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import environment
from environment import ROOT

DIST, BUILD = ROOT / "dist", ROOT / "build"
FILE = DIST / "cloudgrpc"
MADE_OF = BUILD / "made-of.json"  # by kind, "file" or "folder", the digest of the sources that it was made of
SOURCES = ("cloudgrpc", "build.spec", "scripts/build.py", "scripts/locks", "config.toml", "LICENSE", "pyproject.toml")
COMPLETIONS = {"bash": "cloudgrpc.bash", "zsh": "_cloudgrpc", "fish": "cloudgrpc.fish"}


def folder() -> Path:
    return DIST / f"cloudgrpc-{version()}-{platform.system().lower()}-{platform.machine()}"


def archive() -> Path:
    return folder().with_name(f"{folder().name}.tar.gz")


def version() -> str:
    # Read, not imported: this runs before there is a .venv.
    found = re.search(r'^__version__ = "(.+)"$', (ROOT / "cloudgrpc" / "__init__.py").read_text("utf-8"), re.MULTILINE)
    assert found  # noqa: S101 - tests hold it
    return found[1]


def is_fresh(kind: str) -> bool:
    """Whether it is there, made of the sources as they are now."""
    results = [FILE] if kind == "file" else [folder(), archive()]
    try:
        made_of = json.loads(MADE_OF.read_text("utf-8")).get(kind)
    except (OSError, ValueError):
        return False
    return all(result.exists() for result in results) and made_of == sources_digest()


def sources_digest() -> str:
    digest = hashlib.sha256(f"{platform.python_version()} {platform.platform()}".encode())
    for source in SOURCES:
        path = ROOT / source
        for each in [path] if path.is_file() else sorted(path.rglob("*")):
            if each.is_file() and "__pycache__" not in each.parts:
                digest.update(f"{each.relative_to(ROOT)} {_sha256(each)}\n".encode())
    return digest.hexdigest()


def build(kinds: list[str]) -> None:
    """Make what is wanted, and only then put it in the place of what was there. Ends the program when it cannot."""
    made_of = sources_digest()
    if sys.platform == "linux" and not shutil.which("strip"):
        _give_up("there is no `strip` here, which halves the size (on Debian: apt install binutils)")
    fresh = BUILD / "fresh"
    shutil.rmtree(fresh, ignore_errors=True)
    _freeze(kinds, fresh)
    DIST.mkdir(exist_ok=True)
    if "folder" in kinds:
        _complete(fresh / "folder")
        _pack(fresh / "folder", fresh / archive().name)
        shutil.rmtree(folder(), ignore_errors=True)
        (fresh / "folder").rename(folder())
        (fresh / archive().name).replace(archive())
    if "file" in kinds:
        (fresh / "cloudgrpc").replace(FILE)
    known = json.loads(MADE_OF.read_text("utf-8")) if MADE_OF.exists() else {}
    MADE_OF.write_text(json.dumps({**known, **dict.fromkeys(kinds, made_of)}), "utf-8")


def _freeze(kinds: list[str], target: Path) -> None:
    environment.say("building, this takes about a minute")
    # Nothing of an earlier build but build/cache, which PyInstaller keeps by digest.
    shutil.rmtree(BUILD / "work", ignore_errors=True)
    BUILD.mkdir(exist_ok=True)
    # Which commit it is, and on which terms: where it runs there is neither git nor the metadata of packages.
    told = _run([str(environment.PYTHON), "-m", "cloudgrpc.about.bundle"], "what goes in could not be told")
    (BUILD / "bundle.json").write_bytes(told)
    command = [str(environment.PYTHON), "-m", "PyInstaller", str(ROOT / "build.spec"), "--noconfirm"]
    command += ["--distpath", str(target), "--workpath", str(BUILD / "work"), "--log-level", "WARN", "--", *kinds]
    _run(command, "PyInstaller failed")


def _run(command: list[str], failure: str) -> bytes:
    ran = subprocess.run(command, cwd=ROOT, env=_environment(), capture_output=True, check=False)
    if ran.returncode:
        lines = ran.stderr.decode(errors="replace").strip().splitlines()[-15:]
        _give_up(f"{failure}; its last lines:\n" + "\n".join(lines))
    return ran.stdout


def _environment() -> dict[str, str]:
    """Nothing of the developer's: the same sources are to give the same bytes."""
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(BUILD),
        "LC_ALL": "C.UTF-8",
        "PYTHONPATH": str(ROOT),
        "PYTHONSAFEPATH": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONHASHSEED": "0",  # the order of sets in compiled code
        "SOURCE_DATE_EPOCH": str(source_date()),
        "PYINSTALLER_CONFIG_DIR": str(BUILD / "cache"),
    }


def source_date() -> int:
    """Seconds since 1970, of the newest commit; without git the oldest date that every archive format knows."""
    ran = subprocess.run(["git", "log", "-1", "--format=%ct"], cwd=ROOT, capture_output=True, text=True, check=False)
    return int(ran.stdout) if not ran.returncode and ran.stdout.strip() else 315_532_800


def _complete(target: Path) -> None:
    """What belongs beside the program, and is made by it."""
    # The manual page tells the day of the program.
    os.utime(target / "cloudgrpc", (source_date(), source_date()))
    for name in ("LICENSE", "config.toml"):
        shutil.copy(ROOT / name, target)
    (target / "completion").mkdir()
    for shell, name in COMPLETIONS.items():
        (target / "completion" / name).write_bytes(_said_by(target, "completion", shell))
    (target / "cloudgrpc.1").write_bytes(_said_by(target, "man"))


def _said_by(target: Path, *words: str) -> bytes:
    # An empty environment, as it must work where there is no Python.
    ran = subprocess.run([str(target / "cloudgrpc"), *words], cwd=target, env={}, capture_output=True, check=False)
    if ran.returncode or not ran.stdout:
        _give_up(f"what was built fails at `cloudgrpc {' '.join(words)}`:\n{ran.stderr.decode(errors='replace')}")
    return ran.stdout


def _pack(source: Path, target: Path) -> None:
    """The same folder gives the same bytes, whoever packs it and when."""
    with (
        target.open("wb") as raw,
        gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=source_date()) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar,
    ):
        for path in [source, *sorted(source.rglob("*"))]:
            name = Path(folder().name, path.relative_to(source))
            tar.add(path, arcname=str(name), recursive=False, filter=_nobodys)


def _nobodys(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    entry.mtime = source_date()
    entry.mode = 0o755 if entry.isdir() or entry.mode & 0o100 else 0o644
    return entry


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def tell(kinds: list[str]) -> None:
    for path in [FILE] * ("file" in kinds) + [archive()] * ("folder" in kinds):
        print(f"{_typed(path)}   {path.stat().st_size / 1e6:.1f} MB\n  sha256 {_sha256(path)}\n")
    program = FILE if "file" in kinds else folder() / "cloudgrpc"
    print(f"Try it, anywhere:   {_typed(program)} demo-cluster")


def _typed(path: Path) -> str:
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def _give_up(words: str) -> None:
    environment.say(f"error: {words}")
    sys.exit(1)


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="build.py", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--onedir", action="store_true", help="a folder that starts at once, and a .tar.gz of it")
    parser.add_argument("--both", action="store_true", help="one file, and the folder")
    parser.add_argument("--if-needed", action="store_true", help="nothing, when the sources are the same")
    options = parser.parse_args(words)
    kinds = ["file", "folder"] if options.both else ["folder"] if options.onedir else ["file"]
    environment.ensure("build")
    if wanted := [kind for kind in kinds if not (options.if_needed and is_fresh(kind))]:
        build(wanted)
    tell(kinds)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
