"""Which view the flags of `cloudgrpc admin` ask for."""

from __future__ import annotations

import pytest

from cloudgrpc import cli
from cloudgrpc.admin import events_view, views
from cloudgrpc.admin.lookout import Start
from cloudgrpc.errors import UsageWrong


@pytest.mark.parametrize(
    ("words", "view"),
    [
        ("--status", "status"),
        ("--status --json", "status"),
        ("--users --search alice", "users"),
        ("--nodes --json", "nodes"),
        ("--user alice@example.org", "user"),
        ("--payments", "payments"),
        ("--payments --status failed --user alice@example.org --since 7d -n 3", "payments"),
        ("--events --since 12 --type node. --type copy.bad --user bob@example.org -n 5", "events"),
        ("--monitor --since 1h --type node.offline --json", "monitor"),
    ],
)
def test_flags_name_a_view(words: str, view: str) -> None:
    assert views.chosen(cli.parsed(["admin", *words.split()])) == view


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        ("--status failed", "--payments"),
        ("--payments --status", "completed"),
        ("--users --nodes", "one view at a time"),
        ("--status --user alice@example.org", "one view at a time"),
        ("--status --events", "--status"),
        ("--users --since 7d", "--since"),
        ("--payments --type node.offline", "--type"),
        ("--monitor -n 3", "--lines"),
        ("--json", "--status"),
        ("--since 7d", "--monitor"),
    ],
)
def test_flags_that_make_no_sense_together_are_refused(words: str, hint: str) -> None:
    with pytest.raises(UsageWrong) as refused:
        views.chosen(cli.parsed(["admin", *words.split()]))
    assert hint in str(refused.value)


def test_nothing_given_is_the_dashboard() -> None:
    assert not views.given(cli.parsed(["admin", "--gateway", "127.0.0.1:1"]))


def test_events_begin_after_an_id_or_at_a_time() -> None:
    assert events_view.start_of(None) is None
    assert events_view.start_of("0") == Start(after_id=0)
    assert events_view.start_of("812") == Start(after_id=812)
    start = events_view.start_of("2026-11-23 18:00")
    assert start is not None
    assert start.since.startswith("2026-11-23T")
    for wrong in ("yesterday", "9" * 30, "-5"):
        with pytest.raises(UsageWrong):
            events_view.start_of(wrong)
