"""What an operator is warned of, and the health of the whole as one number."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cloudgrpc.core import concerns
from cloudgrpc.core.concerns import Facts, NodeFacts
from cloudgrpc.core.endings import Ending, Whose

GB = 1 << 30
NODE = NodeFacts("node1", True, False, True, True, 1.0, "", GB, 10 * GB)
OTHER = replace(NODE, node_id="node2")
WELL = Facts(
    whole=10,
    missing=0,
    lost=0,
    copies_missing=0,
    bytes_missing=0,
    quorum=2,
    promised_bytes=GB,
    promisable_bytes=10 * GB,
    payments_attention=0,
    restored_at=None,
    is_key_unsaved=False,
    endings=[],
    nodes=[NODE, OTHER],
)
AWAY = replace(NODE, is_online=False, takes_chunks=False, score=0.0, reason="offline")


def test_where_all_is_well_there_is_no_warning() -> None:
    assert concerns.warnings(WELL) == []
    assert concerns.health(WELL) == 1


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        (replace(WELL, lost=1), "1 chunk without any good copy"),
        (replace(WELL, nodes=[NODE]), "Nothing can be stored: nodes that take new chunks: 1, needed: 2."),
        (replace(WELL, restored_at=0), "Restored from a backup on 1970-01-01 00:00 UTC, read-only"),
        (replace(WELL, nodes=[NODE, OTHER, AWAY]), "node1 is offline."),
        (
            replace(WELL, nodes=[NODE, OTHER, replace(NODE, takes_chunks=False, reason="its disk is full")]),
            "node1 takes no new chunks: its disk is full.",
        ),
        (replace(WELL, nodes=[replace(NODE, score=0.4, reason="slow"), OTHER]), "node1 is unwell: slow."),
        (replace(WELL, nodes=[replace(NODE, used_bytes=9 * GB + 1000 * 1000 * 512), OTHER]), "node1 is 95% full."),
        (replace(WELL, nodes=[replace(NODE, is_collecting=False), OTHER]), "nothing is deleted there"),
        (
            replace(WELL, missing=2, copies_missing=3, bytes_missing=GB),
            "2 chunks with too few copies: 3 copies, 1.0 GB",
        ),
        (replace(WELL, promised_bytes=9 * GB + 1), "9.0 GB are promised to accounts, 10.0 GB may be: add a node"),
        (
            replace(WELL, is_key_unsaved=True),
            "If the master key is lost, so is every file: cloudgrpc secrets backup FILE",
        ),
        (
            replace(WELL, endings=[Ending(Whose.NODE, "node4", 0)]),
            "The certificate of node4 ends on 1970-01-01 00:00 UTC and is not renewed",
        ),
        (
            replace(WELL, endings=[Ending(Whose.AUTHORITY, "0a1b2c3d", 0)]),
            "The authority 0a1b2c3d ends on 1970-01-01 00:00 UTC: exchange it",
        ),
        (replace(WELL, payments_attention=1), "1 payment waits for an operator"),
    ],
)
def test_each_trouble_is_told_in_one_line(facts: Facts, words: str) -> None:
    told = concerns.warnings(facts)
    assert len(told) == 1
    assert words in told[0]


def test_a_node_that_is_drained_is_no_trouble() -> None:
    leaving = replace(NODE, node_id="node3", is_draining=True, takes_chunks=False, reason="draining")
    assert concerns.warnings(replace(WELL, nodes=[NODE, OTHER, leaving])) == []


def test_the_worst_is_told_first() -> None:
    bad = replace(WELL, lost=1, missing=1, payments_attention=1, nodes=[AWAY])
    told = concerns.warnings(bad)
    order = ["Data is lost", "Nothing can be stored", "node1 is offline", "too few copies", "wait"]
    places = [next(place for place, line in enumerate(told) if word in line) for word in order]
    assert places == sorted(places)


@pytest.mark.parametrize(
    ("facts", "health"),
    [
        (replace(WELL, whole=3, missing=1), 0.75),
        (replace(WELL, whole=1, missing=0, lost=1), 0.5),
        (replace(WELL, nodes=[NODE, replace(OTHER, score=0.5)]), 0.75),
        (replace(WELL, nodes=[NODE, AWAY]), 0),  # nothing can be stored
        (replace(WELL, nodes=[]), 0),
        (replace(WELL, whole=0), 1),  # nothing is stored yet
    ],
)
def test_health_is_the_worse_of_chunks_and_nodes(facts: Facts, health: float) -> None:
    assert concerns.health(facts) == health
