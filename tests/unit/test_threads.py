"""Threads that work is handed to: every work is answered, nothing is held, and none of them is left behind."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
import weakref
from typing import TYPE_CHECKING

import pytest

from cloudgrpc.threads import Threads

if TYPE_CHECKING:
    from collections.abc import Iterator

MOST = 3


class Held:
    """Something a work holds, or gives back."""


@pytest.fixture
def threads() -> Iterator[Threads]:
    threads = Threads(MOST, "tested")
    yield threads
    threads.close()


def ours() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "tested"]


def gone(seen: weakref.ref[Held]) -> bool:
    """A thread lets go a moment after it told."""
    for _ in range(500):
        if seen() is None:
            return True
        time.sleep(0.01)
    return False


def test_each_caller_gets_its_own_answer_or_error(threads: Threads) -> None:
    async def work() -> None:
        answers = await asyncio.gather(
            *(threads.run(lambda number=number: 6 // number) for number in (1, 0, 3, 0, 2)), return_exceptions=True
        )
        assert [answer if isinstance(answer, int) else type(answer) for answer in answers] == [
            6,
            ZeroDivisionError,
            2,
            ZeroDivisionError,
            3,
        ]

    asyncio.run(work())


def test_as_many_work_at_once_as_there_are_threads_and_no_more(threads: Threads) -> None:
    together = threading.Barrier(MOST)
    at_once, counting = [0, 0], threading.Lock()

    def count() -> None:
        with counting:
            at_once[0] += 1
            at_once[1] = max(at_once)
        together.wait(5)  # breaks unless all are there
        with counting:
            at_once[0] -= 1

    async def work() -> None:
        await asyncio.gather(*(threads.run(count) for _ in range(MOST * 4)))

    asyncio.run(work())
    assert at_once == [0, MOST]


def test_who_is_cancelled_before_it_began_is_left_out_and_who_is_cancelled_later_disturbs_nobody(
    threads: Threads,
) -> None:
    go = threading.Event()
    done: list[str] = []

    async def work() -> None:
        begun = [asyncio.create_task(threads.run(lambda: go.wait(5) and done.append("begun"))) for _ in range(MOST)]
        waiting = asyncio.create_task(threads.run(lambda: done.append("waiting")))
        await asyncio.sleep(0.05)
        for task in (begun[0], waiting):
            task.cancel()
        await asyncio.wait({begun[0], waiting})
        go.set()
        await asyncio.gather(*begun[1:])
        assert await threads.run(lambda: "next") == "next"

    asyncio.run(work())
    threads.close()
    assert done == ["begun"] * MOST


@pytest.mark.parametrize("fails", [False, True])
def test_nothing_of_a_work_is_held_once_its_caller_lets_go(threads: Threads, fails: bool) -> None:
    def give(held: Held) -> Held:
        if fails:
            raise ValueError(str(held))
        return held

    async def work() -> weakref.ref[Held]:
        held = Held()
        try:
            await threads.run(lambda held=held: give(held))
        except ValueError:
            assert fails
        return weakref.ref(held)

    gc.disable()  # what only it finds would hold chunks until it comes
    try:
        assert gone(asyncio.run(work()))
    finally:
        gc.enable()


def test_closing_waits_for_what_was_handed_over_and_then_takes_no_more(threads: Threads) -> None:
    done: list[int] = []
    for number in range(MOST * 2):
        threads.start(lambda number=number: (time.sleep(0.02), done.append(number)))
    threads.close()
    assert sorted(done) == list(range(MOST * 2))
    assert not ours()
    with pytest.raises(RuntimeError, match="tested"):
        threads.start(list)


def test_a_work_that_nobody_waits_for_may_fail(threads: Threads, caplog: pytest.LogCaptureFixture) -> None:
    threads.start(lambda: 1 / 0)
    assert asyncio.run(threads.run(lambda: "alive")) == "alive"
    threads.close()
    assert "ZeroDivisionError" in caplog.text


def test_an_answer_for_a_loop_that_has_ended_is_let_go(threads: Threads) -> None:
    go = threading.Event()

    async def leave() -> None:
        task = asyncio.create_task(threads.run(lambda: go.wait(5)))
        await asyncio.sleep(0.05)
        task.cancel()

    asyncio.run(leave())
    go.set()
    assert asyncio.run(threads.run(lambda: "alive")) == "alive"


def test_those_who_forget_them_leave_no_thread_behind() -> None:
    threads = Threads(MOST, "tested")
    assert asyncio.run(threads.run(lambda: 1)) == 1
    (thread,) = ours()
    del threads
    gc.collect()
    thread.join(5)
    assert not thread.is_alive()
