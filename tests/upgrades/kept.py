"""What make.py keeps, unpacked: a data folder, a database of one's own, and the truth about them."""

from __future__ import annotations

import json
import subprocess
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from postgres import wheel_install

if TYPE_CHECKING:
    from postgres import Database

HERE = Path(__file__).resolve().parent
ENGINES = ("sqlite", "postgres")


def archive(step: str, engine: str) -> Path:
    return HERE / f"{step}.{engine}.tar.gz"


def unpack(step: str, engine: str, folder: Path, database: Database | None = None) -> dict[str, Any]:
    """Into `folder`/data, and into the database, which is an empty one. Returns the truth."""
    with tarfile.open(archive(step, engine)) as packed:
        packed.extractall(folder, filter="tar")  # which keeps the modes of folders
    if database is not None:
        load(folder / "database.sql", database)
    truth: dict[str, Any] = json.loads((folder / "truth.json").read_text())
    return truth


def load(dump: Path, database: Database) -> None:
    words = ["-h", database.host, "-p", str(database.port), "-U", database.user, "-d", database.name]
    psql = [str(wheel_install() / "bin" / "psql"), "-q", "-X", "-v", "ON_ERROR_STOP=1", "-f", str(dump), *words]
    subprocess.run(psql, stdout=subprocess.DEVNULL, check=True)
