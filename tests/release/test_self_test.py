"""The one file does the main job where there is nothing: no Python, no settings, no environment."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

import pytest

from cloudgrpc.errors import Exit
from executable_run import FILE


@pytest.mark.timeout(320)
def test_the_self_test_passes_in_an_empty_folder_without_any_environment(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [str(FILE), "demo-cluster", "--self-test"],
        cwd=tmp_path,
        env={},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    said, _ = process.communicate(timeout=300)
    assert process.returncode == Exit.OK, said
    assert "compared every byte once more" in said
    assert list(tmp_path.iterdir()) == []
    assert list(Path(tempfile.gettempdir()).glob(f"_MEI{process.pid:08x}*")) == []
