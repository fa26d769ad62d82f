"""Small puts to one node go together, and each hears what became of it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from cloudgrpc.chunks.together import AT_ONCE, Together
from cloudgrpc.errors import CloudError, DiskFull, NodeUnavailable

if TYPE_CHECKING:
    from collections.abc import Sequence

PATIENCE_S = 20.0


class Node:
    """Takes messages, and remembers how they came; what begins with "full" does not fit."""

    def __init__(self) -> None:
        self.batches: list[list[bytes]] = []

    async def send(self, messages: Sequence[bytes]) -> list[CloudError | None]:
        self.batches.append(list(messages))
        await asyncio.sleep(0)
        return [DiskFull(node_id="node1") if message.startswith(b"full") else None for message in messages]


def test_a_put_right_after_the_answer_to_the_last_is_answered_too() -> None:
    async def one_after_the_other() -> None:
        together = Together(Node().send)
        for number in range(50):
            await asyncio.wait_for(together.put(b"%d" % number), PATIENCE_S)

    asyncio.run(one_after_the_other())


def test_what_waits_goes_together_and_in_order() -> None:
    node = Node()

    async def at_once() -> None:
        together = Together(node.send)
        await asyncio.wait_for(asyncio.gather(*(together.put(b"%03d" % number) for number in range(100))), PATIENCE_S)

    asyncio.run(at_once())
    assert [message for batch in node.batches for message in batch] == [b"%03d" % number for number in range(100)]
    assert max(map(len, node.batches)) == AT_ONCE
    assert len(node.batches) < 20


def test_one_that_fails_is_not_the_others_failure() -> None:
    async def at_once() -> list[BaseException | None]:
        together = Together(Node().send)
        puts = [together.put(message) for message in (b"a", b"full", b"b")]
        return await asyncio.wait_for(asyncio.gather(*puts, return_exceptions=True), PATIENCE_S)

    first, refused, last = asyncio.run(at_once())
    assert (first, last) == (None, None)
    assert isinstance(refused, DiskFull)


def test_a_node_out_of_reach_is_told_to_everyone_who_waits() -> None:
    async def nobody(_messages: Sequence[bytes]) -> list[CloudError | None]:
        raise NodeUnavailable(node_id="node1", reason="gone")

    async def at_once() -> list[BaseException | None]:
        together = Together(nobody)
        return await asyncio.gather(*(together.put(b"x") for _ in range(40)), return_exceptions=True)

    assert {type(outcome) for outcome in asyncio.run(at_once())} == {NodeUnavailable}


def test_a_node_that_tells_too_little_keeps_nobody_waiting() -> None:
    async def mute(_messages: Sequence[bytes]) -> list[CloudError | None]:
        return []

    async def put() -> None:
        await asyncio.wait_for(Together(mute).put(b"x"), PATIENCE_S)

    with pytest.raises(RuntimeError, match="each chunk"):
        asyncio.run(put())
