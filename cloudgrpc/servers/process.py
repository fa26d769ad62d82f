"""How a role that listens runs: its event loop, and the ways in which it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Coroutine


def run_async(main: Coroutine[Any, Any, None]) -> None:
    """On uvloop where it exists: 40-55 % more unary calls a second."""
    try:
        import uvloop
    except ImportError:
        asyncio.run(main)
    else:
        uvloop.run(main)


def stop_event() -> asyncio.Event:
    """An event that SIGINT and SIGTERM set; call within the running loop."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    return stop


async def parent_gone(stop: asyncio.Event) -> None:
    """Set `stop` when standard input ends: its other end is held by the parent, and closes however that one dies."""
    loop = asyncio.get_running_loop()

    def watch() -> None:
        with contextlib.suppress(OSError):
            while os.read(sys.stdin.fileno(), 4096):
                pass
        with contextlib.suppress(RuntimeError):  # the loop ended first
            loop.call_soon_threadsafe(stop.set)

    # A daemon, since nothing can interrupt its read; the loop's own threads would be waited for at the end.
    threading.Thread(target=watch, name="parent", daemon=True).start()
    await stop.wait()


async def until_stopped(stop: asyncio.Event, *work: Coroutine[Any, Any, None]) -> None:
    """Do the work until told to stop; raises what the work raises."""
    tasks = [asyncio.create_task(one) for one in (stop.wait(), *work)]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
