"""Many small uploads in one transaction: each is for itself, and all of them together keep to the quota."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from cloudgrpc.errors import Missing, NameTaken, QuotaExceeded, ReadOnlyShare, UploadEnded, VersionMoved
from cloudgrpc.meta import changes, files, sharing, small_uploads, uploads
from cloudgrpc.meta.models import Receipt, Upload, UploadChunk, new_id
from cloudgrpc.meta.sharing import Terms
from cloudgrpc.meta.small_uploads import Sent, Wanted
from cloudgrpc.meta.uploads import Answer, Opened, Planned, Stored, Wish
from contract.meta_fixture import HOUR, KEEP, LIMITS, MIME, Meta

if TYPE_CHECKING:
    from cloudgrpc.errors import CloudError
    from cloudgrpc.meta.accounts import Caller

SIZE = 10


@pytest.fixture
def alice(database: Meta) -> Caller:
    return database.enroll(quota=1000)


@pytest.fixture
def bob(database: Meta) -> Caller:
    return database.enroll()


def wanted(person: Caller, name: str, *, parent_id: str = "", request_id: str = "", **more: Any) -> Wanted:
    """A file of one chunk."""
    wish = Wish(person, parent_id, name, SIZE, MIME, request_id, **more)
    return Wanted(new_id(), wish, [Planned(0, new_id())])


def begin(database: Meta, *them: Wanted) -> list[Any]:
    return database.run(small_uploads.begin, them, HOUR, LIMITS)


def sent(one: Wanted, on: tuple[str, ...] = ("pool",), quorum: int = 1) -> Sent:
    stored = [Stored(planned.chunk_id, SIZE, f"sum-{planned.chunk_id}", on) for planned in one.planned]
    return Sent(one.upload_id, stored, "blake3:00", quorum)


def commit(database: Meta, *them: Wanted) -> list[Answer | CloudError]:
    return database.run(small_uploads.commit, [sent(one) for one in them], KEEP)


def kinds(outcomes: list[Any]) -> list[type]:
    return [type(outcome) for outcome in outcomes]


def names(database: Meta, person: Caller, folder_id: str = "") -> list[str]:
    page = database.read(files.page, person, folder_id, with_trash=False, after=None, limit=100)
    return [file.name for file in page.files]


def test_one_that_is_refused_leaves_the_others_as_they_are(database: Meta, alice: Caller) -> None:
    database.mkdir(alice, "taken")
    them = [
        wanted(alice, "a"),
        wanted(alice, "nowhere", parent_id=new_id()),
        wanted(alice, "taken"),
        wanted(alice, "moved", expected_version=3),
        wanted(alice, "b"),
    ]
    begun = begin(database, *them)
    assert kinds(begun) == [Opened, Missing, NameTaken, VersionMoved, Opened]
    assert database.used(alice.account_id) == (0, 2 * SIZE)
    assert database.run(Upload.select().count) == 2
    assert kinds(commit(database, them[0], them[4])) == [Answer, Answer]
    assert names(database, alice) == ["a", "b"]
    assert database.events("file.uploaded") == 2
    assert database.run(UploadChunk.select().count) == 0
    database.check_books(alice)


def test_a_quota_that_suffices_for_some_takes_those_that_come_first(database: Meta, alice: Caller) -> None:
    database.sql(f"UPDATE account SET quota_bytes = {2 * SIZE + 1} WHERE account_id = '{alice.account_id}'")
    them = [wanted(alice, f"file{number}") for number in range(4)]
    assert kinds(begin(database, *them)) == [Opened, Opened, QuotaExceeded, QuotaExceeded]
    assert database.used(alice.account_id) == (0, 2 * SIZE)
    assert kinds(commit(database, *them[:2])) == [Answer, Answer]
    assert database.used(alice.account_id) == (2 * SIZE, 0)


def test_the_same_name_twice_makes_two_versions_of_one_file(database: Meta, alice: Caller) -> None:
    them = [wanted(alice, "a"), wanted(alice, "a")]
    begin(database, *them)
    first, second = commit(database, *them)
    assert isinstance(first, Answer)
    assert isinstance(second, Answer)
    assert (first.file_id, first.version, second.version) == (second.file_id, 1, 2)


def test_of_two_that_both_want_to_be_the_first_one_is(database: Meta, alice: Caller) -> None:
    them = [wanted(alice, "a", expected_version=0), wanted(alice, "a", expected_version=0)]
    begin(database, *them)
    assert kinds(commit(database, *them)) == [Answer, VersionMoved]
    database.run(small_uploads.abandon, [one.upload_id for one in them])
    assert database.used(alice.account_id) == (SIZE, 0)
    database.check_books(alice)


def test_asked_again_each_gets_its_first_answer(database: Meta, alice: Caller) -> None:
    def asked() -> list[Wanted]:
        return [wanted(alice, name, request_id=name) for name in ("a", "b", "c")]

    first = asked()
    begin(database, *first)
    answers = commit(database, *first[:2])
    again = begin(database, *asked())
    assert again[:2] == answers
    assert isinstance(again[2], Opened), "it was left open: the new one takes its place"
    assert kinds(commit(database, first[2])) == [UploadEnded]
    assert database.used(alice.account_id) == (2 * SIZE, SIZE)


def test_a_retry_that_is_refused_leaves_the_first_try_open(database: Meta, alice: Caller) -> None:
    first, again = wanted(alice, "a", request_id="r"), wanted(alice, "a", request_id="r", expected_version=3)
    begin(database, first)
    assert kinds(begin(database, again, wanted(alice, "b"))) == [VersionMoved, Opened]
    assert kinds(commit(database, first)) == [Answer]


def test_when_their_leases_ran_out_none_is_committed_and_all_are_abandoned(database: Meta, alice: Caller) -> None:
    them = [wanted(alice, "a"), wanted(alice, "b")]
    begin(database, *them)
    database.age("upload", "lease_until_at", 2 * HOUR)
    assert kinds(commit(database, *them)) == [UploadEnded, UploadEnded]
    left = database.run(uploads.expired, 10)
    assert sorted(left) == sorted(one.upload_id for one in them)
    database.run(small_uploads.abandon, left)
    assert database.used(alice.account_id) == (0, 0)
    assert names(database, alice) == []
    assert database.events("upload.abandoned") == 2


def test_one_whose_folder_went_or_that_lacks_its_quorum_fails_alone(database: Meta, alice: Caller) -> None:
    folder = database.mkdir(alice, "gone")
    them = [wanted(alice, "a"), wanted(alice, "b", parent_id=folder), wanted(alice, "c")]
    begin(database, *them)
    database.run(changes.trash, alice, folder)
    told = [sent(them[0]), sent(them[1]), sent(them[2], quorum=2)]
    assert kinds(database.run(small_uploads.commit, told, KEEP)) == [Answer, UploadEnded, UploadEnded]
    assert names(database, alice) == ["a"]
    assert database.run(Receipt.select().count) == 0, "nothing stays of what failed half way"
    database.run(small_uploads.abandon, [one.upload_id for one in them])
    assert database.used(alice.account_id) == (SIZE, 0)
    database.check_books(alice)


@pytest.mark.parametrize(("permission", "kind"), [("read", ReadOnlyShare), ("write", Opened)])
def test_a_folder_of_somebody_else_takes_what_its_share_allows(
    database: Meta, alice: Caller, bob: Caller, permission: str, kind: type
) -> None:
    folder, secret = database.mkdir(alice, "shared"), database.mkdir(alice, "secret")
    database.run(sharing.share, alice, folder, bob.email, Terms(permission, None))
    them = [wanted(bob, "a", parent_id=folder), wanted(bob, "b", parent_id=secret), wanted(bob, "c")]
    assert kinds(begin(database, *them)) == [kind, Missing, Opened]
    opened = [one for one in them if database.run(Upload.get_or_none, Upload.upload_id == one.upload_id)]
    assert {*kinds(commit(database, *opened))} == {Answer}
    assert database.used(alice.account_id) == (SIZE if kind is Opened else 0, 0)
    assert database.used(bob.account_id) == (SIZE, 0)


def test_batches_into_the_same_drives_at_once_do_not_wait_for_each_other_in_a_ring(
    database: Meta, alice: Caller, bob: Caller, postgres_deadlocks: Any
) -> None:
    of_alice, of_bob = database.mkdir(alice, "shared"), database.mkdir(bob, "shared")
    database.run(sharing.share, alice, of_alice, bob.email, Terms("write", None))
    database.run(sharing.share, bob, of_bob, alice.email, Terms("write", None))
    before = postgres_deadlocks()
    batches = [
        [wanted(person, f"{number}{person.email}{place}", parent_id=place) for place in places]
        for number in range(4)
        for person, places in ((alice, [of_alice, of_bob]), (bob, [of_bob, of_alice]))
    ]
    for begun in database.race([partial(small_uploads.begin, batch, HOUR, LIMITS) for batch in batches]):
        assert kinds(begun) == [Opened, Opened]
    commits = [partial(small_uploads.commit, [sent(one) for one in batch], KEEP) for batch in batches]
    for answers in database.race(commits):
        assert kinds(answers) == [Answer, Answer]
    assert postgres_deadlocks() == before
    assert database.used(alice.account_id) == (8 * SIZE, 0) == database.used(bob.account_id)


@pytest.fixture
def postgres_deadlocks(database: Meta, request: pytest.FixtureRequest) -> Any:
    """How many the server has found."""
    if not database.is_postgres:
        return lambda: 0
    log = request.getfixturevalue("postgres").folder / "log"
    return lambda: log.read_text(errors="replace").count("deadlock detected")
