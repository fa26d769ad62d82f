"""Several people and their drives, with everything that can be done in them in any order, against a simple model."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from cloudgrpc.errors import CloudError
from cloudgrpc.meta import changes, copying, files, sharing, sweeping, trash, tree, uploads, versions
from cloudgrpc.meta.changes import Move, Removal
from cloudgrpc.meta.copying import CopyTo
from cloudgrpc.meta.db import now, rows
from cloudgrpc.meta.models import Chunk, Extent, new_id
from cloudgrpc.meta.sharing import Terms
from cloudgrpc.meta.trash import Place
from cloudgrpc.meta.uploads import Planned, Stored, Wish
from contract.drive_model import Model
from contract.meta_fixture import HOUR, MIME, Meta

if TYPE_CHECKING:
    from collections.abc import Callable

    from cloudgrpc.meta.accounts import Caller

LIMITS = tree.Limits(max_depth=3, max_path_bytes=24)
KEEP = 3
QUOTA = 200
PEOPLE = ["alice", "bob", "carol"]
PERSON = st.sampled_from(PEOPLE)
NAME = st.sampled_from(["a", "b", "c.txt", "é (2)"])
NEW_NAME = st.sampled_from(["", "a", "b", "c.txt"])
ANY = st.integers(0, 1 << 30)  # of what there is, the one that this falls on
EXPECTED = st.sampled_from([None, None, None, 0, 1, 2])


class Drives(RuleBasedStateMachine):
    database: Meta

    def __init__(self) -> None:
        super().__init__()
        self.model = Model(LIMITS, KEEP)
        self.people: dict[str, Caller] = {}
        self.contents = 0
        for person in PEOPLE:
            self.people[person] = self.database.enroll(quota=QUOTA)
            self.model.join(person, self.people[person].root_id, QUOTA)
        self.known = list(self.model.things)  # every id that ever was, but for those of what was copied

    def pick(self, which: int) -> str:
        """An id: of something live, in a trash, or gone."""
        ids = [*self.known, *self.model.things, *self.model.things]
        return ids[which % len(ids)]

    def both(self, modelled: Callable[[], Any], real: Callable[[], Any]) -> tuple[Any, Any]:
        """What the model and the database come to, of which either both fail alike or none."""
        expected, found = (_outcome(functools.partial(self.database.run, real)), _outcome(modelled))[::-1]
        if isinstance(expected, CloudError) or isinstance(found, CloudError):
            assert type(found) is type(expected), (found, expected)
            return None, None
        return expected, found

    @rule(person=PERSON, parent=ANY, name=NAME)
    def make_folder(self, person: str, parent: int, name: str) -> None:
        parent_id = self.pick(parent)
        made, folder = self.both(
            lambda: self.model.make_folder(person, parent_id, name),
            lambda: changes.make_folder(self.people[person], parent_id, name, LIMITS),
        )
        if made:
            made(folder.folder_id)
            self.known.append(folder.folder_id)

    @rule(person=PERSON, parent=ANY, name=NAME, size=st.integers(0, 40), expected=EXPECTED)
    def upload(self, person: str, parent: int, name: str, size: int, expected: int | None) -> None:
        self.write(person, self.pick(parent), name, size, expected)

    def write(self, person: str, parent_id: str, name: str, size: int, expected: int | None) -> None:
        self.contents += 1
        content = (f"blake3:{self.contents}", size)
        wish = Wish(self.people[person], parent_id, name, size, MIME, "", expected)
        made, answer = self.both(
            lambda: self.model.upload(person, parent_id, name, content, expected),
            lambda: _upload(wish, content[0]),
        )
        if made:
            made(answer.file_id)
            self.known.append(answer.file_id)

    @rule(file=ANY, grantee=PERSON, times=st.integers(1, KEEP + 1))
    def let_write_over(self, file: int, grantee: str, times: int) -> None:
        """Up to so often that nothing else would be left of it, if only the number of its versions counted."""
        ids = [one.entry_id for one in self.model.things.values() if not one.is_folder]
        if not ids:
            return
        file_id = ids[file % len(ids)]
        owner = self.model.things[file_id].owner
        if grantee != owner:
            self.both(
                lambda: self.model.share(owner, file_id, grantee, "write"),
                lambda: sharing.share(
                    self.people[owner], file_id, self.people[grantee].email, Terms("write", now() + HOUR)
                ),
            )
        for _ in range(times):
            self.write(grantee, file_id, "any", 1, None)

    @rule(person=PERSON, entry=ANY, folder=ANY, name=NEW_NAME, expected=EXPECTED)
    def move(self, person: str, entry: int, folder: int, name: str, expected: int | None) -> None:
        entry_id, folder_id = self.pick(entry), self.pick(folder)
        self.both(
            lambda: self.model.move(person, entry_id, folder_id, name, expected),
            lambda: changes.move(self.people[person], entry_id, Move(folder_id, name, expected), LIMITS),
        )

    @rule(person=PERSON, entry=ANY, name=NAME)
    def rename(self, person: str, entry: int, name: str) -> None:
        entry_id = self.pick(entry)
        self.both(
            lambda: self.model.move(person, entry_id, None, name, None),
            lambda: changes.move(self.people[person], entry_id, Move(None, name), LIMITS),
        )

    @rule(person=PERSON, entry=ANY, folder=ANY, name=NEW_NAME, replace=st.booleans(), expected=EXPECTED)
    def copy(self, person: str, entry: int, folder: int, name: str, replace: bool, expected: int | None) -> None:
        entry_id, folder_id = self.pick(entry), self.pick(folder)
        made, copied = self.both(
            lambda: self.model.copy(person, entry_id, folder_id, name, replace=replace, expected=expected),
            lambda: copying.copy(
                self.people[person], entry_id, CopyTo(folder_id, name, replace, expected), LIMITS, KEEP
            ),
        )
        if made:
            self.database.run(made, _id_of)
            assert copied.entry_id in self.model.things

    @rule(person=PERSON, entry=ANY, only_empty=st.booleans(), expected=EXPECTED)
    def trash(self, person: str, entry: int, only_empty: bool, expected: int | None) -> None:
        entry_id = self.pick(entry)
        self.both(
            lambda: self.model.trash(person, entry_id, expected, only_empty=only_empty),
            lambda: changes.trash(
                self.people[person], entry_id, Removal(expected_version=expected, only_empty=only_empty)
            ),
        )

    @rule(person=PERSON, entry=ANY)
    def purge(self, person: str, entry: int) -> None:
        entry_id = self.pick(entry)
        self.both(
            lambda: self.model.purge(person, entry_id),
            lambda: changes.purge(self.people[person], entry_id),
        )

    @rule(
        person=PERSON,
        entry=ANY,
        folder=st.one_of(st.none(), ANY),
        name=NEW_NAME,
        make_room=st.booleans(),
    )
    def restore(self, person: str, entry: int, folder: int | None, name: str, make_room: bool) -> None:
        trashed = self.model.trash_of(person)
        entry_id = trashed[entry % len(trashed)].entry_id if trashed and entry % 3 else self.pick(entry)
        folder_id = None if folder is None else self.pick(folder)
        self.both(
            lambda: self.model.restore(person, entry_id, folder_id, name, make_room=make_room),
            lambda: trash.restore(self.people[person], entry_id, Place(folder_id, name, make_room), LIMITS),
        )

    @rule(person=PERSON, is_over=st.booleans())
    def empty_trash(self, person: str, is_over: bool) -> None:
        """By its owner, or since its time is over."""
        caller, count = self.people[person], len(self.model.trash_of(person))
        if is_over:
            self.database.age("entry", "trashed_at", 2 * HOUR, f"account_id = '{caller.account_id}'")
            assert self.database.run(trash.end, self.database.run(trash.due, HOUR, 100), HOUR) == count
        else:
            assert self.database.run(trash.empty, caller, self.database.run(now), 100).entries == count
        self.model.empty_trash(person)

    @rule(person=PERSON, file=ANY, number=st.integers(0, 5), expected=EXPECTED)
    def restore_version(self, person: str, file: int, number: int, expected: int | None) -> None:
        file_id = self.pick(file)
        newest, told = self.both(
            lambda: self.model.restore_version(person, file_id, number, expected),
            lambda: versions.restore(self.people[person], file_id, number, expected, KEEP),
        )
        assert newest == told

    @rule(person=PERSON, file=ANY, number=st.integers(0, 5))
    def delete_version(self, person: str, file: int, number: int) -> None:
        file_id = self.pick(file)
        self.both(
            lambda: self.model.delete_version(person, file_id, number),
            lambda: versions.delete(self.people[person], file_id, number),
        )

    @rule(person=PERSON, entry=ANY, grantee=PERSON, permission=st.sampled_from(["read", "write"]))
    def share(self, person: str, entry: int, grantee: str, permission: str) -> None:
        entry_id = self.pick(entry)
        if grantee != person:
            self.both(
                lambda: self.model.share(person, entry_id, grantee, permission),
                lambda: sharing.share(
                    self.people[person], entry_id, self.people[grantee].email, Terms(permission, now() + HOUR)
                ),
            )

    @rule(which=ANY, is_over=st.booleans())
    def unshare(self, which: int, is_over: bool) -> None:
        """By its owner, or since its time is over."""
        if not self.model.shares:
            return
        entry_id, grantee = sorted(self.model.shares)[which % len(self.model.shares)]
        owner, email = self.model.things[entry_id].owner, self.people[grantee].email
        if is_over:
            self.database.age("share", "until_at", 2 * HOUR, f"entry_id = '{entry_id}' AND email = '{email}'")
        else:
            self.database.run(sharing.unshare_with, self.people[owner], entry_id, email)
        self.model.unshare(owner, entry_id, grantee)

    @rule(limit=st.integers(1, 4))
    def sweep(self, limit: int) -> None:
        self.database.run(sweeping.sweep, limit)

    @rule()
    def sweep_all(self) -> None:
        self.database.sweep()
        self.database.run(check_chunks)

    @invariant()
    def the_database_says_what_the_model_says(self) -> None:
        self.database.run(self.check)

    def check(self) -> None:
        for name, person in self.people.items():
            assert _listing(person, "") == self.listing(self.model.roots[name])
            assert _rights(person, self.model.things) == self.rights(name)
            tops, _ = trash.page(person, None, 100)
            assert {one.entry_id for one in tops} == {one.entry_id for one in self.model.trash_of(name)}
            room = files.room(person.account_id)
            assert room.used_bytes == self.model.used(name) <= QUOTA
            usage = files.usage(person)
            assert usage.live_bytes + usage.trash_bytes + usage.version_bytes == room.used_bytes, "a recount"
        for thing in self.model.things.values():
            if thing.versions and (view := self.model.view(thing.owner, thing.entry_id)):
                contents, _ = versions.page(self.people[view.thing.owner], thing.entry_id, None, 100)
                told = {one.version: (one.digest, one.size_bytes) for one in contents}
                assert told == thing.versions
                assert [one.version for one in contents if one.is_newest] == [thing.newest]

    def listing(self, folder_id: str) -> dict[str, Any]:
        return {
            name: self.listing(thing.entry_id)
            if thing.versions is None
            else (thing.newest, *thing.versions[thing.newest])
            for name, thing in self.model.held_by(folder_id).items()
        }

    def rights(self, person: str) -> dict[str, tuple[str, bool]]:
        views = {entry_id: self.model.view(person, entry_id) for entry_id in self.model.things}
        return {entry_id: (view.permission, view.is_top) for entry_id, view in views.items() if view}


def _outcome(work: Callable[[], Any]) -> Any:
    try:
        return work()
    except CloudError as error:
        return error


def _upload(wish: Wish, digest: str) -> uploads.Answer:
    upload_id, chunk_id = new_id(), new_id()
    planned = [Planned(0, chunk_id)] if wish.size_bytes else []
    assert isinstance(uploads.begin(upload_id, wish, planned, HOUR, LIMITS), uploads.Opened)
    stored = [Stored(chunk_id, wish.size_bytes, "sum", ("pool",))] if wish.size_bytes else []
    return uploads.commit(upload_id, stored, digest, 1, KEEP)


def _id_of(folder_id: str, name: str) -> str:
    child = tree.live_child(folder_id, name)
    assert child, name
    return child.entry_id


def _listing(person: Caller, folder_id: str) -> dict[str, Any]:
    page = files.page(person, folder_id, with_trash=False, after=None, limit=100)
    held: dict[str, Any] = {one.name: (one.version, one.digest, one.size_bytes) for one in page.files}
    return held | {one.name: _listing(person, one.folder_id) for one in page.folders}


def _rights(person: Caller, entry_ids: dict[str, Any]) -> dict[str, tuple[str, bool]]:
    reached = [one for entry_id in entry_ids if not isinstance(one := _outcome_of_reach(person, entry_id), CloudError)]
    return {one.entry_id: (one.permission, one.is_top) for one in reached}


def _outcome_of_reach(person: Caller, entry_id: str) -> Any:
    return _outcome(functools.partial(tree.reach, person, entry_id))


def check_chunks() -> None:
    """Once everything is swept: a chunk ages if and only if no extent names it."""
    named = {chunk_id for (chunk_id,) in rows(Extent.select(Extent.chunk))}
    kept = {chunk_id for (chunk_id,) in rows(Chunk.select(Chunk.chunk_id).where(Chunk.unreferenced_at.is_null()))}
    assert named == kept


@pytest.mark.timeout(1800)
def test_drives_are_what_a_simple_model_says_whatever_people_do_with_them(
    database: Meta, pytestconfig: pytest.Config
) -> None:
    is_long = pytestconfig.getoption("--soak")
    runs = settings(max_examples=80 if is_long else 4, stateful_step_count=60 if is_long else 25, deadline=None)
    machine = type("Drives", (Drives,), {"database": database})
    run_state_machine_as_test(machine, settings=runs)
