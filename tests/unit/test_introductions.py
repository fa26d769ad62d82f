"""What a node may say of itself."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudgrpc.core.introductions import NODE_ID, check_introduction, could_be_a_node
from cloudgrpc.errors import InvalidField

GOOD: dict[str, Any] = {
    "node_id": "node1",
    "instance_id": "0123456789abcdef" * 2,
    "host": "127.0.0.1",
    "port": 9001,
    "capacity_bytes": 2 << 30,
    "used_bytes": 0,
    "chunk_count": 0,
    "cpu_cores": 4,
}
BAD = [
    *[("node_id", bad) for bad in ["", "-a", "Node1", "a_b", "a/b", "..", "a\n", "a\0", "é", "x" * 64]],
    *[("instance_id", bad) for bad in ["", "0" * 31, "0" * 33, "G" * 32, "A" * 32, "0" * 31 + "\n", "0" * 31 + "\0"]],
    *[("host", bad) for bad in ["", "a b", "a/b", "a\n", "x" * 256, "http://a", "user@a"]],
    *[("port", bad) for bad in [-1, 0, 65536]],
    *[("storage_capacity", bad) for bad in [0, -1]],
    *[("zone", bad) for bad in ["-a", ".a", "a b", "a/b", "a:b", "a\n", "é", "x" * 64]],
    *[("metrics_address", bad) for bad in ["a", "a:", ":1", "a b:1", "http://a:1", "a:1\n", "a:123456"]],
    ("storage_used", -1),
    ("chunk_count", -1),
]
FIELDS = {"storage_capacity": "capacity_bytes", "storage_used": "used_bytes"}


def test_a_sound_introduction_is_taken_as_it_was_said() -> None:
    taken = check_introduction(**GOOD)
    assert {name: getattr(taken, name) for name in GOOD} == GOOD


@pytest.mark.parametrize(("field", "value"), BAD)
def test_a_fault_is_named_by_the_field_that_the_wire_knows(field: str, value: object) -> None:
    with pytest.raises(InvalidField, match=rf"^{field}: "):
        check_introduction(**GOOD | {FIELDS.get(field, field): value})


@pytest.mark.parametrize(("field", "value"), [one for one in BAD if one[0] in {"node_id", "instance_id"}])
def test_ids_that_are_not_taken_are_no_nodes(field: str, value: str) -> None:
    ids = {name: GOOD[name] for name in ("node_id", "instance_id")}
    assert could_be_a_node(**ids)
    assert not could_be_a_node(**ids | {field: value})


@pytest.mark.parametrize("host", ["localhost", "node-1.example.org", "10.0.0.7", "::1", "[2001:db8::1]"])
def test_a_host_is_a_name_or_an_address_of_either_kind(host: str) -> None:
    assert check_introduction(**GOOD | {"host": host}).host == host


def test_zone_and_metrics_address_may_be_left_out_and_are_kept_as_said() -> None:
    assert (check_introduction(**GOOD).zone, check_introduction(**GOOD).metrics_address) == ("", "")
    told = {"zone": "Room-1.b_2", "metrics_address": "[::1]:9101"}
    taken = check_introduction(**GOOD | told)
    assert {name: getattr(taken, name) for name in told} == told


@given(st.text(max_size=500))
def test_why_a_node_is_read_only_is_kept_as_one_line_that_can_be_shown(told: str) -> None:
    taken = check_introduction(**GOOD | {"is_read_only": True, "read_only_reason": told})
    assert taken.read_only_reason.isprintable()
    assert len(taken.read_only_reason) == min(len(told), 300)
    if told.isprintable():
        assert told.startswith(taken.read_only_reason)
    assert check_introduction(**GOOD | {"read_only_reason": told}).read_only_reason == ""


@given(st.text())
def test_an_id_that_is_taken_can_be_part_of_a_path_anywhere(text: str) -> None:
    if NODE_ID.match(text):
        assert text.isascii()
        assert not set(text) - set("abcdefghijklmnopqrstuvwxyz0123456789-")
        assert 1 <= len(text) <= 63


@pytest.mark.parametrize("cores", [-1, 0, 1, 64])
def test_a_node_has_at_least_one_core(cores: int) -> None:
    assert check_introduction(**GOOD | {"cpu_cores": cores}).cpu_cores == max(1, cores)
