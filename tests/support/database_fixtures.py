"""Fixtures that run the tests marked `databases` on SQLite and on PostgreSQL."""

import asyncio
from collections.abc import Iterator

import pytest

from tests.support.databases import DATABASES, running_server
from tests.support.postgresql import PostgresServer

TIERS = ("gate", "full", "proof")


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker."""
    config.addinivalue_line(
        "markers", "databases: run once on SQLite (gate) and once on PostgreSQL (full)"
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run what is marked `databases` on both, but for a test that has a tier of its own."""
    definition = metafunc.definition
    if definition.get_closest_marker("databases") is None:
        return
    if any(definition.get_closest_marker(tier) for tier in TIERS):
        return
    kinds = [
        pytest.param("sqlite", marks=pytest.mark.gate),
        pytest.param("postgresql", marks=[pytest.mark.full, pytest.mark.needs("postgres")]),
    ]
    metafunc.parametrize("database_kind", kinds, indirect=True)


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgresServer]:
    """The PostgreSQL of this test session; its databases are the tests' own."""
    with running_server() as server:
        yield server


@pytest.fixture(autouse=True)
def database_kind(request: pytest.FixtureRequest) -> Iterator[str]:
    """Which database the test runs on; `tests.support.databases` follows it."""
    kind: str = getattr(request, "param", "sqlite")
    if kind == "sqlite":
        yield kind
        return
    DATABASES.server = request.getfixturevalue("postgresql")
    try:
        yield kind
        asyncio.run(DATABASES.drop_made())
    finally:
        DATABASES.server = None
