"""Where all copies are, seen as groups of chunks that lie on the same nodes; and giving up those that are too many.

`look` reads every copy there is, so it is done seldom; what it found is then looked up chunk by chunk.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from peewee import OP, SQL, Case, Expression, fn

from cloudgrpc.core.placement import wanted_copies, zone_key
from cloudgrpc.core.spread import Group, Member, Survey, by_scarcest
from cloudgrpc.meta import events
from cloudgrpc.meta.db import is_postgres, locked, now, rows
from cloudgrpc.meta.models import Chunk, Cluster, Copy, Event, Node

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

KEYS = 1000  # groups looked for in one statement
# Said in the very words of the index of copies that are not good, or SQLite would not use it.
NOT_GOOD = Copy.state != SQL("'good'")


@dataclass(frozen=True)
class Held:
    """A chunk and the nodes that have good copies of it."""

    chunk_id: str
    length: int
    checksum: str
    holders: tuple[str, ...]


@dataclass(frozen=True)
class Spare:
    """A copy that can go. `verified`: nodes whose copies were read just now and are whole."""

    chunk_id: str
    node_id: str
    verified: Collection[str]


def look(factor: int, delay_us: int, takers: Collection[str] | None = None, *, with_sizes: bool = False) -> Survey:
    """`delay_us`: so long a node that went offline is waited for. `takers`: the nodes that take new copies, as far as
    the caller knows; None: whichever are online and writable."""
    members = _members(delay_us, takers)
    wanted = wanted_copies(factor, sum(member.is_staying for member in members.values()))
    groups = _groups_with_sizes() if with_sizes else _groups()
    return Survey(groups, members, wanted)


def signs(delay_us: int) -> tuple[object, ...]:
    """What a look would find otherwise once any of it has changed: the nodes, and whether they are waited for; and the
    last time that an operator asked for one, perhaps at another gateway."""
    asked = Event.select(fn.MAX(Event.event_id)).where(Event.kind == "repair.asked").scalar()
    members = (
        (member.node_id, member.zone, member.is_online, member.is_staying, member.counts, member.takes)
        for member in _members(delay_us, None).values()
    )
    return asked, *members


def find(survey: Survey, wanted: Iterable[tuple[Sequence[Group], int]], limit: int) -> list[Held]:
    """Up to `limit` chunks that files need of these groups, each with the longest chunk that is looked for.

    Looked for where they are few: among the chunks with copies that are not good, which have an index of their own;
    then, on the node of each group that has the fewest, among those of which every copy is good.
    """
    found: list[Held] = []
    for groups, longest in wanted:
        for batch in _batches(groups):
            found += _find(_mixed(batch), longest, limit - len(found))
        pure = [group for group in groups if group.chunks > group.mixed]
        for node_id, its_groups in sorted(by_scarcest(survey, pure).items()):
            for batch in _batches(its_groups):
                found += _find(_pure(batch, node_id), longest, limit - len(found))
    return found


def unneeded_on(node_id: str, limit: int) -> list[Held]:
    """Chunks that no file needs any more, but whose time is not over, of which this node has a copy, also a bad one,
    and some node a good one."""
    its_copy = Copy.select(Copy.chunk).where((Copy.node == node_id) & (Copy.state != "doomed"))
    good = Copy.alias()
    some_good = good.select(SQL("1")).where((good.chunk == Chunk.chunk_id) & (good.state == "good"))
    key = Copy.select(_key()).where((Copy.chunk == Chunk.chunk_id) & (Copy.state == "good"))
    query = Chunk.select(Chunk.chunk_id, Chunk.length, Chunk.checksum, key).where(
        Chunk.unreferenced_at.is_null(False)
        & (Chunk.checksum != "")
        & fn.EXISTS(its_copy.where(Copy.chunk == Chunk.chunk_id))
        & fn.EXISTS(some_good)
    )
    return [
        Held(chunk_id, length, checksum, tuple(found.split(",")))
        for chunk_id, length, checksum, found in rows(query.limit(limit))
    ]


def give_up(spares: Sequence[Spare], factor: int) -> list[str]:
    """Look again, and doom those copies of which enough verified ones stay, of a chunk that no file needs one; returns
    the ids of their chunks. Not on a node that is offline by now, where nobody could delete them yet: until it is back
    they may come to be needed. A bad copy goes only when no file needs its chunk; else it is repair's."""
    given_up: Counter[str] = Counter()
    chunk_ids = []
    staying = {node_id for (node_id,) in rows(Node.select(Node.node_id).where(Node.draining_at.is_null()))}
    wanted = wanted_copies(factor, len(staying))
    # All locked at once and in one order, so that two who do the same never wait for each other in a ring.
    ids = sorted({spare.chunk_id for spare in spares})
    is_needed = {
        chunk.chunk_id: chunk.unreferenced_at is None
        for chunk in locked(Chunk.select().where(Chunk.chunk_id.in_(ids)).order_by(Chunk.chunk_id))
    }
    held: dict[str, dict[str, str]] = {chunk_id: {} for chunk_id in ids}  # the states of its copies, by their nodes
    # Locked too: one that turns out bad meanwhile is noted after this, or not counted here.
    copies = Copy.select(Copy.chunk, Copy.node, Copy.state).where(Copy.chunk.in_(ids) & (Copy.state != "doomed"))
    for chunk_id, node_id, state in rows(locked(copies.order_by(Copy.chunk, Copy.node))):
        held[chunk_id][node_id] = state
    online = {node_id for (node_id,) in rows(Node.select(Node.node_id).where(Node.is_online))}
    for spare in spares:
        states = held[spare.chunk_id]
        good = {node_id for node_id, state in states.items() if state == "good"}
        # A node may have gone since its copy was read.
        keepers = (good & staying & online & set(spare.verified)) - {spare.node_id}
        may_go, enough = (good, wanted) if is_needed.get(spare.chunk_id, True) else (states.keys(), 1)
        if spare.node_id not in may_go & online or len(keepers) < enough:
            continue
        Copy.update(state="doomed").where((Copy.chunk == spare.chunk_id) & (Copy.node == spare.node_id)).execute()
        del states[spare.node_id]
        given_up[spare.node_id] += 1
        chunk_ids.append(spare.chunk_id)
    for node_id, count in sorted(given_up.items()):
        events.record(
            "copies.given_up",
            f"{count} copies on {node_id} were more than wanted and are given up",
            node_id=node_id,
            copies=count,
        )
    return chunk_ids


def _members(delay_us: int, takers: Collection[str] | None) -> dict[str, Member]:
    went = max(now() - delay_us, Cluster.select(fn.COALESCE(fn.MAX(Cluster.repair_asked_at), 0)).scalar())
    return {node.node_id: _member(node, went, takers) for node in Node.select().order_by(Node.node_id)}


def _member(node: Node, went: int, takers: Collection[str] | None) -> Member:
    is_staying = node.draining_at is None
    return Member(
        node_id=node.node_id,
        zone=zone_key(node.node_id, node.zone),
        is_online=node.is_online,
        is_staying=is_staying,
        counts=is_staying and (node.is_online or (node.offline_since_at or 0) > went),
        takes=is_staying and node.is_online and not node.is_read_only and (takers is None or node.node_id in takers),
        free_bytes=max(0, node.capacity_bytes - node.used_bytes),
        used_bytes=node.used_bytes,
        capacity_bytes=node.capacity_bytes,
    )


def _key(condition: Any = True) -> Any:
    """The nodes of a group of copies, in one word. SQLite goes by its index of chunk and node, so that they come in
    order there; where they did not, one group would be told as two."""
    node = Case(None, [(condition, Copy.node)], None) if condition is not True else Copy.node
    return fn.STRING_AGG(node, SQL("',' ORDER BY node_id")) if is_postgres() else fn.GROUP_CONCAT(node)


def _groups() -> list[Group]:
    """Of all copies first, for which SQLite reads but an index; then the few chunks with copies that are not good
    change their groups."""
    every = Copy.select(_key().alias("key")).group_by(Copy.chunk).alias("every")
    pure: Counter[str] = Counter(dict(rows(every.select_from(every.c.key, fn.COUNT(SQL("*"))).group_by(every.c.key))))
    mixed: Counter[str] = Counter()
    other = Copy.alias()
    both = (
        Copy.select(_key().alias("every"), _key(Copy.state == "good").alias("good"))
        .where(Copy.chunk.in_(other.select(other.chunk).where(other.state != SQL("'good'"))))
        .group_by(Copy.chunk)
        .alias("both")
    )
    corrections = both.select_from(both.c.every, both.c.good, fn.COUNT(SQL("*"))).group_by(both.c.every, both.c.good)
    for all_keys, good_keys, chunks in rows(corrections):
        pure[all_keys] -= chunks
        if good_keys:
            mixed[good_keys] += chunks
    counts = pure + mixed
    return [Group(key, chunks, mixed=mixed[key]) for key, chunks in sorted(counts.items())]


def _groups_with_sizes() -> list[Group]:
    held = (
        Copy.select(_key().alias("key"), fn.MAX(Chunk.length).alias("length"))
        .join(Chunk)
        .where(Copy.state == "good")
        .group_by(Copy.chunk)
        .alias("held")
    )
    query = held.select_from(held.c.key, fn.COUNT(SQL("*")), fn.SUM(held.c.length)).group_by(held.c.key)
    return [Group(key, chunks, int(size)) for key, chunks, size in rows(query)]


def _find(query: Any, longest: int, limit: int) -> list[Held]:
    if limit <= 0:
        return []
    query = query.where(Chunk.unreferenced_at.is_null() & (Chunk.length <= longest)).limit(limit)
    return [Held(chunk_id, length, checksum, tuple(key.split(","))) for chunk_id, length, checksum, key in rows(query)]


def _mixed(groups: Sequence[Group]) -> Any:
    """Chunks of these groups with copies that are not good, too."""
    other = Copy.alias()
    key = Copy.select(_key()).where((Copy.chunk == Chunk.chunk_id) & (Copy.state == "good"))
    is_mixed = Chunk.chunk_id.in_(other.select(other.chunk).where(other.state != SQL("'good'")))
    return Chunk.select(Chunk.chunk_id, Chunk.length, Chunk.checksum, key).where(is_mixed & _is_of(key, groups))


def _pure(groups: Sequence[Group], node_id: str) -> Any:
    """Chunks of these groups with a copy on this node, and none that is not good. So their keys stand in an index, and
    rows are looked up only of those that are wanted: the order of the conditions matters to SQLite."""
    here, other = Copy.alias(), Copy.alias()
    key = Copy.select(_key()).where(Copy.chunk == here.chunk)
    is_mixed = fn.EXISTS(other.select(SQL("1")).where((other.chunk == here.chunk) & (other.state != SQL("'good'"))))
    return (
        Chunk.select(Chunk.chunk_id, Chunk.length, Chunk.checksum, key)
        .join(here, on=(here.chunk == Chunk.chunk_id))
        .where((here.node == node_id) & _is_of(key, groups) & ~is_mixed)
    )


def _is_of(key: Any, groups: Sequence[Group]) -> Any:
    return Expression(key, OP.IN, [group.key for group in groups])


def _batches(groups: Sequence[Group]) -> Iterator[Sequence[Group]]:
    """As many as are looked for in one statement."""
    for start in range(0, len(groups), KEYS):
        yield groups[start : start + KEYS]
