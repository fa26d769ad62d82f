"""What the dashboard shows, asked for again and again in threads of its own, so that its screen never waits."""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cloudgrpc.admin.feed import PASSING, RETRY_S, follow
from cloudgrpc.admin.lookout import Kinds, Start
from cloudgrpc.errors import CloudError, InvalidField, NotOffered, Unexpected

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cloudgrpc.admin.lookout import Lookout
    from cloudgrpc.pb import cloud_storage_pb2 as pb

EVERY_S = 2.0
KEPT_EVENTS = 1000
FIRST_EVENTS = 200


@dataclass(frozen=True)
class Pulse:
    """How everything stands."""

    status: pb.SystemStatusResponse
    nodes: Sequence[pb.NodeInfo]


@dataclass(frozen=True, eq=False)
class Question:
    """What a page wants to know beside that; `ask` runs in a thread."""

    ask: Callable[[], object]
    every_s: float = EVERY_S


@dataclass(frozen=True)
class Answer:
    question: Question
    answer: object


@dataclass(frozen=True)
class Refusal:
    """Of a page's question."""

    question: Question
    error: CloudError


@dataclass(frozen=True)
class Lost:
    """The gateway does not answer; it is asked on."""

    error: CloudError


@dataclass(frozen=True)
class Over:
    """It makes no sense to ask on, as with a key that was revoked."""

    error: CloudError


News = Pulse | Answer | Refusal | Lost | Over


class Watch:
    """`tell` gets the news, in a thread of this one's."""

    def __init__(self, lookout: Lookout, tell: Callable[[News], object]) -> None:
        self._lookout = lookout
        self._tell = tell
        self._is_over = threading.Event()
        self._wake = threading.Event()
        self._is_paused = False
        self._is_wanted = False  # a look at once
        self._question: Question | None = None
        self._asked_at = 0.0  # the question, by a clock that never goes back
        self._events: deque[pb.SystemEvent] = deque(maxlen=KEPT_EVENTS)  # not fetched yet

    def start(self) -> None:
        for run in (self._poll, self._follow):
            threading.Thread(target=self._guarded, args=(run,), daemon=True).start()

    def stop(self) -> None:
        """Both threads end once their calls do, which end with the gateway's connection."""
        self._is_over.set()
        self._wake.set()

    def pause(self, is_paused: bool) -> None:
        self._is_paused = is_paused
        if not is_paused:
            self.look_again()

    def ask(self, question: Question | None) -> None:
        """From now on, in place of the last one."""
        self._question = question
        self.look_again()

    def look_again(self) -> None:
        """Now, even when paused."""
        self._asked_at = 0.0
        self._is_wanted = True
        self._wake.set()

    def events(self) -> list[pb.SystemEvent]:
        """Those that came since the last time, in their order."""
        return [self._events.popleft() for _ in range(len(self._events))]

    def _guarded(self, run: Callable[[], None]) -> None:
        try:
            run()
        except CloudError as error:
            if not self._is_over.is_set():
                self._tell(Over(error))
        except Exception as error:  # noqa: BLE001 - a thread that died unheard would leave a screen of old figures
            # gRPC raises ValueError for a call on a connection that was closed.
            if not self._is_over.is_set():
                self._tell(Over(Unexpected(fault=f"{type(error).__name__}: {error}")))

    def _poll(self) -> None:
        while not self._is_over.is_set():
            self._wake.clear()
            is_wanted, self._is_wanted = self._is_wanted, False
            tell = self._tell if is_wanted else self._tell_unless_paused
            try:
                self._look(tell)
            except PASSING as error:
                tell(Lost(error))
            while not self._wake.wait(EVERY_S) and self._is_paused:
                pass

    def _tell_unless_paused(self, news: News) -> None:
        """An answer that was under way comes too late."""
        if not self._is_paused:
            self._tell(news)

    def _look(self, tell: Callable[[News], object]) -> None:
        tell(Pulse(self._lookout.status(), self._lookout.nodes()))
        question = self._question
        if question is None or (self._asked_at and time.monotonic() - self._asked_at < question.every_s):
            return
        self._asked_at = time.monotonic()
        try:
            tell(Answer(question, question.ask()))
        except PASSING:
            self._asked_at = 0.0
            raise
        except CloudError as error:
            tell(Refusal(question, error))

    def _follow(self) -> None:
        while not self._is_over.is_set():
            try:
                self._follow_on()
            except InvalidField:  # these are other events: the gateway has another database now
                self._is_over.wait(RETRY_S)
            except NotOffered:  # an older gateway; all else works
                return

    def _follow_on(self) -> None:
        last = 0
        for event in self._first_events():
            last = event.event_id
            self._events.append(event)
        # That the connection is lost, the other thread tells.
        for event in follow(self._lookout, Kinds(), Start(last), lambda _: None, self._is_over.wait):
            self._events.append(event)

    def _first_events(self) -> list[pb.SystemEvent]:
        while not self._is_over.is_set():
            try:
                return self._lookout.last_events(Kinds(), FIRST_EVENTS)
            except PASSING:
                self._is_over.wait(RETRY_S)
        return []
