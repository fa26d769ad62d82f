"""What a sync decides: after its steps the target holds what the source holds, and what it may not touch is left."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cloudgrpc.core.sync import Act, Item, Kind, compare, doubtful

Content = int | None | str  # of a file; None for a folder; "link" for what is neither
Side = dict[tuple[str, ...], Content]
NAMES = st.sampled_from("abc")
CONTENTS = st.sampled_from([1, 2, 3, None, None, "link"])


def tree(wishes: list[tuple[tuple[str, ...], Content]]) -> Side:
    """What of the wishes fits together: nothing lies in a file or in a link."""
    made: Side = {(): None}
    for names, content in wishes:
        if names not in made and all(made.get(names[:end], 0) is None for end in range(len(names))):
            made[names] = content
    return made


SIDES = st.lists(st.tuples(st.lists(NAMES, min_size=1, max_size=3).map(tuple), CONTENTS), max_size=12).map(
    lambda wishes: tree(sorted(wishes, key=lambda wish: len(wish[0])))
)


def items(side: Side) -> list[Item]:
    """Contents of one size, so that nothing but a look at them tells; folders first, as they are listed."""
    kinds = {names: Kind.OTHER if content == "link" else Kind.FILE for names, content in side.items()}
    kinds |= {names: Kind.FOLDER for names, content in side.items() if content is None}
    order = sorted(side, key=lambda names: (list(Kind).index(kinds[names]) != 1, names))
    return [Item(names, kinds[names], size=7 if kinds[names] is Kind.FILE else 0) for names in order]


def synced(source: Side, target: Side, *, is_deleting: bool) -> Side:
    """The target after all steps."""
    there = dict(target)
    doubts = doubtful(items(source), items(target), is_trusting_times=True)
    differing = {item.key for item in doubts if source[item.names] != target[item.names]}
    for step in compare(items(source), items(target), differing, is_deleting=is_deleting).steps:
        names = step.item.names
        if step.act in {Act.CLEAR, Act.DELETE}:
            assert names in there, "named once"
            there = {other: content for other, content in there.items() if other[: len(names)] != names}
        elif step.act in {Act.MAKE, Act.SEND}:
            assert not names or there.get(names[:-1], 0) is None, "its folder is there"
            there[names] = source[names]
    return there


def has_links(side: Side) -> bool:
    return "link" in side.values()


@given(SIDES, SIDES)
def test_with_delete_both_sides_are_the_same_but_for_links(source: Side, target: Side) -> None:
    after = synced(source, target, is_deleting=True)
    if not has_links(source) and not has_links(target):
        assert after == source
    assert synced(source, after, is_deleting=True) == after, "a second sync finds nothing to do"


@given(SIDES, SIDES)
def test_without_delete_nothing_goes(source: Side, target: Side) -> None:
    after = synced(source, target, is_deleting=False)
    assert after.keys() >= target.keys()
    for names, content in after.items():
        before = target.get(names, source.get(names))
        assert (content is None) == (before is None), "a folder stays a folder"
        if names not in source or source[names] == "link" or target.get(names) == "link":
            assert content == target[names], "what only the target has, and links, are as they were"


@given(SIDES, SIDES)
def test_a_link_of_the_target_is_never_touched(source: Side, target: Side) -> None:
    after = synced(source, target, is_deleting=True)
    assert {names for names, content in target.items() if content == "link"} <= {
        names for names, content in after.items() if content == "link"
    }


@given(SIDES)
def test_what_is_the_same_needs_no_step(side: Side) -> None:
    found = compare(items(side), items(side), set(), is_deleting=True)
    assert {step.act for step in found.steps} <= {Act.LEAVE}
    assert found.extra == 0


def test_equal_times_spare_a_look_unless_one_is_wanted() -> None:
    here = Item(("a",), Kind.FILE, 5, modified_ms=1000)
    assert not list(doubtful([here], [here], is_trusting_times=True))
    assert list(doubtful([here], [here], is_trusting_times=False)) == [here]
    unknown = Item(("a",), Kind.FILE, 5)
    assert list(doubtful([unknown], [unknown], is_trusting_times=True)) == [unknown]


def test_names_are_compared_composed() -> None:
    source = [Item((), Kind.FOLDER), Item(("e\u0301",), Kind.FILE, 1)]
    target = [Item((), Kind.FOLDER), Item(("\u00e9",), Kind.FILE, 1)]
    assert compare(source, target, set(), is_deleting=True).steps == []
