"""Where a database is, as people write it."""

from __future__ import annotations

import pytest

from cloudgrpc.core.database_url import Place, parse
from cloudgrpc.errors import UsageWrong


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("postgresql://ann@db.example.org/drive", Place("db.example.org", 5432, "drive", "ann", "")),
        ("postgres://ann:p%40ss%2Fw@10.0.0.1:6000/drive", Place("10.0.0.1", 6000, "drive", "ann", "p@ss/w")),
        ("postgresql://db/a%20b", Place("db", 5432, "a b", "", "")),
        ("postgresql://ann@[::1]:5433/drive", Place("::1", 5433, "drive", "ann", "")),
        ("postgresql://ann@/drive?host=/run/postgresql", Place("/run/postgresql", 5432, "drive", "ann", "")),
        ("postgresql:///drive?host=/run/pg&port=6543", Place("/run/pg", 6543, "drive", "", "")),
    ],
)
def test_a_place_is_read_as_libpq_reads_it(url: str, place: Place) -> None:
    assert parse(url) == place


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("", "begins with postgresql://"),
        ("drive", "begins with postgresql://"),
        ("mysql://ann@db/drive", "begins with postgresql://"),
        ("postgresql://ann@db", "database's name"),
        ("postgresql://ann@db/", "database's name"),
        ("postgresql://ann@db/a/b", "database's name"),
        ("postgresql://ann@/drive", "?host="),
        ("postgresql://ann@db:99999/drive", "ort"),
        ("postgresql://ann@db:x/drive", "ort"),
        ("postgresql://ann@db/drive?port=0", "port"),
        ("postgresql://ann@db/drive?sslmode=require", "PGSSLMODE"),
        ("postgresql://ann@db/drive#1", "%23"),
        ("postgresql://ann:secret-word@[::1/drive", "--to"),
    ],
)
def test_what_is_no_place_is_told_without_the_url(url: str, reason: str) -> None:
    with pytest.raises(UsageWrong) as told:
        parse(url)
    assert reason in str(told.value)
    assert "secret-word" not in str(told.value)
