"""Somebody who operates a cluster with its own admin key."""

from __future__ import annotations

import io
import json
from contextlib import redirect_stderr, redirect_stdout
from typing import TYPE_CHECKING, Any

from cloudgrpc import cli
from cloudgrpc.errors import Exit

if TYPE_CHECKING:
    from cluster_harness import Cluster


def admin_key(cluster: Cluster) -> str:
    return (cluster.data / "secrets" / "admin.key").read_text().strip()


def admin_words(cluster: Cluster, *words: object) -> list[str]:
    """What is typed after the program's name; the key lies in the cluster's data folder."""
    return ["admin", "--gateway", cluster.address, "--data-dir", str(cluster.data), *map(str, words)]


def admin(cluster: Cluster, *words: object, exit_code: int = Exit.OK) -> str:
    """What it tells; in this process, which saves the start of a program each time."""
    told = io.StringIO()
    with redirect_stdout(told), redirect_stderr(told):
        left = cli.run(admin_words(cluster, *words))
    assert left == exit_code, f"{left} instead of {exit_code}:\n{told.getvalue()}"
    return told.getvalue()


def exit_code_of(cluster: Cluster, *words: str) -> int:
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        return cli.run(admin_words(cluster, *words))


def admin_json(cluster: Cluster, *words: object, exit_code: int = Exit.OK) -> Any:
    return json.loads(admin(cluster, *words, "--json", exit_code=exit_code))
