"""How a person names a place, and which names a pattern fits."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudgrpc.clients.address import ROOT, SHARED_LIST, Address, address_of, is_pattern, literal_start, matcher

names = st.text(st.characters(exclude_characters="/", exclude_categories=["Cc", "Cs"]), min_size=1).filter(
    lambda name: name not in {".", ".."}
)
addresses = st.builds(Address, st.lists(names, max_size=5).map(tuple), st.just(value=False))


@pytest.mark.parametrize(
    ("current", "word", "meant"),
    [
        ("/", "a.jpg", "/a.jpg"),
        ("/photos", "2026/a.jpg", "/photos/2026/a.jpg"),
        ("/photos", "/a.jpg", "/a.jpg"),
        ("/photos", "", "/photos"),
        ("/photos", ".", "/photos"),
        ("/photos", "./a//b/", "/photos/a/b"),
        ("/photos/2026", "..", "/photos"),
        ("/photos/2026", "../../..", "/"),
        ("/photos", "/..", "/"),
        ("/", "shared:", "shared:"),
        ("/photos", "shared:alice@example.org/trip", "shared:alice@example.org/trip"),
        ("shared:alice@example.org/trip", "day1", "shared:alice@example.org/trip/day1"),
        ("shared:alice@example.org/trip", "/a", "/a"),
        ("shared:alice@example.org/trip", "..", "shared:alice@example.org"),
        ("shared:alice@example.org", "..", "shared:"),
        ("shared:", "..", "/"),
        ("shared:", "bob@example.org", "shared:bob@example.org"),
        ("/", "./shared:x", "/shared:x"),
    ],
)
def test_a_word_is_read_from_the_current_folder(current: str, word: str, meant: str) -> None:
    assert str(address_of(word, address_of(current))) == meant


@given(addresses, addresses)
def test_what_an_address_is_written_as_means_it_wherever_one_is(address: Address, current: Address) -> None:
    assert address_of(str(address), current) == address


@given(addresses, names)
def test_the_parent_of_what_is_in_a_folder_is_the_folder(folder: Address, name: str) -> None:
    assert folder.child(name).parent == folder
    assert folder.child(name).name == name


def test_lists_of_shares_are_told_from_what_is_in_them() -> None:
    assert SHARED_LIST.is_shared_list
    assert address_of("shared:alice@example.org").is_shared_list
    assert not address_of("shared:alice@example.org/trip").is_shared_list
    assert not ROOT.is_shared_list


@pytest.mark.parametrize(
    ("pattern", "fitting", "others"),
    [
        ("*.jpg", ["a.jpg", ".jpg"], ["a.JPG", "a.jpg.txt"]),
        ("IMG_????.png", ["IMG_0001.png"], ["IMG_1.png", "IMG_00001.png"]),
        ("[ab]*", ["a", "bcd"], ["c"]),
        ("[!ab]*", ["c"], ["a"]),
        ("*", ["anything", "line"], []),
        ("a.b", ["a.b"], ["aXb"]),
    ],
)
def test_a_pattern_fits_whole_names_and_case_counts(pattern: str, fitting: list[str], others: list[str]) -> None:
    fits = matcher(pattern)
    assert [name for name in [*fitting, *others] if fits(name)] == fitting


@given(names)
def test_names_are_matched_in_whatever_form_they_are_composed(name: str) -> None:
    typed = "".join(f"[{letter}]" if letter in "*?[" else letter for letter in name)
    for form in ("NFC", "NFD"):
        assert matcher(unicodedata.normalize(form, typed))(name)


@given(names)
def test_every_name_that_fits_begins_with_the_literal_start_of_the_pattern(name: str) -> None:
    start = literal_start(name)
    assert name.startswith(start)
    assert is_pattern(name) == (start != name)
