"""The gateway is killed while it takes in many small files at once: all of them or none, and nothing left over."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest

from cluster.test_gateway_crashes import QUICK, Crashes
from cluster_harness import Cluster
from user import User, small_file

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from cloudgrpc.pb import cloud_storage_pb2 as pb
    from postgres import Postgres

pytestmark = pytest.mark.timeout(300)

FILES = [small_file(f"file{number}", b"new %d" % number, request_id=f"{number}") for number in range(10)]
SIZE = sum(len(file.content) for file in FILES)
NUMBERS = itertools.count(1)
COMMITTED = "after commit 1"
SOAK = pytest.mark.soak
MOMENTS = ["after begin 1", "after put 5", pytest.param("before commit 1", marks=SOAK), COMMITTED]
MOMENTS += [pytest.param(f"after _add_version {number}", marks=SOAK) for number in (1, 10)]


class Batches(Crashes):
    def send(self, user: User, _request_id: str) -> object:
        return user.upload_small(*FILES)


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgres", marks=SOAK)])
def crashes(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, postgres: Postgres
) -> Iterator[Batches]:
    database = postgres.fresh_database() if request.param == "postgres" else None
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("CRASH_ORDERS", "orders")
        cluster = Cluster(tmp_path_factory.mktemp("batches"), nodes=0, capacity_gb=200, database=database, **QUICK)
        try:
            batches = Batches(cluster)
            batches.start()
            yield batches
        finally:
            cluster.close()
            if database is not None:
                postgres.drop(database)


@pytest.mark.parametrize("moment", MOMENTS)
def test_after_a_crash_there_are_all_files_of_a_batch_or_none(crashes: Batches, moment: str) -> None:
    user = crashes.cluster.enroll(f"person{next(NUMBERS)}@example.org")
    assert crashes.crash(user, moment) == -9, "it did crash"
    before = user.names()
    assert len(before) == (len(FILES) if moment == COMMITTED else 0)
    assert crashes.cluster.used_bytes(user.email)[0] == (SIZE if before else 0)
    outcomes = user.upload_small(*FILES)
    check(user, outcomes)
    assert user.upload_small(*FILES) == outcomes


def test_what_nobody_sends_again_is_gone_in_the_end(crashes: Batches) -> None:
    user = crashes.cluster.enroll("gone@example.org")
    crashes.crash(user, "after put 5")
    crashes.settle()
    assert user.names() == []
    assert crashes.cluster.used_bytes(user.email) == (0, 0)
    assert crashes.cluster.rows("SELECT * FROM upload_chunk") == []


def check(user: User, outcomes: Sequence[pb.UploadOutcome]) -> None:
    assert [outcome.version for outcome in outcomes] == [1] * len(FILES)
    assert sorted(user.names()) == sorted(file.metadata.filename for file in FILES)
    for file, outcome in zip(FILES, outcomes, strict=True):
        assert user.download(outcome.file_id) == file.content
    assert user.cluster.used_bytes(user.email) == (SIZE, 0)
