"""Makes what test_upgrades.py opens: the data of a cluster as the program of an earlier schema left it.

    NNNN_name.sqlite.tar.gz      data/           the data folder: metadata.sqlite3, node storage, secrets
                                 truth.json      what a person had in it
    NNNN_name.postgres.tar.gz    data/           the same without metadata.sqlite3
                                 database.sql    the database, by pg_dump
                                 truth.json

Before a new schema step is merged, what the program before it leaves is kept: check that program out beside this one,
and have today's harness fill a cluster of it, on both engines:

    git worktree add --detach /tmp/before COMMIT            the last commit without the new step
    .venv/bin/python tests/upgrades/make.py /tmp/before     writes both archives, about 30 s
    git worktree remove /tmp/before

The old program runs as it is, from its own checkout, with the packages of this one. What its time did not have yet (see
SINCE) is left out; what a new step brings is to be added here, so that the archive after it holds some of it.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import random
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parents[1])]

from cloudgrpc.pb import cloud_storage_pb2 as pb  # noqa: E402 - found by the line above
from cluster_harness import Cluster  # noqa: E402
from operating import admin_key  # noqa: E402
from postgres import Database, Postgres, wheel_install  # noqa: E402
from sandbox import SandboxServer  # noqa: E402

if TYPE_CHECKING:
    from user import User

# What a cluster can have, by the number of the step that brought it.
SINCE = {"versions": 1, "closing": 2, "drive": 3, "payments": 4, "operators": 5, "sealing": 6}
CHUNK = 4 << 20
YEARS_S = 50 * 365 * 86400
# What has an end keeps it for as long as this is tested.
LASTING: dict[str, Any] = {
    "drive_upload_days": 50 * 365,
    "drive_trash_days": 50 * 365,
    "upkeep_closed_account_s": YEARS_S,
}
# A sandbox is refused on PostgreSQL, where real customers are; nothing else of the program is other than it was.
WITH_SANDBOX = """
from cloudgrpc import cli
from cloudgrpc.servers import gateway
gateway._check_campay = lambda config: None
cli.main()
"""


class OldCluster(Cluster):
    """Of the program in another checkout, which refuses settings that it does not know."""

    def __init__(self, checkout: Path, folder: Path, database: Database | None, **settings: object) -> None:
        self.checkout = checkout
        self.known = _settings_of(checkout)
        super().__init__(folder, nodes=2, capacity_gb=2, database=database, **settings)

    def environment(self, **settings: object) -> dict[str, str]:
        variables = super().environment(**settings)
        unknown = {f"CLOUDGRPC_{key.upper()}" for key in {**self.settings, **settings} if key not in self.known}
        return {
            **{key: value for key, value in variables.items() if key not in unknown},
            "PYTHONPATH": str(self.checkout),
        }


def make(checkout: Path, server: Postgres, into: Path) -> None:
    name = max((checkout / "cloudgrpc" / "meta" / "migrations").glob("[0-9]*.py")).stem
    for engine in ("sqlite", "postgres"):
        database = server.fresh_database() if engine == "postgres" else None
        with tempfile.TemporaryDirectory() as folder, SandboxServer() as campay:
            settings = {**LASTING, **campay.variables()}
            cluster = OldCluster(checkout, Path(folder), database, **settings)
            try:
                launcher = None
                if database:
                    launcher = Path(folder) / "launcher.py"
                    launcher.write_text(WITH_SANDBOX)
                cluster.start_gateway(launcher)
                for node in ("node1", "node2"):
                    cluster.start_node(node)
                truth = fill(cluster, int(name[:4]))
                for program in reversed(cluster.programs.values()):  # the nodes first, so that nothing is on its way
                    program.stop()
            except BaseException:
                print(cluster.tail())
                raise
            finally:
                cluster.close()
            path = into / f"{name}.{engine}.tar.gz"
            _pack(path, cluster.data, {"step": name, **truth}, dump(database) if database else b"")
            print(f"{path.name}: {path.stat().st_size >> 10} KiB", flush=True)


def fill(cluster: OldCluster, step: int) -> dict[str, Any]:
    """People and what they do. Returns what is to be found again."""
    has = {what: since <= step for what, since in SINCE.items()}
    alice, bob = cluster.enroll("alice@example.org", "Alice Ngo"), cluster.enroll("bob@example.org", "Bob Tabi")
    truth: dict[str, Any] = {"people": [alice.email, bob.email], "files": {}}
    folder = alice.mkdir("photos")
    inner = alice.mkdir("2026 \u2013 été", folder)
    files = truth["files"]
    for name, size, place, path in [
        ("empty.txt", 0, "", "/empty.txt"),
        ("letter.txt", 100, "", "/letter.txt"),
        ("beach.jpg", 9_000, inner, "/photos/2026 \u2013 été/beach.jpg"),
        ("café \U0001f40d.bin", 3_000, folder, "/photos/café \U0001f40d.bin"),
    ]:
        files[path] = _upload(alice, name, size, place, seed=path)
    _upload(alice, "notes.txt", 500, "", seed="notes 1")
    files["/notes.txt"] = _upload(alice, "notes.txt", 700, "", seed="notes 2")
    trashed = alice.upload("old.txt", _bytes("old", 300))
    alice.delete(trashed.file_id)
    truth["trash"] = ["old.txt"]
    gone = alice.upload("gone.txt", _bytes("gone", 300))
    alice.delete(gone.file_id, permanent=True)
    if has["closing"]:
        carol = cluster.enroll("carol@example.org", "Carol")
        _upload(carol, "hers.txt", 200, "", seed="hers")
        cluster.auth.CloseAccount(
            pb.CloseAccountRequest(session_token=carol.token, verification_token=cluster.prove(carol.email))
        )
        truth["closed"] = carol.email
    if has["drive"]:
        truth |= _use_drive(cluster, alice, bob, folder)
    if has["payments"]:
        truth["payments"] = _buy(cluster, alice)
    if has["operators"]:
        truth |= _steer(cluster)
    truth["used_bytes"] = alice.storage().used_bytes
    truth["quota_bytes"] = alice.storage().allocated_bytes
    return truth


def _use_drive(cluster: OldCluster, alice: User, bob: User, folder: str) -> dict[str, Any]:
    alice.share(folder, bob.email, "read")
    alice.share(alice.resolve("/letter.txt").file.file_id, "nobody-yet@example.org", "write")
    upload_id = alice.begin("unfinished.bin", CHUNK + 1000)
    pieces = [
        pb.PutChunksRequest(header=pb.PutChunksHeader(session_token=alice.token, upload_id=upload_id, first=1, count=1))
    ]
    pieces.append(pb.PutChunksRequest(chunk_data=_bytes("unfinished", 1000)))
    cluster.uploads.PutChunks(iter(pieces))
    return {"shared_with": bob.email, "shared": "photos", "unfinished": "unfinished.bin"}


def _buy(cluster: OldCluster, alice: User) -> list[str]:
    """Bought, declined, and under way; the states of Alice's, the newest first."""
    for phone, tier, ends in [
        ("237670000001", "starter", "completed"),
        ("237670000011", "basic", "failed"),
        ("237670000012", "premium", ""),
    ]:
        payment = alice.buy(phone, tier).payment_id
        if ends:
            cluster.wait(lambda: alice.payment(payment).status == ends, what=f"a payment that is {ends}")  # noqa: B023
    asked = pb.GetPaymentHistoryRequest(session_token=alice.token)
    return [payment.status for payment in cluster.payments.GetPaymentHistory(asked).payments]


def _steer(cluster: OldCluster) -> dict[str, Any]:
    key = admin_key(cluster)
    dave = cluster.enroll("dave@example.org", "Dave")
    cluster.admin.SetQuota(pb.SetQuotaRequest(admin_key=key, user=dave.email, quota_bytes=7_000_000))
    request = pb.SetUserDisabledRequest(admin_key=key, user=dave.email, disabled=True, reason="a trial")
    cluster.admin.SetUserDisabled(request)
    added = cluster.admin.AddAdminKey(pb.AddAdminKeyRequest(admin_key=key, name="ops", role="operate"))
    return {"disabled": dave.email, "further_key": added.key}


def _upload(who: User, name: str, size: int, folder: str, seed: str) -> str:
    """The digest of what was uploaded."""
    content = _bytes(seed, size)
    who.upload(name, content, folder=folder)
    return hashlib.sha256(content).hexdigest()


def _bytes(seed: str, size: int) -> bytes:
    return random.Random(seed).randbytes(size)


def _settings_of(checkout: Path) -> set[str]:
    ask = """
from cloudgrpc import config
for section, kind in config.sections().items():
    print(*(f"{section}_{key}" for key in kind.__struct_fields__))
"""
    environment = {**os.environ, "PYTHONPATH": str(checkout)}
    told = subprocess.run([sys.executable, "-c", ask], env=environment, cwd="/", stdout=subprocess.PIPE, check=True)
    return set(told.stdout.decode().split())


def dump(database: Database) -> bytes:
    words = ["-h", database.host, "-p", str(database.port), "-U", database.user, "--no-owner", database.name]
    return subprocess.run([str(wheel_install() / "bin" / "pg_dump"), *words], stdout=subprocess.PIPE, check=True).stdout


def _pack(path: Path, data: Path, truth: dict[str, Any], sql: bytes) -> None:
    with tarfile.open(path, "w:gz") as archive:
        archive.add(data, "data", filter=lambda entry: None if entry.name.endswith(".lock") else _nobodys(entry))
        parts = {"truth.json": json.dumps(truth, indent=1).encode(), **({"database.sql": sql} if sql else {})}
        for name, content in parts.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))


def _nobodys(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    return entry


if __name__ == "__main__":
    with contextlib.ExitStack() as ending:
        postgres = Postgres()
        ending.callback(postgres.stop)
        for folder in sys.argv[1:]:
            make(Path(folder).resolve(), postgres, HERE)
