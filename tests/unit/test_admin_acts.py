"""What operators type as an act, what they are asked, and what the exit code of a check says."""

from __future__ import annotations

import argparse

import pytest

from cloudgrpc.admin import account_acts, acts, care_acts, key_acts, node_acts
from cloudgrpc.admin.account_acts import room
from cloudgrpc.errors import Exit, UsageWrong
from cloudgrpc.pb import cloud_storage_pb2 as pb

MB, GB = 1 << 20, 1 << 30


@pytest.mark.parametrize(
    ("word", "before", "after"),
    [
        ("500MB", GB, 500 * MB),
        ("2GB", 0, 2 * GB),
        ("1.5 GB", 0, GB * 3 // 2),
        ("2g", 0, 2 * GB),
        ("0", GB, 0),
        ("+500MB", GB, GB + 500 * MB),
        ("+ 1 GB", GB, 2 * GB),
        ("-1GB", 3 * GB, 2 * GB),
        ("-1GB", 500 * MB, 0),
    ],
)
def test_a_quota_is_a_size_or_a_change(word: str, before: int, after: int) -> None:
    assert room(word).after(before) == after


@pytest.mark.parametrize("word", ["500", "1.5", "+3", "-2", "much", "", "+", "2GB more", "--2GB", "9999999PB"])
def test_what_could_be_meant_otherwise_is_no_size(word: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        room(word)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["alice@example.org", "-1GB"], -GB),
        (["--yes", "alice@example.org", "-1.5", "GB"], -GB * 3 // 2),
        (["alice@example.org", "-200MB", "--yes"], -200 * MB),
        (["alice@example.org", "+", "1", "GB"], GB),
        (["alice@example.org", "2", "GB"], 2 * GB),
    ],
    ids=str,
)
def test_less_is_no_option_and_a_size_may_be_two_words(words: list[str], told: int) -> None:
    args = account_acts.parsed(["quota", *words])
    assert (args.who, args.room.size, args.yes) == ("alice@example.org", told, "--yes" in words)


@pytest.mark.parametrize(
    ("module", "words"),
    [
        (account_acts, "quota"),
        (account_acts, "quota alice@example.org"),
        (account_acts, "quota alice@example.org 500"),
        (account_acts, "quota alice@example.org 5x"),
        (account_acts, "user"),
        (account_acts, "user disable"),
        (account_acts, "user delete alice@example.org"),
        (node_acts, "node"),
        (node_acts, "node drain"),
        (node_acts, "node drain node1 node2"),
        (node_acts, "node undrain node1 --wait"),
        (node_acts, "node drain node1 --lost"),
        (node_acts, "scrub node1 node2"),
        (care_acts, "backup"),
        (care_acts, "check node1"),
        (care_acts, "restore a b"),
        (key_acts, "key add bob"),
        (key_acts, "key add bob --role own"),
        (key_acts, "key add --role view"),
    ],
)
def test_words_that_make_no_sense_are_refused(module: object, words: str) -> None:
    with pytest.raises(UsageWrong):
        module.parsed(words.split())  # type: ignore[attr-defined]


def test_a_script_that_is_not_sure_is_refused_and_one_that_is_asked_nothing() -> None:
    with pytest.raises(UsageWrong, match="--yes"):
        acts.is_agreed(argparse.Namespace(yes=False), [], "Do it?")
    assert acts.is_agreed(argparse.Namespace(yes=True), [], "Do it?")


@pytest.mark.parametrize(
    ("summary", "code"),
    [
        (pb.CheckSummary(files=3, chunks=4, copies=8, nodes=2), Exit.OK),
        (pb.CheckSummary(unknown=5), Exit.OK),
        (pb.CheckSummary(missing=1), Exit.MISSING),
        (pb.CheckSummary(missing=1, nodes_unreachable=1), Exit.FAILED),
        (pb.CheckSummary(missing=1, wrong=1), Exit.FAILED),
        (pb.CheckSummary(lost=1, missing=1, wrong=1, nodes_unreachable=1), Exit.LOST),
    ],
)
def test_the_exit_code_of_a_check_tells_the_worst_that_was_found(summary: pb.CheckSummary, code: int) -> None:
    assert care_acts.check_code(summary) == code
