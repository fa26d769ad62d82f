"""What all tests share: a PostgreSQL, clusters of real processes, and free ports."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest

from cluster_harness import CALM, Cluster
from postgres import Postgres
from program import clean_environment

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from postgres import Database

RELEASE = Path(__file__).parent / "release"
CLUSTERS = pytest.StashKey[list[Cluster]]()
LEFT_OUT = pytest.StashKey[int]()
CONFIG_HOME = pytest.StashKey[str]()

# A busy machine stops for seconds at any line. What never ends, pytest's own limit ends.
hypothesis.settings.register_profile(
    "busy machine", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("busy machine")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--soak", action="store_true", help="run the long and deep tests, too")
    parser.addoption("--release", action="store_true", help="run the tests of the executable, too")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """The executable's tests are for scripts/test.py --release, which builds it."""
    if collection_path == RELEASE and not config.getoption("--release"):
        return True
    return None


def pytest_configure(config: pytest.Config) -> None:
    # The developer's own settings are no part of a test.
    for name in os.environ.keys() - clean_environment().keys():
        del os.environ[name]
    # Nor is that this run may have begun in the background, where Ctrl-C is ignored, and by everything it starts.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    # Nor is what tests remember, such as which gateways speak TLS, the developer's.
    os.environ["XDG_CONFIG_HOME"] = config.stash[CONFIG_HOME] = tempfile.mkdtemp(prefix="cloudgrpc-test-config-")


def pytest_unconfigure(config: pytest.Config) -> None:
    shutil.rmtree(config.stash[CONFIG_HOME], ignore_errors=True)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--soak"):
        return
    long = [item for item in items if item.get_closest_marker("soak")]
    config.stash[LEFT_OUT] = len(long)
    if long:
        config.hook.pytest_deselected(items=long)
        items[:] = [item for item in items if item not in long]


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A worker of a run on several cores, each of which collects every test, tells what it left out."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["left_out"] = session.config.stash.get(LEFT_OUT, 0)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:  # xdist's, for which it has no types
    node.config.stash[LEFT_OUT] = getattr(node, "workeroutput", {}).get("left_out", 0)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if left_out := config.stash.get(LEFT_OUT, 0):
        terminalreporter.write_line(f"{left_out} long tests were left out; run them with: scripts/test.py --soak")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failed test shows what its processes said."""
    report = yield
    if report.failed:
        report.sections += [("cluster logs", cluster.tail()) for cluster in item.stash.get(CLUSTERS, [])]
    return report


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A real PostgreSQL server, started by the first test that wants it."""
    server = Postgres()
    yield server
    server.stop()


@pytest.fixture
def postgres_database(postgres: Postgres) -> Iterator[Database]:
    """An empty database of this test's own."""
    database = postgres.fresh_database()
    yield database
    postgres.drop(database)


@pytest.fixture
def make_cluster(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[..., Cluster]]:
    """`make_cluster(nodes=3, database=None, start=True, upkeep_grace_s=30, …)`, as often as wanted."""
    made: list[Cluster] = request.node.stash.setdefault(CLUSTERS, [])

    def make(*, start: bool = True, **arguments: object) -> Cluster:
        cluster = Cluster(tmp_path / f"cluster{len(made)}", **arguments)  # type: ignore[arg-type]
        made.append(cluster)
        return cluster.start() if start else cluster

    yield make
    for cluster in made:
        cluster.close()


@pytest.fixture
def cluster(make_cluster: Callable[..., Cluster]) -> Cluster:
    """A gateway with three nodes that keeps two copies, on SQLite."""
    return make_cluster()


@pytest.fixture(scope="session")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster on SQLite with two nodes, shared by tests that leave it as it is; nothing happens on it by itself."""
    cluster = Cluster(tmp_path_factory.mktemp("calm"), nodes=2, capacity_gb=200, **CALM)
    try:
        yield cluster.start()
    finally:
        cluster.close()


@pytest.fixture(scope="session")
def calm_on_postgres(tmp_path_factory: pytest.TempPathFactory, postgres: Postgres) -> Iterator[Cluster]:
    database = postgres.fresh_database()
    cluster = Cluster(tmp_path_factory.mktemp("calm-postgres"), nodes=2, capacity_gb=200, database=database, **CALM)
    try:
        yield cluster.start()
    finally:
        cluster.close()
        postgres.drop(database)


@pytest.fixture(params=["calm", "calm_on_postgres"], ids=["sqlite", "postgres"])
def calm_on_either(request: pytest.FixtureRequest) -> Cluster:
    cluster: Cluster = request.getfixturevalue(request.param)
    return cluster
