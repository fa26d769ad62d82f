"""The dashboard's text fits every terminal, and says what matters on the smallest."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudgrpc.admin import board_banner, event_words, node_words, status_words
from cloudgrpc.admin.board_banner import Link, Sight
from cloudgrpc.admin.board_home_text import Room, home
from cloudgrpc.admin.event_words import Weight, runs
from cloudgrpc.core.event_kinds import KINDS
from cloudgrpc.errors import Exit
from cloudgrpc.pb import cloud_storage_pb2 as pb

if TYPE_CHECKING:
    from rich.text import Text

GB = 1 << 30
NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
SMALLEST = Room(80, 20)  # of a terminal with 24 lines: one is the banner, one the keys, two are warnings


def status(**other: object) -> pb.SystemStatusResponse:
    told: dict[str, object] = {
        "global_capacity_bytes": 6 * GB,
        "global_used_bytes": GB,
        "promised_bytes": 4 * GB,
        "promisable_bytes": 12 * GB,
        "total_users": 1200,
        "disabled_users": 10,
        "sessions": 345,
        "total_files": 123_456,
        "uploads": 12,
        "mode": "open",
        "version": "1.2.3",
        "can_write": True,
        "chunks": pb.ChunkCounts(whole=1_234_567, copies_wanted=2, write_quorum=2),
        "up_bytes_s": 1023.9 * (1 << 20),
        "down_bytes_s": 3e5,
        "speeds": [pb.SpeedSample(up_bytes_s=at, down_bytes_s=7 * at % 50, span_s=5) for at in range(60)],
        "payments_today": {"completed": 12, "processing": 3},
        "revenue_today_xaf": 12_500,
    }
    return pb.SystemStatusResponse(**{**told, **other})  # type: ignore[arg-type]


def node(number: int, **other: object) -> pb.NodeInfo:
    told: dict[str, object] = {
        "node_id": f"node{number}",
        "status": "online",
        "storage_capacity": 2 * GB,
        "storage_used": GB,
        "chunk_count": 123_456,
        "health_score": 1.0,
        "latency_ms": 12.3,
        "heartbeat_age_s": 4.2,
        "collecting": True,
    }
    return pb.NodeInfo(**{**told, **other})  # type: ignore[arg-type]


def event(
    number: int, kind: str = "file.uploaded", message: str = "A file was uploaded", by: str = "", on: str = ""
) -> pb.SystemEvent:
    at = "2026-11-23T12:00:00.000Z"
    return pb.SystemEvent(
        event_id=number, event_type=kind, message=message, by=by, node_id=on, timestamp=at, details="{}"
    )


def told(text: Text) -> list[str]:
    return text.plain.split("\n")


@given(
    st.integers(80, 300),
    st.integers(18, 100),
    st.integers(0, 40),
    st.integers(0, 60),
    st.sampled_from(["", "rack-1"]),
)
def test_the_home_page_fits_its_room(width: int, height: int, nodes: int, events: int, zone: str) -> None:
    text = home(
        status(),
        [node(number, zone=zone) for number in range(nodes)],
        runs([event(number, message="long " * 60) for number in range(events)]),
        Room(width, height),
    )
    assert len(told(text)) <= height
    assert max(map(len, told(text))) <= width


def test_the_smallest_terminal_shows_all_that_matters() -> None:
    chunks = pb.ChunkCounts(whole=1_234_567, missing=123, lost=4, copies_missing=123, bytes_missing=GB)
    nodes = [node(1), node(2), node(3, status="offline", reason="offline: its last heartbeat is 2 min old")]
    text = home(
        status(chunks=chunks, payments_attention=1), nodes, runs([event(1), event(2, message="the newest")]), SMALLEST
    )
    cut = [line.split()[0] for line in told(text) if "…" in line]
    assert cut == ["Payments", "node3"], "only the end of what has a page of its own"
    for words in (
        "1.0 of 6.0 GB",
        "4.0 of 12.0 GB",
        "1,234,567 whole, 123 with too few copies, 4 lost",
        "123 copies, 1.0 GB",
        "1023.9 MB/s",
        "1,200 users (10 disabled), 345 sessions",
        "123,456 files, 12 uploads now",
        "15 today, 12,500 XAF; 1 waits for an operator",
        "node3  offline",
        "the newest",
    ):
        assert words in text.plain, words


def test_of_more_nodes_than_fit_those_are_shown_that_are_not_well() -> None:
    nodes = [node(number) for number in range(1, 30)] + [node(30, status="read-only", reason="its disk is full")]
    lines = told(home(status(), nodes, [], SMALLEST))
    assert any(line.startswith("node30") for line in lines)
    (more,) = [line for line in lines if line.startswith("and ")]
    shown = sum(line.startswith("node") for line in lines)
    assert more == f"and {30 - shown} more: press n"


def test_the_newest_events_are_shown() -> None:
    lines = told(
        home(status(), [node(1)], runs([event(number, message=f"event {number}") for number in range(99)]), SMALLEST)
    )
    assert lines[-1].endswith("event 98")
    assert len(lines) == SMALLEST.height


def test_a_repair_of_many_chunks_leaves_room_for_other_events() -> None:
    """However many they are, and though its copies go to several nodes in turn."""
    told = runs([event(1, message="first")])
    for number in range(2, 5000, 2):
        pair = [
            event(number + at, "copy.made", f"chunk {number + at} was copied to node{at}", on=f"node{at}")
            for at in (0, 1)
        ]
        told = runs(pair, told)
    told = runs([event(5002, message="last"), event(5003, "copy.made", "one more", on="node1")], told)
    text = home(status(), [node(1)], told, SMALLEST).plain
    assert "2,499 times on node0, at last: chunk 4998" in text
    assert "2,499 times on node1, at last: chunk 4999" in text
    assert "first" in text
    assert [line.rsplit(maxsplit=1)[-1] for line in text.splitlines()[-2:]] == ["last", "more"]
    assert len(told) == 5


@pytest.mark.parametrize(
    ("other", "state", "code"),
    [
        ({}, "HEALTHY", Exit.OK),
        ({"chunks": pb.ChunkCounts(missing=1)}, "COPIES MISSING", Exit.MISSING),
        ({"chunks": pb.ChunkCounts(missing=1, lost=1)}, "DATA LOST", Exit.LOST),
        ({"can_write": False}, "NO WRITES", Exit.OK),
        ({"mode": "restored"}, "READ-ONLY", Exit.OK),
    ],
)
def test_the_worst_is_told_first_and_has_its_exit_code(other: dict[str, object], state: str, code: int) -> None:
    here = status(**other)
    sight = Sight("127.0.0.1:50051", Link.LIVE, here, "11:59:58", "12:00:00")
    assert state in board_banner.banner(sight, 80).plain
    assert status_words.exit_code(here) == code


@pytest.mark.parametrize("width", [80, 140])
@pytest.mark.parametrize("link", Link)
def test_the_banner_is_one_line_that_says_whether_it_is_of_now(link: Link, width: int) -> None:
    sight = Sight("storage-gateway.example.org:50051", link, status(mode="restored"), "11:59:58", "12:00:00")
    banner = board_banner.banner(sight, width).plain
    assert len(banner) == width
    assert link.value[0] in banner
    assert banner.endswith("12:00:00 ")
    assert ("as of 11:59:58" in banner) == (link in {Link.LOST, Link.PAUSED})


def test_all_keys_fit_the_smallest_terminal() -> None:
    for is_paused in (False, True):
        words = board_banner.keys(80, is_paused).plain
        assert "…" not in words
        assert [word for word in words.split() if len(word) == 1] == list("sundpemr?q")
    assert "Go on" in board_banner.keys(80, is_paused=True).plain


def test_warnings_that_do_not_fit_are_counted() -> None:
    text = board_banner.warnings([f"warning {number}" for number in range(5)], 80, 2)
    assert told(text) == ["! warning 0", "! warning 1  (and 3 more: ?)"]


def test_a_node_says_why_it_takes_nothing_and_how_far_it_is() -> None:
    away = node(1, status="offline", offline_since="2026-11-23T11:55:00.000Z", reason="offline: no heartbeat")
    assert node_words.notes(away, NOW) == ["offline for 5 min"]
    leaving = node(2, status="draining", reason="it is drained", draining_since="2026-11-23T11:00:00Z", copies_left=7)
    leaving.drain_seconds_left = -1
    assert node_words.notes(leaving, NOW) == [
        "draining: 7 copies have yet to leave, time left not known yet",
    ]
    leaving.copies_stuck = 2
    assert "2 of them cannot: bad, with no good one anywhere" in node_words.drain(leaving)
    full = node(5, status="read-only", reason="its disk is full", scrub_progress=0.5)
    assert node_words.notes(full, NOW) == [
        "takes no new chunks: its disk is full",
        "scrubbed: █████░░░░░ 50% done; never done yet",
    ]
    assert node_words.why(full, NOW) == "its disk is full"
    assert node_words.why(leaving, NOW).startswith("7 copies")
    assert node_words.drain(node(3)) == "empty, it can be removed"
    assert node_words.scrub(node(4, scrub_progress=0.4, scrub_bad=2), NOW) == (
        "████░░░░░░ 40% done, 2 found bad; never done yet"
    )


def test_every_kind_that_is_marked_exists() -> None:
    assert KINDS.keys() >= event_words.GRAVE
    assert KINDS.keys() >= event_words.GOOD
    assert KINDS.keys() >= event_words.MANY


@pytest.mark.parametrize(
    ("kind", "by", "weight"),
    [
        ("node.offline", "", Weight.GRAVE),
        ("refused.admin_key_wrong", "", Weight.GRAVE),
        ("quota.changed", "operator night shift", Weight.ACT),
        ("node.returned", "", Weight.GOOD),
        ("file.uploaded", "alice@example.org", Weight.PLAIN),
    ],
)
def test_an_event_is_marked_by_more_than_its_colour(kind: str, by: str, weight: Weight) -> None:
    told = event(1, kind, "what happened", by)
    assert event_words.weight(told) == weight
    assert f" {weight.value} {kind} " in event_words.line(told)
    assert not by or f"(by {by.removeprefix('operator ')})" in event_words.line(told)


def test_what_others_wrote_cannot_steer_the_terminal() -> None:
    assert "\x1b" not in event_words.line(event(1, message="\x1b[2Jgone", by="\x1bmallory"))
    assert "\x1b" not in home(status(), [node(1, zone="\x1b[2J")], runs([event(1, "\x1b", "\x1b")]), SMALLEST).plain
