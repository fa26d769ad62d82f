"""What metadata and nodes disagree about, and what only looks so."""

from __future__ import annotations

from cloudgrpc.core.agreement import Known, Level, Stretch, short_chunks, unknown_files

NOTHING: frozenset[str] = frozenset()


def stretch(**chunks: Known) -> Stretch:
    return Stretch("", chunks, frozenset(), frozenset())


def needed(**copies: str) -> Known:
    return Known(is_needed=True, copies=copies)


def short(known: Known, wanted: int = 2, **files: set[str]) -> tuple[Level, str] | None:
    found = short_chunks(stretch(c=known), files, wanted)
    return (found[0].level, found[0].message) if found else None


def test_a_chunk_with_all_its_copies_is_whole() -> None:
    assert short(needed(n1="good", n2="good"), n1={"c"}, n2={"c"}) is None
    assert short(needed(n1="good"), wanted=1, n1={"c"}, n2=set()) is None
    assert short(Known(is_needed=False, copies={"n1": "good"}), n1=set()) is None


def test_a_copy_without_its_file_is_missing_even_where_others_suffice() -> None:
    assert short(needed(n1="good", n2="good"), n1={"c"}, n2=set()) == (
        Level.MISSING,
        "1 of 2 copies, n2 has no such file",
    )
    assert short(needed(n1="good", n2="good", n3="good"), n1={"c"}, n2={"c"}, n3=set()) == (
        Level.MISSING,
        "2 of 2 copies, n3 has no such file",
    )
    assert short(needed(n1="good", n2="bad"), n1={"c"}, n2={"c"}) == (Level.MISSING, "1 of 2 copies")
    assert short(needed(n1="good", n2="doomed"), n1={"c"}, n2={"c"}) == (Level.MISSING, "1 of 2 copies")


def test_a_chunk_is_lost_only_when_no_node_may_have_it() -> None:
    assert short(needed(n1="good"), wanted=1, n1=set()) == (Level.LOST, "0 of 1 copies, n1 has no such file")
    assert short(needed(n1="bad"), wanted=1, n1={"c"}) == (Level.LOST, "0 of 1 copies")
    assert short(needed(n1="good"), wanted=1) == (Level.MISSING, "0 of 1 copies, n1 cannot be reached")


def test_a_file_is_unknown_when_neither_rows_nor_uploads_name_it() -> None:
    known = Stretch("", {"c": needed(n1="bad"), "d": Known(is_needed=False)}, frozenset("u"), frozenset({("x", "n2")}))
    found = unknown_files(known, {"n1": {"c", "u", "x"}, "n2": {"c", "d", "u", "x", "y"}})
    assert [(one.chunk_id, one.message.split()[3]) for one in found] == [
        ("x", "n1"),
        ("c", "n2"),
        ("d", "n2"),
        ("y", "n2"),
    ]
