"""Columnar databases for tests: the same test body runs on chdb and on ClickHouse.

A module (or test) marked `columnar` is run once on each: on chdb in the gate, on the
server in full. `COLUMNAR.door(directory)` opens a database that belongs to the directory.
A process has one chdb directory open at a time: close a door before the next one.
"""

import hashlib
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pithead.store.columnar import Columnar
from pithead.store.columnar.embedded import open_embedded
from pithead.store.columnar.server import Reach, open_server
from tests.support.clickhouse import ClickHouseServer
from tests.support.database_fixtures import TIERS


class Columnars:
    """Where tests of this moment keep their columnar databases."""

    def __init__(self) -> None:
        self.server: ClickHouseServer | None = None
        """Set while a test runs on the server."""

    async def door(self, directory: Path) -> Columnar:
        """Open the database of a directory, without tables when it is the first time."""
        if self.server is None:
            return await open_embedded(directory / "columnar")
        return await open_server(self.reach(directory))

    def reach(self, directory: Path) -> Reach:
        """How the server's database of a directory is reached."""
        assert self.server is not None
        name = hashlib.sha256(str(directory).encode()).hexdigest()[:16]
        return self.server.reach(f"test_{name}")


COLUMNAR = Columnars()


@contextmanager
def running_clickhouse() -> Iterator[ClickHouseServer]:
    """A server in a directory of its own, gone afterwards."""
    directory = Path(tempfile.mkdtemp(prefix="pithead-clickhouse-", dir="/tmp"))
    server = ClickHouseServer(directory, password="of a test")
    try:
        server.start()
        yield server
    finally:
        # What it holds is worth nothing, and it takes its time to end by itself.
        server.kill()
        shutil.rmtree(directory, ignore_errors=True)


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker."""
    config.addinivalue_line(
        "markers", "columnar: run once on chdb (gate) and once on ClickHouse (full)"
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run what is marked `columnar` on both, but for a test that has a tier of its own."""
    definition = metafunc.definition
    if definition.get_closest_marker("columnar") is None:
        return
    if any(definition.get_closest_marker(tier) for tier in TIERS):
        return
    kinds = [
        pytest.param("chdb", marks=[pytest.mark.gate, pytest.mark.needs("chdb")]),
        pytest.param("clickhouse", marks=[pytest.mark.full, pytest.mark.needs("clickhouse")]),
    ]
    metafunc.parametrize("columnar_kind", kinds, indirect=True)


@pytest.fixture(scope="session")
def clickhouse() -> Iterator[ClickHouseServer]:
    """The ClickHouse of this test session; its databases are the tests' own."""
    with running_clickhouse() as server:
        yield server


@pytest.fixture(autouse=True)
def columnar_kind(request: pytest.FixtureRequest) -> Iterator[str]:
    """Which columnar database the test runs on; `COLUMNAR` follows it."""
    kind: str = getattr(request, "param", "chdb")
    if kind == "chdb":
        yield kind
        return
    COLUMNAR.server = request.getfixturevalue("clickhouse")
    try:
        yield kind
    finally:
        COLUMNAR.server = None
