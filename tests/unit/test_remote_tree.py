"""What a listing of a gateway becomes on this computer: never anything outside the folder that was told."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudgrpc.clients.places import Place, Places
from cloudgrpc.clients.remote_tree import tree_into
from cloudgrpc.errors import InvalidField, LocalFile, UsageWrong
from cloudgrpc.pb import cloud_storage_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Iterator

TARGET = Path("/home/alice/target")
PARTS = st.sampled_from(["..", ".", "/", "\\", "\0", "etc", "~", " ", "\n", "é", "\u202e"])
NAMES = st.lists(PARTS, max_size=4).map("".join)


def file(name: str) -> Place:
    return Place("f" * 32, name, f"/{name}", pb.FileEntry(filename=name))


def folder(name: str, entry_id: str = "") -> Place:
    return Place(entry_id, name, f"/{name}", folder=pb.FolderEntry(folder_name=name))


def listing(children: dict[str, list[Place]]) -> Places:
    """What the gateway says that folders hold, by their ids."""

    def listed(place: Place) -> Iterator[Place]:
        return iter(children.get(place.entry_id, []))

    return cast("Places", SimpleNamespace(children=listed))


@given(names=st.lists(NAMES, max_size=4), inner=st.lists(NAMES, max_size=4))
def test_no_name_of_a_gateway_leads_out_of_the_target(names: list[str], inner: list[str]) -> None:
    places = listing({"top": [*map(file, names), folder("in", "in")], "in": [folder(name) for name in inner]})
    tree = tree_into(places, [folder("top", "top")], TARGET)
    for entry in [*tree.folders, *tree.files]:
        normal = Path(os.path.normpath(entry.path))
        assert normal == entry.path
        assert normal.parts[: len(TARGET.parts) + 1] == (*TARGET.parts, "top")
    assert len(tree.folders) + len(tree.files) + len(tree.failures) == 2 + len(names) + len(inner)


def test_a_name_that_cannot_be_here_is_told_and_the_rest_goes_on() -> None:
    tree = tree_into(listing({"top": [file("../x"), file("good")]}), [folder("top", "top")], TARGET)
    assert [entry.path for entry in tree.files] == [TARGET / "top" / "good"]
    assert [type(failure) for failure in tree.failures] == [InvalidField]
    with pytest.raises(InvalidField):
        tree_into(listing({}), [file("../x")], TARGET)


def test_of_two_files_of_one_name_one_comes() -> None:
    tree = tree_into(listing({"top": [file("e\u0301"), file("\u00e9")]}), [folder("top", "top")], TARGET)
    assert len(tree.files) == 1
    assert [type(failure) for failure in tree.failures] == [LocalFile]
    with pytest.raises(UsageWrong, match="one would replace the other"):
        tree_into(listing({}), [file("a"), file("a")], TARGET)


def test_the_root_folder_becomes_the_target_itself() -> None:
    tree = tree_into(listing({"": [file("a")]}), [folder("")], TARGET)
    assert [entry.path for entry in (*tree.folders, *tree.files)] == [TARGET, TARGET / "a"]
