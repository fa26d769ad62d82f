"""The feed of events: replayed from where somebody was, then told as they come, none left out and none twice.

    a commit that recorded events --the bell--> _look: gives them numbers --news--> every Following: reads on by itself

What is told is what has a number, in the order of the numbers, so a number is where to go on, at any gateway.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cloudgrpc.core.event_kinds import kinds_of
from cloudgrpc.core.units import micros_of
from cloudgrpc.errors import CloudError, GatewayStopping, InvalidField, TooManyFollowers
from cloudgrpc.meta import event_lists, events
from cloudgrpc.meta.event_lists import Told, Wanted

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from cloudgrpc.meta.db import Database

    Check = Callable[[], Awaitable[None]]

log = logging.getLogger(__name__)

MOST_FOLLOWERS = 100
PAGE = 250
NUMBERED_AT_ONCE = 1000
SWEPT_AT_ONCE = 1000
GAP_S = 0.05  # between two looks: what comes in thousands a second is told in few pages
LOOK_S = 2.0  # without a bell: that of another gateway may have died with it
CHECK_S = 2.0  # a key that is revoked ends what it follows so soon
USER_LETTERS = 320
DAY_US = 86_400_000_000


@dataclass(frozen=True)
class Asked:
    """As the wire tells it. `after_id`: None for what comes from now on, or for what `since` says."""

    after_id: int | None
    since: str
    types: Sequence[str]
    user: str
    stop_at_end: bool


class EventFeed:
    """`keep_days`: how long events are kept."""

    def __init__(self, database: Database, keep_days: float) -> None:
        self._db = database
        self._keep_us = int(keep_days * DAY_US)
        self._followers = 0
        self._looking: asyncio.Task[None] | None = None
        self._rung = asyncio.Event()
        self.last = 0  # number that was seen
        self.news = asyncio.Event()  # is set, and another takes its place, when `last` grows or all is over
        self.is_closed = False

    @contextlib.asynccontextmanager
    async def follow(self, asked: Asked, check: Check) -> AsyncIterator[Following]:
        """`check` raises once the caller may follow no more.

        Raises: InvalidField, UserUnknown, TooManyFollowers, GatewayStopping.
        """
        if self.is_closed:
            raise GatewayStopping
        if self._followers >= MOST_FOLLOWERS:
            raise TooManyFollowers(most=MOST_FOLLOWERS)
        self._followers += 1
        try:
            yield await self._begin(asked, check)
        finally:
            self._followers -= 1

    async def tidy(self) -> None:
        """Give numbers also when nobody follows, lest there be many to give; and drop what is too old."""
        await self._number()
        while await self._db.run(events.sweep, self._keep_us, SWEPT_AT_ONCE) == SWEPT_AT_ONCE:
            pass

    async def close(self) -> None:
        """Whoever follows is told to go on elsewhere."""
        self.is_closed = True
        self._tell()
        self._db.bell.hear(None)
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)

    async def _begin(self, asked: Asked, check: Check) -> Following:
        kinds = kinds_of(asked.types) if asked.types else None
        since = micros_of(asked.since, "since") if asked.since else 0
        account_id = await self._account_id_of(asked.user) if asked.user else ""
        if self._looking is None:  # before the end is looked for, or what comes meanwhile would wait for the next bell
            self._looking = asyncio.create_task(self._look())
        last = await self._number()
        after = last if asked.after_id is None else asked.after_id
        if not 0 <= after <= last:
            raise InvalidField(field="after_id", reason=f"is no event's; the newest has {last}")
        if since and asked.after_id is None:
            after = await self._db.read(event_lists.before, since)
        wanted = Wanted(kinds, account_id, since)
        return Following(self, self._db, wanted, check, after=after, end=last if asked.stop_at_end else None)

    async def _account_id_of(self, user: str) -> str:
        if len(user) > USER_LETTERS or not user.isprintable():
            raise InvalidField(field="user", reason="is neither an id nor an e-mail address")
        return await self._db.read(event_lists.account_id_of, user)

    async def _look(self) -> None:
        """Until nobody follows."""
        loop = asyncio.get_running_loop()

        def wake() -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended: nobody follows
                loop.call_soon_threadsafe(self._rung.set)

        self._db.bell.hear(wake)
        try:
            while self._followers:
                self._rung.clear()
                await self._look_once()
                await asyncio.sleep(GAP_S)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_S):
                        await self._rung.wait()
        finally:
            self._looking = None

    async def _look_once(self) -> None:
        try:
            last = await self._number()
        except CloudError as error:
            log.warning("events are told later: %s", error)
        except Exception:
            log.exception("events are told later")
        else:
            if last > self.last:
                self.last = last
                self._tell()

    async def _number(self) -> int:
        """Everything that was recorded has a number; returns the last."""
        while True:
            given, last = await self._db.run(events.number, NUMBERED_AT_ONCE)
            if given < NUMBERED_AT_ONCE:
                return last

    def _tell(self) -> None:
        heard, self.news = self.news, asyncio.Event()
        heard.set()


class Following:
    """One who follows. Holds a page at most, and reads on when that was taken: who is slow slows nobody else.

    `after`: the number that everything comes after; `end`: the number after which it is over, None for never.
    """

    def __init__(
        self, feed: EventFeed, database: Database, wanted: Wanted, check: Check, *, after: int, end: int | None
    ) -> None:
        self.after = after
        self._feed = feed
        self._db = database
        self._wanted = wanted
        self._end = end
        self._check = check
        self._check_at = time.monotonic() + CHECK_S

    async def events(self) -> AsyncIterator[Told]:
        """Raises: GatewayStopping, DatabaseUnavailable, and what the check raises."""
        while True:
            news = self._feed.news
            until = self._feed.last if self._end is None else self._end
            while self.after < until:
                page, looked = await self._db.read(event_lists.page, self._wanted, self.after, until, PAGE)
                for told in page:
                    await self._go_on()
                    yield told
                self.after = looked
            if self._end is not None:
                return
            await self._go_on()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, self._check_at - time.monotonic())):
                    await news.wait()

    async def _go_on(self) -> None:
        if self._feed.is_closed:
            raise GatewayStopping
        if time.monotonic() >= self._check_at:
            await self._check()
            self._check_at = time.monotonic() + CHECK_S
