"""What each earlier program left opens with today's: nothing that people had is lost on the way."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import pytest

from cloudgrpc.meta import schema
from cloudgrpc.pb import cloud_storage_pb2 as pb
from cluster_harness import CALM
from operating import admin
from upgrades.kept import ENGINES, HERE, archive, unpack
from user import CALL_S, refused

if TYPE_CHECKING:
    from collections.abc import Callable

    from cluster_harness import Cluster
    from user import User

STEPS = sorted(path.stem for path in schema.STEPS.glob("[0-9]*.py"))
KEPT = sorted(path.name.removesuffix(".sqlite.tar.gz") for path in HERE.glob("*.sqlite.tar.gz"))
LASTING = {"drive_trash_days": 36_000, "drive_upload_days": 36_000, "upkeep_event_days": 36_000}
# The first takes every step; the others on each engine are looked at in a long run. That they take their steps is also
# seen where they are copied from one engine to the other.
USUAL = {(KEPT[0], engine) for engine in ENGINES} | {(KEPT[-1], engine) for engine in ENGINES} | {(KEPT[3], "sqlite")}
BOTH = [
    pytest.param(step, engine, marks=[] if (step, engine) in USUAL else [pytest.mark.soak])
    for engine in ENGINES
    for step in KEPT
]


def test_every_schema_but_the_newest_is_kept_on_both_engines() -> None:
    missing = [archive(step, engine).name for step in STEPS[:-1] for engine in ENGINES]
    missing = [name for name in missing if not (HERE / name).exists()]
    assert not missing, f"make them by tests/upgrades/make.py: {missing}"


@pytest.mark.parametrize(("step", "engine"), BOTH)
def test_what_an_earlier_program_left_is_all_there(
    step: str, engine: str, make_cluster: Callable[..., Cluster], request: pytest.FixtureRequest
) -> None:
    database = request.getfixturevalue("postgres_database") if engine == "postgres" else None
    cluster = make_cluster(start=False, nodes=0, database=database, **{**CALM, **LASTING})
    truth = unpack(step, engine, cluster.folder, database)
    assert _steps(cluster) == STEPS[: STEPS.index(step) + 1]
    cluster.start_gateway()
    assert _steps(cluster) == STEPS
    for node in ("node1", "node2"):
        cluster.start_node(node, ready=False)
    for node in ("node1", "node2"):  # which the kept rows call online, at the ports of then
        out = cluster.node(node).out
        cluster.wait(lambda out=out: "joined the gateway" in out.read_text(), what=f"{node} taken in")

    alice, bob = (cluster.login(email) for email in truth["people"])
    for path, digest in truth["files"].items():
        assert hashlib.sha256(_content(alice, path)).hexdigest() == digest, path
    trash = cluster.history.ListTrash(pb.ListTrashRequest(session_token=alice.token), timeout=CALL_S)
    assert [entry.name for entry in trash.entries] == truth["trash"]
    notes = pb.ListVersionsRequest(session_token=alice.token, file_id=alice.resolve("/notes.txt").file.file_id)
    assert [version.file_size for version in cluster.history.ListVersions(notes).versions] == [700, 500]
    space = alice.storage()
    assert (space.used_bytes, space.allocated_bytes) == (truth["used_bytes"], truth["quota_bytes"])
    _check_sharing(alice, bob, truth)
    _check_money(cluster, alice, truth)
    _check_accounts(cluster, truth)
    assert alice.upload("new.txt", b"today").success
    assert _content(alice, "/new.txt") == b"today"
    admin(cluster, "check")  # which fails when metadata and nodes do not agree


def _check_sharing(alice: User, bob: User, truth: dict[str, Any]) -> None:
    if "shared" in truth:
        assert [share.filename for share in bob.shared_with_me()] == [truth["shared"]]
        assert len(alice.shares()) == 2
    if "unfinished" in truth:
        begun = alice.cluster.uploads.ListUploads(pb.ListUploadsRequest(session_token=alice.token), timeout=CALL_S)
        (upload,) = begun.uploads
        assert (upload.filename, upload.stored_bytes) == (truth["unfinished"], 1000)


def _check_money(cluster: Cluster, alice: User, truth: dict[str, Any]) -> None:
    asked = pb.GetPaymentHistoryRequest(session_token=alice.token)
    payments = cluster.payments.GetPaymentHistory(asked, timeout=CALL_S).payments
    assert [payment.status for payment in payments] == truth.get("payments", [])


def _check_accounts(cluster: Cluster, truth: dict[str, Any]) -> None:
    if "closed" in truth:
        assert cluster.rows(f"SELECT closes_at IS NOT NULL FROM account WHERE email = '{truth['closed']}'") == [(1,)]
    if "disabled" in truth:
        with refused("PERMISSION_DENIED", "account_disabled"):
            cluster.login(truth["disabled"])
    if "further_key" in truth:
        asked = pb.SystemStatusRequest(admin_key=truth["further_key"])
        assert cluster.admin.GetSystemStatus(asked, timeout=CALL_S).success


def _content(who: User, path: str) -> bytes:
    return who.download(who.resolve(path).file.file_id)


def _steps(cluster: Cluster) -> list[str]:
    return [name for (name,) in cluster.rows("SELECT name FROM schema_step ORDER BY name")]
