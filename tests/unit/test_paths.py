"""What a name may be (spec §5), and when two names are one."""

from __future__ import annotations

import time
import unicodedata

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from cloudgrpc.core.paths import (
    BIDI,
    NAME_BYTES,
    PATH_BYTES,
    check_name,
    free_name,
    name_key,
    numbered,
    split_path,
)
from cloudgrpc.errors import InvalidField

CONTROLS = [chr(point) for point in [*range(0x20), *range(0x7F, 0xA0)]]
PLAIN = st.characters(exclude_categories=("Cc", "Cs"), exclude_characters="/" + "".join(BIDI))
# At most 80 letters of at most 3 bytes, or 4 of a longer form: within 255 bytes, also composed.
NAMES = st.text(PLAIN, min_size=1, max_size=40).filter(
    lambda name: name not in {".", ".."} and len(name_key(name).encode()) <= NAME_BYTES
)


def is_name(text: str) -> bool:
    try:
        check_name(text, "filename")
    except InvalidField:
        return False
    return True


@given(NAMES)
@example("...")
@example(".hidden")
@example("a\\b")
@example("é" * 127)
@example("👍" * 63)
def test_a_name_is_kept_as_it_was_given(name: str) -> None:
    assert check_name(name, "filename") == name


@given(st.text(PLAIN, max_size=20), st.sampled_from([*CONTROLS, *BIDI, "/", "\ud800", "\udfff"]), st.text(max_size=5))
@example("", "\0", "")
def test_a_name_with_a_slash_a_control_or_a_direction_mark_is_refused(before: str, bad: str, after: str) -> None:
    assert not is_name(before + bad + after)


@pytest.mark.parametrize("name", ["", ".", "..", "x" * 256, "é" * 128, "👍" * 64])
def test_no_name_is_empty_a_dot_or_longer_than_255_bytes(name: str) -> None:
    with pytest.raises(InvalidField, match=r"^folder_name: "):
        check_name(name, "folder_name")


@given(st.text())
@example("\u0958" * 85)  # composed, each of these becomes two
def test_whatever_is_a_name_holds_the_rules_in_the_form_it_is_compared_by_too(text: str) -> None:
    assume(is_name(text))
    for form in (text, name_key(text)):
        assert 1 <= len(form.encode()) <= NAME_BYTES
        assert "/" not in form
        assert "\0" not in form
        assert form not in {".", ".."}
        assert is_name(form)


@given(st.text())
def test_comparing_by_the_key_is_settled_after_one_step(name: str) -> None:
    assert name_key(name_key(name)) == name_key(name)


@given(st.text(), st.sampled_from(["NFC", "NFD"]))
@example("é", "NFD")
def test_a_name_typed_in_another_form_is_the_same_name(name: str, form: str) -> None:
    assert name_key(unicodedata.normalize(form, name)) == name_key(name)  # type: ignore[arg-type]


@pytest.mark.parametrize(("one", "other"), [("a", "A"), ("a", "a "), ("ss", "ß"), ("1", "¹"), ("fi", "ﬁ")])
def test_names_that_a_person_tells_apart_are_two(one: str, other: str) -> None:
    assert name_key(one) != name_key(other)


@given(st.lists(NAMES, max_size=6), st.lists(st.sampled_from(["/", "//", "///"]), min_size=7, max_size=7))
def test_a_path_is_the_names_along_it_whatever_slashes_are_doubled(names: list[str], slashes: list[str]) -> None:
    path = "".join(slash + name for slash, name in zip(slashes, names, strict=False)) + slashes[-1]
    assert split_path(path) == names


@given(st.text())
def test_a_path_gives_only_names_or_is_refused(text: str) -> None:
    try:
        names = split_path("/" + text)
    except InvalidField:
        return
    assert all(is_name(name) for name in names)


@pytest.mark.parametrize("path", ["", "a", "a/b", "./a", "/a/../b", "/.", "/a\0", "/" + "x/" * PATH_BYTES])
def test_a_relative_dotted_or_endless_path_is_refused(path: str) -> None:
    with pytest.raises(InvalidField, match=r"^path: "):
        split_path(path)


def test_a_name_of_a_megabyte_of_accents_is_refused_at_once() -> None:
    """Composing it takes minutes, in which nobody else would be answered."""
    started = time.monotonic()
    with pytest.raises(InvalidField, match="longer than"):
        check_name("a" + "\u0301\u0316" * 500_000, "name")
    assert time.monotonic() - started < 10


@pytest.mark.parametrize(
    ("name", "free"),
    [
        ("a.jpg", "a (2).jpg"),
        ("a", "a (2)"),
        (".bashrc", ".bashrc (2)"),
        ("a.tar.gz", "a.tar (2).gz"),
        ("a (2).jpg", "a (2) (2).jpg"),
        ("a. no ending, but a sentence", "a. no ending, but a sentence (2)"),
        ("x" * 255, "x" * 251 + " (2)"),
        ("\U0001f44d" * 63, "\U0001f44d" * 62 + " (2)"),
        ("x" * 251 + ".jpg", "x" * 247 + " (2).jpg"),
    ],
)
def test_a_free_name_has_a_number_before_its_ending(name: str, free: str) -> None:
    assert free_name(name, lambda _: False) == free


@given(NAMES, st.sets(st.integers(2, 40)))
def test_a_free_name_is_a_name_that_is_not_taken_and_close_to_the_lowest(name: str, numbers: set[int]) -> None:
    taken = {numbered(name, number) for number in numbers}
    asked: list[str] = []
    free = free_name(name, lambda told: asked.append(told) or told in taken)
    assert free not in taken
    assert is_name(free)
    assert len(asked) <= 14, "not one question for each that is taken"
    if numbers == set(range(2, len(numbers) + 2)):
        assert free == numbered(name, len(numbers) + 2)
