"""Two gateways on one database: they share what they seal and digest with, or the second is told so in time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cloudgrpc.errors import Exit
from cluster_harness import Cluster
from program import HOST, free_port

if TYPE_CHECKING:
    from pathlib import Path

    from postgres import Database
    from program import Program


def test_a_second_gateway_seals_with_the_key_of_the_first_or_does_not_begin(
    tmp_path: Path, postgres_database: Database
) -> None:
    cluster, data = Cluster(tmp_path, nodes=0, database=postgres_database), tmp_path / "second"
    try:
        cluster.start()
        second = start(cluster, data)
        assert second.wait() == Exit.NOT_NOW
        said = second.err.read_text()
        assert "The gateways of this database seal files with the master key" in said
        assert "cloudgrpc secrets backup FILE" in said
        assert not list(data.glob("secrets/*"))  # or what the hint says would be refused
        saved = str(tmp_path / "saved.tar")
        for folder, act in ((cluster.data, "backup"), (data, "restore")):
            done = cluster.run("secrets", "--data-dir", str(folder), act, saved)
            assert done.returncode == Exit.OK, done.stderr
        second.start()
        cluster.wait(lambda: "listens on" in second.out.read_text(), what="the second gateway")
        assert "digest key" not in second.err.read_text()
        second.stop()
        (data / "secrets" / "digest.key").write_text("as nobody else has it\n")
        second.start()
        cluster.wait(lambda: second.out.read_text().count("listens on") == 2, what="the second gateway again")
        assert "has to sign in again" in " ".join(second.err.read_text().split())
    finally:
        cluster.close()


def start(cluster: Cluster, data: Path) -> Program:
    words = ["gateway", "--host", HOST, "--port", str(free_port()), "--data-dir", str(data)]
    second = cluster._program("second", words, {})
    second.start()
    return second
