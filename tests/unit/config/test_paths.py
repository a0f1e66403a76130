"""Where a one-machine runtime keeps its things."""

from pathlib import Path

import pytest
from sqlalchemy import make_url

from pithead.config.paths import RuntimePaths

pytestmark = pytest.mark.gate

PATHS = RuntimePaths(
    databases=Path("/data/db"), log=Path("/data/log"), node=Path("/data/node"), run=Path("/run/p")
)
SOCKET_NAME_LENGTH_MAX = 48
"""What the data directory leaves room for in a socket's path."""


def test_each_service_has_a_database_file_of_its_own() -> None:
    url = make_url(PATHS.database("ledger"))
    assert url.drivername == "sqlite+aiosqlite"
    assert url.database == "/data/db/ledger.db"


def test_socket_of_an_edge_is_short_however_long_its_ids_are() -> None:
    socket = Path(PATHS.edge("p" * 104, "r" * 32).serve().address.removeprefix("unix:"))
    assert socket.parent == PATHS.run
    assert len(socket.name) <= SOCKET_NAME_LENGTH_MAX


def test_sockets_of_different_edges_differ_and_stay() -> None:
    pairs = [("a", "b"), ("a", "c"), ("a.b", "c")]
    assert len({PATHS.edge(*pair).serve() for pair in pairs}) == len(pairs)
    assert (
        PATHS.edge("default.x", "local").serve().address
        == "unix:/run/p/stratum-75673539ac67a30a.sock"
    )
