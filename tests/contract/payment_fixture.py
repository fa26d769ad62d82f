"""A shop without a gateway around it: the actions of payments on a real database, against the real sandbox, which can
crash before and after every effect."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from cloudgrpc.actions.payment_desk import PaymentDesk
from cloudgrpc.actions.payments import Payments
from cloudgrpc.actions.settling import Settling
from cloudgrpc.config import Config, Limits
from cloudgrpc.core.operators import Operator, Role
from cloudgrpc.core.peers import VISITOR, Visitor
from cloudgrpc.meta.promises import Promise
from cloudgrpc.outside.campay import Campay

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from cloudgrpc.meta.db import Database
    from cloudgrpc.sales import Campay as CampaySettings

TIER = "starter"
PER_HOUR = 100_000  # a test may begin more than a person
TIER_BYTES = 250 << 20
NOBODY = Visitor()
BOSS = Operator("boss", Role.OPERATE)
PLENTY = Promise(1 << 30, 1, 1e6)


class Crash(BaseException):
    """The process is gone; nothing may catch this."""


class Fuse:
    """Blows at the effect with this number, before it (even) or after it (odd); None: never."""

    def __init__(self) -> None:
        self.left: int | None = None

    async def around(self, effect: Coroutine[Any, Any, Any]) -> Any:
        if self._burns():
            effect.close()
            raise Crash
        result = await effect
        if self._burns():
            raise Crash
        return result

    def _burns(self) -> bool:
        if self.left is None:
            return False
        self.left -= 1
        return self.left < 0


class Fused:
    """Any object whose named coroutine functions are effects."""

    def __init__(self, real: Any, fuse: Fuse, *effects: str) -> None:
        self._real, self._fuse, self._effects = real, fuse, effects

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._real, name)
        if name not in self._effects:
            return value
        return lambda *args, **kwargs: self._fuse.around(value(*args, **kwargs))


class Shop:
    """`act` runs a coroutine to its end in one loop; when the fuse blows there, the shop is opened anew, as a process
    that starts again."""

    def __init__(
        self, database: Database, campay: CampaySettings, promise: Promise = PLENTY, per_hour: int = PER_HOUR
    ) -> None:
        self._database, self._promise = database, promise
        self._config = Config(campay=campay, limits=Limits(payments_per_hour=per_hour))
        self.fuse = Fuse()
        self._runner = asyncio.Runner()
        self.open()

    def open(self) -> None:
        self.client = Campay(self._config.campay)
        database: Any = Fused(self._database, self.fuse, "run")
        client: Any = Fused(self.client, self.fuse, "collect")
        self.settling = Settling(database, client)
        self.payments = Payments(database, client, self.settling, self._config, self._promise, digest_key="a key")
        self.desk = PaymentDesk(database, client, self.settling)

    def act(self, work: Coroutine[Any, Any, Any], visitor: Visitor = NOBODY) -> Any:
        """What it returns; Crash when the fuse blew. `visitor`: who calls."""
        try:
            return self._runner.run(self._to_the_end(work, visitor))
        except Crash:
            self.fuse.left = None
            self.close()
            self._runner = asyncio.Runner()
            self.open()
            return Crash

    async def _to_the_end(self, work: Coroutine[Any, Any, Any], visitor: Visitor) -> Any:
        """With whatever it left running in the background."""
        VISITOR.set(visitor)
        result = await work
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for ended in await asyncio.gather(*others, return_exceptions=True):
            if isinstance(ended, Crash):
                raise ended
        return result

    def close(self) -> None:
        self._runner.close()
        self.client.close()
