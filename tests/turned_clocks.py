"""Times that a test would have to wait out, turned in the metadata instead: leases, grace times, a node's silence.

A short lifetime cannot be given to a machine that stops for seconds at any line. So lifetimes are long in tests, and
what is to be old is made old.
"""

from __future__ import annotations

import time
from contextlib import closing, suppress
from typing import TYPE_CHECKING

import psycopg2.errors

if TYPE_CHECKING:
    from collections.abc import Callable

    from cluster_harness import Cluster

YEAR_US = 365 * 86_400 * 1_000_000
AGING = [("chunk", "unreferenced_at"), ("stray", "first_seen_at")]  # by which what may be collected ages
PATIENT_S = 40.0  # for what takes several rounds


def execute(cluster: Cluster, *statements: str) -> None:
    """Change the metadata behind the gateway's back, each statement by itself."""
    with closing(cluster._connect("rw")) as connection, closing(connection.cursor()) as cursor:
        for statement in statements:
            cursor.execute(statement)
            connection.commit()


def end_leases(cluster: Cluster) -> None:
    """Of a gateway that was killed, whose lead the next one would else wait for."""
    execute(cluster, "DELETE FROM lease")


def wait_offline(cluster: Cluster, *nodes: str) -> None:
    """Until the gateway has called these nodes offline, which are down: as if they had been silent for long."""

    def are_offline() -> bool:
        if not (left := set(nodes) & set(cluster.online())):
            return True
        # Again and again: the last word of one may be on its way yet.
        execute(cluster, *(f"UPDATE node SET last_heartbeat_at = 1 WHERE node_id = '{node}'" for node in left))
        return False

    cluster.wait(are_offline, what=f"{', '.join(nodes)} going offline")


def wait_collected(cluster: Cluster, predicate: Callable[[], object], what: str) -> None:
    """As `cluster.wait`, while every grace time is over at once: of chunks that no file needs, and of unknown files."""

    def collected() -> object:
        with suppress(psycopg2.errors.DeadlockDetected):  # with the round that collects them, which then tries again
            end_graces(cluster)
        return predicate()

    cluster.wait(collected, PATIENT_S, what)


def end_graces(cluster: Cluster) -> None:
    """Of a chunk not before all its files are known: its row must outlive them, or they would look like another
    database's. So never of one that a dead upload only planned; what became of it is found as an unknown file."""
    lately = time.time_ns() // 1000 - YEAR_US // 2  # what was turned is left alone
    looked_at = "(SELECT min(coalesce(inventory_at, 0)) FROM node WHERE is_online)"
    execute(
        cluster,
        f"""UPDATE chunk SET unreferenced_at = unreferenced_at - {YEAR_US}
            WHERE unreferenced_at > {lately} AND unreferenced_at < {looked_at} AND checksum <> ''""",
        f"UPDATE stray SET first_seen_at = first_seen_at - {YEAR_US} WHERE first_seen_at > {lately}",
    )


def turn(cluster: Cluster, chunk_id: str, by_us: int) -> None:
    """As if a chunk that no file needs, or an unknown file, had waited so much longer to be collected. That it does may
    come to be known only a moment from now."""
    which = f"WHERE chunk_id = '{chunk_id}'"

    def is_known() -> bool:
        return any(cluster.rows(f"SELECT 1 FROM {table} {which} AND {at} IS NOT NULL") for table, at in AGING)

    cluster.wait(is_known, what=f"{chunk_id} being known as needless")
    execute(cluster, *(f"UPDATE {table} SET {at} = {at} - {by_us} {which}" for table, at in AGING))
