"""Who is signed in, kept between runs: private, whole, and shared by shells that run at once."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from cloudgrpc.clients.session import SessionStore, SignIn, config_folder
from cloudgrpc.errors import LocalFile, SessionEnded

ALICE = SignIn("alice@example.org", "token-a")
BOB = SignIn("bob@example.org", "token-b")
WRITER = """
import sys
from pathlib import Path
from cloudgrpc.clients.session import SessionStore, SignIn
store = SessionStore(Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
for number in range(50):
    store.remember(f"{sys.argv[2]}:{number + 1}", SignIn(f"{sys.argv[2]}@example.org", f"token-{number}"))
"""


@pytest.fixture
def store(tmp_path: Path) -> SessionStore:
    return SessionStore(tmp_path / "cloudgrpc")


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_sign_in_is_there_in_the_next_run(store: SessionStore, tmp_path: Path) -> None:
    store.remember("localhost:50051", ALICE)
    assert SessionStore(tmp_path / "cloudgrpc").signed_in("LocalHost:50051") == ALICE


def test_every_gateway_has_its_own_sign_in(store: SessionStore) -> None:
    store.remember("one:1", ALICE)
    store.remember("two:2", BOB)
    store.forget("one:1")
    assert store.known("one:1") is None
    assert store.signed_in("two:2") == BOB


def test_nobody_signed_in_is_told_as_such(store: SessionStore) -> None:
    store.forget("one:1")
    with pytest.raises(SessionEnded):
        store.signed_in("one:1")


def test_only_the_owner_can_read_it(store: SessionStore, tmp_path: Path) -> None:
    folder = tmp_path / "cloudgrpc"
    folder.mkdir(mode=0o755)
    store.remember("one:1", ALICE)
    (folder / "sessions.json").chmod(0o644)
    store.remember("two:2", BOB)
    assert _mode(folder / "sessions.json") == 0o600
    assert _mode(folder) == 0o700


def test_two_shells_at_once_lose_nothing_of_each_other(tmp_path: Path) -> None:
    folder = tmp_path / "cloudgrpc"
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(folder), name], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        for name in ("one", "two")
    ]
    for writer in writers:
        assert writer.stdout
        assert writer.stdout.readline() == b"ready\n"
    for writer in writers:
        assert writer.stdin
        writer.stdin.write(b"go\n")
        writer.stdin.flush()
    for writer in writers:
        writer.communicate(timeout=60)
    assert [writer.returncode for writer in writers] == [0, 0]
    kept = json.loads((folder / "sessions.json").read_text())
    assert len(kept) == 100
    assert {path.name for path in folder.iterdir()} == {"sessions.json", "sessions.lock"}


@pytest.mark.parametrize(
    "damage", [b"", b"{", b"\xff\xfe", b"[]", b'{"one:1": {"email": 7}}', b'{"one:1": null}', b"[" * 100_000]
)
def test_a_damaged_file_means_signed_out_and_heals_at_the_next_sign_in(
    store: SessionStore, tmp_path: Path, damage: bytes
) -> None:
    store.remember("one:1", ALICE)
    (tmp_path / "cloudgrpc" / "sessions.json").write_bytes(damage)
    assert store.known("one:1") is None
    store.remember("two:2", BOB)
    assert store.signed_in("two:2") == BOB


def test_a_folder_that_cannot_be_made_is_told_by_its_path(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(LocalFile, match="file"):
        SessionStore(tmp_path / "file" / "cloudgrpc").remember("one:1", ALICE)


def test_the_folder_is_where_the_desktop_keeps_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/alice")
    monkeypatch.setenv("XDG_CONFIG_HOME", "/settings")
    assert config_folder() == Path("/settings/cloudgrpc")
    monkeypatch.setenv("XDG_CONFIG_HOME", "relative")
    assert config_folder() == Path("/home/alice/.config/cloudgrpc")
