"""A folder of 100,000 files: what is asked of it grows with the page that is told, not with the drive."""

from __future__ import annotations

import re
import sqlite3
import time
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from psycopg2.extras import execute_values

from cloudgrpc.meta.models import new_id
from cloudgrpc.pb import cloud_storage_pb2 as pb
from user import CALL_S

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cluster_harness import Cluster
    from user import User

pytestmark = [pytest.mark.soak, pytest.mark.timeout(1200)]

FEW, MANY = 1_000, 100_000
FILE_BYTES = 10
PAGE = 1000
BEST_OF = 5
BY_PAGE = [
    "first page",
    "a page in the middle",
    "names that begin so",
    "first page with the trash",
    "rename",
    "to the trash",
]
SLACK_MS = 10.0  # that a busy machine adds to anything

TABLES = {
    "entry": "entry_id account_id parent_id kind name name_key version_id created_at modified_at",
    "version": "version_id entry_id number size_bytes digest mime_type created_at",
    "chunk": "chunk_id length checksum created_at",
    "extent": "version_id position chunk_id length",
}


@dataclass
class Figures:
    """Of one drive, in milliseconds."""

    ms: dict[str, float] = field(default_factory=dict)

    def take(self, name: str, work: Callable[[], Any], best_of: int = 1) -> Any:
        times = []
        for _ in range(best_of):
            start = time.perf_counter()
            answer = work()
            times.append((time.perf_counter() - start) * 1000)
        self.ms[name] = min(times)
        return answer


def test_what_is_asked_of_a_large_folder_grows_with_the_page(
    make_cluster: Callable[..., Cluster], postgres_database: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    told = {}
    for engine, database in (("SQLite", None), ("PostgreSQL", postgres_database)):
        cluster = make_cluster(nodes=1, database=database, upkeep_inventory_s=600)
        few, small = measure(cluster, "few", FEW)
        many, large = measure(cluster, "many", MANY)
        told[engine] = few, many, small, large
        cluster.close()
    with capsys.disabled():
        for engine, (few, many, small, large) in told.items():
            print(f"\n{engine}: {'':24} {FEW:>10,} files {MANY:>10,} files")
            for name, ms in few.ms.items():
                print(f"  {name:32} {ms:>13.1f} ms {many.ms[name]:>13.1f} ms")
            print(f"  {'memory of the gateway, peak':32} {small:>12.1f} MiB {large:>12.1f} MiB")
    for few, many, small, large in told.values():
        for name in BY_PAGE:
            assert many.ms[name] < 10 * (few.ms[name] + SLACK_MS), name
        for name in (
            "the whole list by pages",
            "restore",
            "delete for good",
        ):  # grows with what is told, or with what is summed
            assert many.ms[name] < 3 * (MANY / FEW) * (few.ms[name] + SLACK_MS), name
        assert large - small < 150, "SQLite keeps 64 MB of pages for each connection"


def measure(cluster: Cluster, name: str, count: int) -> tuple[Figures, float]:
    """The figures, and the most memory that the gateway ever took, in MiB."""
    user, figures = cluster.enroll(f"{name}@example.org"), Figures()
    folder = user.mkdir("folder")
    fill(cluster, user, folder, count)
    files, history, token = cluster.files, cluster.history, user.token

    def page(after: str = "", **how: Any) -> pb.ListFilesResponse:
        request = pb.ListFilesRequest(session_token=token, folder_id=folder, page_size=PAGE, page_token=after, **how)
        return files.ListFiles(request, timeout=CALL_S)

    def pages() -> Iterator[pb.ListFilesResponse]:
        answer = page()
        yield answer
        while answer.next_page_token:
            answer = page(answer.next_page_token)
            yield answer

    def search() -> int:
        request = pb.SearchFilesRequest(session_token=token, name="*7.jpg", page_size=PAGE)
        found = 0
        while True:
            answer = files.SearchFiles(request, timeout=CALL_S)
            found += len(answer.found)
            if not answer.next_page_token:
                return found
            request.page_token = answer.next_page_token

    first = figures.take("first page", page, BEST_OF)
    assert len(first.files) == PAGE
    figures.take("a page in the middle", lambda: page(first.next_page_token), BEST_OF)
    assert len(figures.take("names that begin so", lambda: page(name_prefix="file0000"), BEST_OF).files) == 100
    figures.take("first page with the trash", lambda: page(include_deleted=True), BEST_OF)
    assert figures.take("the whole list by pages", lambda: sum(len(one.files) for one in pages())) == count
    assert figures.take("search", search) == count // 10
    rename = pb.RenameFileRequest(session_token=token, file_id=folder, new_name="others")
    figures.take("rename", lambda: files.RenameFile(rename, timeout=CALL_S), BEST_OF)
    figures.take("to the trash", lambda: user.delete(folder))
    restore = pb.RestoreFileRequest(session_token=token, file_id=folder)
    figures.take("restore", lambda: history.RestoreFile(restore, timeout=CALL_S))
    user.delete(folder)
    emptied = figures.take(
        "delete for good", lambda: history.EmptyTrash(pb.EmptyTrashRequest(session_token=token), timeout=CALL_S)
    )
    assert (emptied.entries, emptied.bytes) == (1, count * FILE_BYTES)
    assert user.storage().used_bytes == 0
    figures.take("its rows gone, in the background", lambda: cluster.wait(lambda: not left(cluster, user), 900))
    return figures, peak_mib(cluster)


def left(cluster: Cluster, user: User) -> int:
    ((count,),) = cluster.rows(f"SELECT count(*) FROM entry WHERE account_id = '{user.user_id}' AND kind = 'file'")
    return int(count)


def fill(cluster: Cluster, user: User, folder: str, count: int) -> None:
    """As if so many files had been uploaded; their chunks are on no node."""
    ids = [(new_id(), new_id(), new_id(), f"file{number:06}.jpg") for number in range(count)]
    rows: dict[str, list[tuple[Any, ...]]] = {
        "entry": [(e, user.user_id, folder, "file", name, name, v, 1, 1) for e, v, _, name in ids],
        "version": [(v, e, 1, FILE_BYTES, "blake3:00", "image/jpeg", 1) for e, v, _, _ in ids],
        "chunk": [(c, FILE_BYTES, "", 1) for _, _, c, _ in ids],
        "extent": [(v, 0, c, FILE_BYTES) for _, v, c, _ in ids],
    }
    place = cluster.data / "metadata.sqlite3"
    writable = cluster._connect() if cluster.database else sqlite3.connect(place, timeout=60)
    with closing(writable) as connection, connection, closing(connection.cursor()) as cursor:
        for table, columns in TABLES.items():
            into = f"INSERT INTO {table} ({', '.join(columns.split())}) VALUES"
            if cluster.database:
                execute_values(cursor, f"{into} %s", rows[table], page_size=1000)
            else:
                cursor.executemany(f"{into} ({', '.join('?' * len(columns.split()))})", rows[table])
        if cluster.database:
            cursor.execute("ANALYZE")  # as PostgreSQL does by itself after a while
        cursor.execute(f"UPDATE account SET used_bytes = {count * FILE_BYTES} WHERE account_id = '{user.user_id}'")


def peak_mib(cluster: Cluster) -> float:
    status = Path(f"/proc/{cluster.gateway.pid}/status").read_text()
    return int(re.findall(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)[0]) / 1024
