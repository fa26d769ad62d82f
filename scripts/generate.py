"""Generates cloudgrpc/pb from proto/, typed; with `--check`, only tells whether the committed code is up to date.

The digest of the proto goes into cloudgrpc/pb/__init__.py, so that a start sees stale code without running protoc.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import environment
from environment import ROOT

PROTO = "cloudgrpc/pb/cloud_storage.proto"
PACKAGE = Path("cloudgrpc") / "pb"
OPENING = '"""Generated from proto/ by scripts/generate.py; never edited."""\n\n# sha256 of the proto: {digest}\n'


def generate(target: Path) -> None:
    """Write the package cloudgrpc/pb below `target`."""
    (target / PACKAGE).mkdir(parents=True, exist_ok=True)
    scripts = environment.VENV / "bin"
    plugins = [f"--plugin=protoc-gen-{name}={scripts / f'protoc-gen-{name}'}" for name in ("mypy", "mypy_grpc")]
    outputs = [f"--{kind}_out={target}" for kind in ("python", "grpc_python")]
    outputs += [f"--{kind}_out=quiet:{target}" for kind in ("mypy", "mypy_grpc")]
    protoc = [str(environment.PYTHON), "-m", "grpc_tools.protoc", f"-I{ROOT / 'proto'}", *plugins, *outputs, PROTO]
    subprocess.run(protoc, check=True)
    # Last, so that a generation broken off stays stale.
    opening = OPENING.format(digest=environment.proto_digest())
    (target / PACKAGE / "__init__.py").write_text(opening, encoding="utf-8")


def differences() -> list[str]:
    """Names of the files that are missing, left over, or different from what the proto gives."""
    with tempfile.TemporaryDirectory() as folder:
        generate(Path(folder))
        fresh, committed = _contents(Path(folder) / PACKAGE), _contents(ROOT / PACKAGE)
    return sorted(name for name in fresh.keys() | committed.keys() if fresh.get(name) != committed.get(name))


def _contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.py*") if path.is_file()}


def main(words: list[str]) -> int:
    if words not in ([], ["--check"]):
        print("usage: python3 scripts/generate.py [--check]", file=sys.stderr)
        return 2
    if not words:
        generate(ROOT)
        return 0
    stale = differences()
    if stale:
        print(f"stale: {', '.join(stale)}; run: python3 scripts/generate.py")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
