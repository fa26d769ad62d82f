"""The live dashboard against a real gateway: each key, small and large terminals, a gateway that goes and comes."""

from __future__ import annotations

import asyncio
import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
import time
from typing import TYPE_CHECKING, Any

import pytest
from textual.widgets import Input

from cloudgrpc.admin.board_events import EventsPage
from cloudgrpc.admin.board_watch import EVERY_S
from cloudgrpc.admin.dashboard import Dashboard
from cloudgrpc.admin.desk import Desk
from cloudgrpc.admin.lookout import Lookout
from cloudgrpc.clients.session import Gateway
from cloudgrpc.errors import AdminKeyWrong, Exit
from cloudgrpc.pb import cloud_storage_pb2 as pb
from cluster_harness import PATIENT, Cluster
from operating import admin_key, admin_words
from person import Terminal
from program import PATIENCE_S
from screen import Screen

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

    from textual.pilot import Pilot

    from cloudgrpc.errors import CloudError
    from user import User

SMALL, LARGE = (80, 24), (140, 45)
MB = 1 << 20


@pytest.fixture(scope="module")
def drive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    settings: dict[str, Any] = {**PATIENT, "cluster_offline_after_s": PATIENCE_S}
    cluster = Cluster(tmp_path_factory.mktemp("drive"), nodes=3, **settings)
    try:
        cluster.start()
        alice = cluster.enroll("alice@example.org", "Alice Miller")
        alice.upload("holiday.jpg", os.urandom(5 * MB))
        cluster.enroll("bob@example.org", "Bob Baker")
        yield cluster
    finally:
        cluster.close()


class Seen:
    """A dashboard on a screen that nobody sees."""

    def __init__(self, pilot: Pilot[CloudError | None]) -> None:
        self.pilot = pilot

    @property
    def app(self) -> Dashboard:
        assert isinstance(self.pilot.app, Dashboard)
        return self.pilot.app

    @property
    def text(self) -> str:
        return "\n".join(strip.text.rstrip() for strip in self.app.screen._compositor.render_strips())

    async def press(self, *keys: str) -> None:
        await self.pilot.press(*keys)

    async def type(self, words: str) -> None:
        """At once, where keys are to go to: each key takes a tenth of a second here."""
        deadline = time.monotonic() + PATIENCE_S
        while not isinstance(focused := self.app.focused, Input):
            assert time.monotonic() < deadline, f"nowhere to type:\n{self.text}"
            await self.pilot.pause(0.02)
        focused.value = words

    async def wait(self, *words: str) -> str:
        """Until all of them are shown."""
        deadline = time.monotonic() + PATIENCE_S
        while missing := [word for word in words if word not in self.text]:
            assert time.monotonic() < deadline, f"{missing} never came:\n{self.text}"
            await self.pilot.pause(0.02)
        return self.text

    async def wait_gone(self, words: str) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while words in self.text:
            assert time.monotonic() < deadline, f"{words!r} stayed:\n{self.text}"
            await self.pilot.pause(0.02)

    def fits(self) -> None:
        width, height = self.app.size
        lines = self.text.split("\n")
        assert len(lines) == height
        assert max(map(len, lines)) <= width
        assert lines[-1].startswith("s Status"), "the keys stay in sight"


def watched(
    cluster: Cluster, script: Callable[[Seen], Awaitable[None]], size: tuple[int, int] = SMALL, key: str = ""
) -> CloudError | None:
    """Run the dashboard with a person who follows the script; returns what it ended with."""

    async def run() -> CloudError | None:
        with Gateway(cluster.address) as gateway:
            shown = key or admin_key(cluster)
            app = Dashboard(Lookout(gateway, shown), Desk(gateway, shown))
            async with app.run_test(size=size) as pilot:
                await script(Seen(pilot))
            return app.return_value

    return asyncio.run(run())


def test_every_key_shows_what_it_says(drive: Cluster) -> None:
    async def script(seen: Seen) -> None:
        await seen.wait("HEALTHY")
        await seen.press("u")
        await seen.wait("alice@example.org", "5.0 MB of 1.0 GB", "Bob Baker")
        await seen.press("slash")
        await seen.type("miller")
        await seen.press("enter")
        await seen.wait_gone("bob@example.org")
        await seen.press("enter")
        await seen.wait("User alice@example.org", "1 file", "holiday.jpg", "Open sessions")
        await seen.press("n")
        await seen.wait("Health", "Latency", "node1", "node2", "node3")
        await seen.press("down", "enter")
        await seen.wait("Node node2", "Takes chunks  yes", "never done yet", "Collecting")
        await seen.press("escape")
        await seen.wait("node3")
        await seen.press("d")
        await seen.wait("Whose account?")
        await seen.type("bob@example.org")
        await seen.press("enter")
        await seen.wait("User bob@example.org", "0 files")
        await seen.press("d")
        await seen.type("nobody@example.org")
        await seen.press("enter")
        await seen.wait("There is no account nobody@example.org")
        await seen.press("p")
        await seen.wait("Nothing is sold now", "Waiting for an operator", "nothing")
        await seen.press("e")
        await seen.wait("account.enrolled", "file.uploaded")
        await seen.press("slash")
        await seen.type("node.")
        await seen.press("enter")
        await seen.wait("Events of type node.", "node1 joined", "node3 joined")
        await seen.wait_gone("account.enrolled")
        await seen.press("slash")
        await seen.type("sense")
        await seen.press("enter")
        await seen.wait("there is no kind of event")
        await seen.press("question_mark")
        await seen.wait("stop monitoring", "refresh now")
        await seen.press("escape", "s")
        await seen.wait("Pool used", "Promised")
        await seen.press("q")

    assert watched(drive, script) is None


@pytest.mark.parametrize("size", [SMALL, LARGE], ids=["80x24", "140x45"])
def test_every_page_fits_the_terminal(drive: Cluster, size: tuple[int, int]) -> None:
    async def script(seen: Seen) -> None:
        await seen.wait(
            "HEALTHY", drive.address, "live", "of 6.0 GB", "2 whole, 0 with", "2 users, 2 sessions", "0 B/s"
        )
        await seen.wait("node3  online", "file.uploaded", "/holiday.jpg was uploaded")
        seen.fits()
        for key, words in [
            ("u", ["alice@example.org", "5.0 MB of 1.0 GB", "Bob Baker"]),
            ("n", ["Health", "Latency", "node3"]),
            ("p", ["Waiting for an operator", "nothing"]),
            ("e", ["account.enrolled", "file.uploaded", "node3 joined"]),
        ]:
            await seen.press(key)
            await seen.wait(*words)
            seen.fits()

    assert watched(drive, script, size) is None


def test_a_gateway_that_goes_and_comes_is_waited_for_and_no_event_is_lost(
    make_cluster: Callable[..., Cluster],
) -> None:
    cluster = make_cluster(nodes=1)
    alice = cluster.enroll("alice@example.org")
    _make_folders(alice, "before")

    async def script(seen: Seen) -> None:
        await seen.wait("live", "/before-2")
        await asyncio.to_thread(cluster.kill_gateway)
        told = await seen.wait("reconnecting", "No gateway answers")
        assert "as of " in told
        assert "1 user, 1 session" in told, "the last known figures stay"
        assert seen.app.query("ContentSwitcher.-stale"), "and are greyed"
        await asyncio.to_thread(cluster.start_gateway)
        await asyncio.to_thread(_make_folders, alice, "after")
        await seen.wait("live", "/after-2")
        await seen.wait_gone("No gateway answers")
        assert not seen.app.query("ContentSwitcher.-stale")
        ids = [event.event_id for event in seen.app.query_one(EventsPage)._all]
        assert ids == list(range(1, len(ids) + 1)), "none is lost, none comes twice"

    assert watched(cluster, script) is None


def test_a_repair_does_not_flood_the_events_but_each_is_shown_to_whoever_asks_for_them(drive: Cluster) -> None:
    made = [
        pb.SystemEvent(
            event_id=1_000_000 + number,
            event_type="copy.made",
            timestamp="2026-11-23T12:00:00.000Z",
            node_id=f"node{1 + number % 2}",
            message=f"chunk {number} was copied",
        )
        for number in range(2000)
    ]

    async def script(seen: Seen) -> None:
        await seen.wait("file.uploaded")
        await seen.press("e")
        page = seen.app.query_one(EventsPage)
        page.happened(made[:-2])
        page.happened(made[-2:])
        await seen.wait("account.enrolled", "1,000 times on node1, at last: chunk 1998", "1,000 times on node2")
        await seen.press("slash")
        await seen.type("copy.")
        await seen.press("enter")
        await seen.wait("chunk 1996 was copied", "chunk 1997 was copied", "chunk 1999 was copied")
        await seen.wait_gone("times")

    assert watched(drive, script) is None


def standing(text: str) -> tuple[str, str]:
    """What must not move: the time that all is of, and all below the first line, which holds the clock, too."""
    head, _, rest = text.partition("\n")
    return head.partition("PAUSED as of ")[2][: len("12:34:56")], rest


def test_nothing_moves_while_monitoring_is_stopped(drive: Cluster) -> None:
    alice = drive.login("alice@example.org")

    async def script(seen: Seen) -> None:
        await seen.wait("live", "HEALTHY")
        drive.pause("gateway")
        try:
            await seen.pilot.pause(EVERY_S + 0.5)
            await seen.press("m")
            before = standing(await seen.wait("PAUSED as of ", "m Go on"))
        finally:
            drive.resume("gateway")  # so that what it was asked before comes only now
        await asyncio.to_thread(alice.upload, "paused.bin", b"meanwhile")
        await seen.pilot.pause(EVERY_S + 0.5)
        assert standing(seen.text) == before, "all but the clock"
        deadline = time.monotonic() + PATIENCE_S
        while "2 files" not in seen.text and time.monotonic() < deadline:  # at first perhaps as counted before
            await seen.press("r")
        await seen.wait("PAUSED", "2 files")
        assert "paused.bin" not in seen.text
        await seen.press("m")
        await seen.wait("live", "/paused.bin was uploaded")

    assert watched(drive, script) is None


def test_a_key_that_is_refused_ends_it(drive: Cluster) -> None:
    async def script(seen: Seen) -> None:
        while seen.app.is_running and seen.app.return_value is None:
            await asyncio.sleep(0.02)

    assert isinstance(watched(drive, script, key="another-key-of-another-gateway"), AdminKeyWrong)


def test_at_a_real_terminal_it_takes_the_whole_screen_and_gives_it_back(drive: Cluster, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "cloudgrpc", *admin_words(drive)]
    terminal = Terminal(command, tmp_path, {**drive.environment(), "TERM": "xterm-256color"})
    screen = Screen(terminal)
    try:
        screen.wait("HEALTHY")
        screen.wait("node3")
        screen.wait("q Exit")
        terminal.send("n")
        screen.wait("Latency")
        terminal.send("q")
        assert terminal.left() == Exit.OK
    finally:
        terminal._process.kill()  # else a failed test leaves it behind


def test_at_a_terminal_a_wrong_key_is_told_in_words(drive: Cluster, tmp_path: Path) -> None:
    environment = {**drive.environment(), "ADMIN_KEY": "another-key-of-another-gateway"}
    terminal = Terminal([sys.executable, "-m", "cloudgrpc", *admin_words(drive)], tmp_path, environment)
    terminal.expect_exact("That is not the admin key of this gateway.")
    assert terminal.left() == Exit.NOT_SIGNED_IN


def test_it_ends_with_its_terminal_though_no_signal_tells_of_it(drive: Cluster, tmp_path: Path) -> None:
    mine, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-m", "cloudgrpc", *admin_words(drive)],
        cwd=tmp_path,
        env={**drive.environment(), "TERM": "xterm-256color"},
        stdin=its,
        stdout=its,
        stderr=its,
        start_new_session=True,  # without a controlling terminal, so that none hangs it up
    )
    try:
        os.close(its)
        seen = b""
        while b"HEALTHY" not in seen:
            seen += os.read(mine, 1 << 16)
        os.close(mine)
        process.wait(PATIENCE_S)
    finally:
        process.kill()


def _make_folders(person: User, name: str) -> None:
    for number in range(3):
        person.mkdir(f"{name}-{number}")
