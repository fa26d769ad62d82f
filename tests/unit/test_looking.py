"""The pure parts of the commands that look around: sums, trees, bars, tables, words of find, what is text."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudgrpc.clients.places import Place
from cloudgrpc.clients.search import path_from
from cloudgrpc.clients.shared_with_me import by_owner
from cloudgrpc.core.paths import NAME_BYTES, check_name
from cloudgrpc.core.units import size_words
from cloudgrpc.errors import UsageWrong
from cloudgrpc.pb import cloud_storage_pb2 as pb
from cloudgrpc.shell import quota
from cloudgrpc.shell.amounts import size
from cloudgrpc.shell.branches import with_last
from cloudgrpc.shell.commands_find import split_words, wanted
from cloudgrpc.shell.printing import checked
from cloudgrpc.shell.stream_table import StreamTable
from cloudgrpc.shell.usage import Sums

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


def file(path: str, size_bytes: int) -> Place:
    return Place("0" * 32, path.rpartition("/")[2], path, pb.FileEntry(file_size=size_bytes))


def folder(path: str) -> Place:
    return Place("0" * 32, path.rpartition("/")[2], path, folder=pb.FolderEntry())


def sums_of(top: str, depth: int, *places: Place) -> list[tuple[str, int, int]]:
    sums = Sums(top, depth)
    for place in places:
        sums.add(place)
    return [(path, total.size, total.files) for path, total in sums.largest_first()]


def test_folders_are_summed_down_to_a_depth_with_the_total_last() -> None:
    held = [file("/a/x", 1), file("/a/b/y", 10), file("/c/z", 100), file("/top", 1000), folder("/empty")]
    assert sums_of("/", 1, *held) == [("/c", 100, 1), ("/a", 11, 2), ("/empty", 0, 0), ("/", 1111, 4)]
    assert sums_of("/", 0, *held) == [("/", 1111, 4)]
    assert sums_of("/a", 2, *held[:2]) == [("/a/b", 10, 1), ("/a", 11, 2)]


def test_a_file_is_its_own_sum_and_an_empty_folder_has_one() -> None:
    assert sums_of("/a/x", 1, file("/a/x", 7)) == [("/a/x", 7, 1)]
    assert sums_of("/a", 1) == [("/a", 0, 0)]


def test_sums_go_to_the_name_that_was_typed_in_whatever_form_it_is_stored() -> None:
    assert sums_of("/cafe\u0301", 1, file("/café/x", 7)) == [("/cafe\u0301", 7, 1)]


def test_what_was_found_in_a_share_is_named_as_one_types_it() -> None:
    assert path_from("/photos", "/photos/a.jpg") == "/photos/a.jpg"
    assert path_from("shared:alice@example.org/trip (2)/day1", "/trip/day1/a.jpg") == (
        "shared:alice@example.org/trip (2)/day1/a.jpg"
    )


def test_shares_of_one_name_are_told_apart_in_the_order_they_were_made() -> None:
    def entry(name: str, at: str, owner: str = "alice@example.org", *, is_folder: bool = False) -> pb.SharedFileEntry:
        return pb.SharedFileEntry(filename=name, shared_at=at, shared_by_email=owner, is_folder=is_folder)

    found = by_owner(
        [
            entry("a.b", "3", is_folder=True),
            entry("a.jpg", "2"),
            entry("a.jpg", "1"),
            entry("a.b", "4", is_folder=True),
            entry("a.jpg", "5", "bob@example.org"),
        ]
    )
    assert [(share.name, share.entry.shared_at) for share in found["alice@example.org"].values()] == [
        ("a.jpg", "1"),
        ("a (2).jpg", "2"),
        ("a.b", "3"),
        ("a (2).b", "4"),
    ]
    assert [share.name for share in found["bob@example.org"].values()] == ["a.jpg"]


def test_a_long_name_that_is_shared_twice_stays_a_name() -> None:
    long = f"{'x' * (NAME_BYTES - 4)}.jpg"
    found = by_owner([pb.SharedFileEntry(filename=long, shared_at=at) for at in "12"])
    first, second = (share.name for share in found[""].values())
    assert (first, second) == (long, check_name(second, "name"))
    assert second.endswith("xxx (2).jpg")


@given(st.lists(st.integers()))
def test_only_the_last_is_told_to_be_it(things: list[int]) -> None:
    told = list(with_last(things))
    assert [thing for thing, _ in told] == things
    assert [is_last for _, is_last in told] == [False] * (len(things) - 1) + [True] * bool(things)


@pytest.mark.parametrize(
    ("word", "meant"),
    [("0", 0), ("12", 12), ("10k", 10240), ("1.5M", 1572864), ("2GB", 2 << 30), ("1 KiB", 1024), ("1TB", 1 << 40)],
)
def test_a_size_is_read_as_people_write_it(word: str, meant: int) -> None:
    assert size(word) == meant


@given(st.integers(0, 1 << 50))
def test_a_size_that_was_shown_can_be_typed(number: int) -> None:
    shown = size_words(number)
    assert size_words(size(shown)) == shown


@pytest.mark.parametrize("word", ["", "-1", "ten", "10x", "1e3", "99999999999T", "\u0661k"])
def test_what_is_no_size_is_refused(word: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        size(word)


@pytest.mark.parametrize(
    ("words", "name", "meant"),
    [
        ([], None, (".", "")),
        (["cat"], None, (".", "cat")),
        (["*.jpg"], None, (".", "*.jpg")),
        (["/photos"], None, ("/photos", "")),
        (["photos/"], None, ("photos/", "")),
        (["."], None, (".", "")),
        (["shared:bob@example.org/x"], None, ("shared:bob@example.org/x", "")),
        (["photos", "cat"], None, ("photos", "cat")),
        (["photos"], "cat", ("photos", "cat")),
        ([], "cat", (".", "cat")),
        ([".profile"], None, (".", ".profile")),
    ],
)
def test_find_knows_where_from_what(words: list[str], name: str | None, meant: tuple[str, str]) -> None:
    assert split_words(words, name) == meant


@pytest.mark.parametrize(("words", "name"), [(["a", "b", "c"], None), (["a", "b"], "c")])
def test_find_refuses_more_words_than_it_understands(words: list[str], name: str | None) -> None:
    with pytest.raises(UsageWrong):
        split_words(words, name)


def test_find_asks_for_what_was_wished() -> None:
    request = wanted("cat", "image", 10, "2d", NOON)
    assert (request.name, request.mime_type, request.larger_than) == ("cat", "image/", 10)
    assert request.newer_than == "2026-11-21T12:00:00Z"
    assert wanted("", "folder", 0, None, NOON).kind == "folder"
    assert wanted("", "application/x-tar", 0, None, NOON).mime_type == "application/x-tar"
    with pytest.raises(UsageWrong):
        wanted("", "photo", 0, None, NOON)


sizes = st.integers(0, 1 << 40)


@given(st.lists(sizes, min_size=1, max_size=6))
def test_a_bar_is_always_of_one_length_and_shows_all_there_is(amounts: list[int]) -> None:
    signs = "abcdef"
    drawn = quota.bar([quota.Part("", amount, signs[index], "") for index, amount in enumerate(amounts)])
    assert len(drawn) == quota.CELLS
    shown = "".join(dict.fromkeys(drawn))
    assert shown == (
        "".join(sign for sign, amount in zip(signs, amounts, strict=False) if amount) or signs[len(amounts) - 1]
    )


@given(st.text(st.characters(exclude_categories=["Cc", "Cs"]) | st.sampled_from("\n\t")), st.integers(1, 5))
def test_text_is_passed_on_wherever_it_is_cut(text: str, length: int) -> None:
    data = text.encode()
    pieces = [data[start : start + length] for start in range(0, len(data), length)]
    assert b"".join(checked(iter(pieces), "x")) == data


@pytest.mark.parametrize("data", [b"a\x1b[2Jb", b"\xff\xfe", b"a\0b", "\u009b2J".encode()])
def test_what_could_steer_a_terminal_is_not_passed_on(data: bytes) -> None:
    passed: list[bytes] = []
    with pytest.raises(UsageWrong, match="not plain text"):
        passed += checked(iter([b"fine\n", data]), "x")


def test_a_table_of_two_pages_keeps_its_columns(capsys: pytest.CaptureFixture[str]) -> None:
    table = StreamTable(["Size", "Name"], right=["Size"])
    table.add([])
    table.add([["1 B", "a"], ["100 KB", "日本"]])
    table.add([["22 B", "c"]])
    assert capsys.readouterr().out == "  Size  Name\n   1 B  a\n100 KB  日本\n  22 B  c\n"
