"""The program as it is, but for one thing: it kills itself where it is told to.

The environment's CRASH_ORDERS names a file. While that file says, say, `after put 2`, the process ends with SIGKILL
right after the second call of `put` since the file said so. Without the file nothing is different.

    begin receive commit abandon    transactions of an upload: "before" it is begun, "after" it is committed
    put                             a chunk to all its nodes
    put_one                         a chunk to one of its nodes
    claim collected complete        transactions of a payment
    collect                         Campay is asked for money
    restore                         the transaction that takes a backup in
    _add_version                          within the transaction of commit
    _put _begin_anew                      within that of restore: some rows of a backup, and what follows all of them
"""

from __future__ import annotations

import functools
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cloudgrpc import cli
from cloudgrpc.chunks.remote import RemoteStore
from cloudgrpc.chunks.replicated import ReplicatedStore
from cloudgrpc.meta import restoring, uploads
from cloudgrpc.meta.db import Database
from cloudgrpc.outside.campay import Campay

if TYPE_CHECKING:
    from collections.abc import Callable

ORDERS = Path(os.environ["CRASH_ORDERS"])

_counted: dict[str, int] = {}


def reach(moment: str) -> None:
    """Die here, if that is ordered. `moment`: such as "after put"."""
    try:
        orders = ORDERS.read_text()
    except FileNotFoundError:
        return
    where, _, number = orders.rpartition(" ")
    if where == moment:
        _counted[orders] = _counted.get(orders, 0) + 1
        if _counted[orders] == int(number):
            os.kill(os.getpid(), signal.SIGKILL)


def around(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def reached(*args: Any, **kwargs: Any) -> Any:
        reach(f"before {name}")
        result = function(*args, **kwargs)
        reach(f"after {name}")
        return result

    return reached


def around_async(function: Callable[..., Any], name_of: Callable[..., str]) -> Callable[..., Any]:
    @functools.wraps(function)
    async def reached(*args: Any, **kwargs: Any) -> Any:
        name = name_of(*args)
        reach(f"before {name}")
        result = await function(*args, **kwargs)
        reach(f"after {name}")
        return result

    return reached


# What is wrapped is what the callers look up. A transaction is over only when Database.run returns, not its function.
Database.run = around_async(Database.run, lambda _, function, *args: function.__name__)  # type: ignore[method-assign]
ReplicatedStore.put = around_async(ReplicatedStore.put, lambda *args: "put")  # type: ignore[method-assign]
RemoteStore.put = around_async(RemoteStore.put, lambda *args: "put_one")  # type: ignore[method-assign]
Campay.collect = around_async(Campay.collect, lambda *args: "collect")  # type: ignore[method-assign]
uploads._add_version = around("_add_version", uploads._add_version)
restoring._put = around("_put", restoring._put)
restoring._begin_anew = around("_begin_anew", restoring._begin_anew)

if __name__ == "__main__":
    cli.main()
