"""PostgreSQL through asyncpg, directly or behind a pooler in transaction mode.

A pooler may give each transaction another session, so nothing is kept in one:
statements are unnamed and prepared inside the transaction that runs them, locks are
those of transactions, and what a session needs (search_path, limits) is fixed with
its role. A connection is asked whether it lives before it is used again. Nothing
here needs a connection of its own to the server, upgrades included: each is one
transaction.
"""

import ssl
from dataclasses import dataclass
from typing import Any, Protocol

import asyncpg
from sqlalchemy import URL, make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

CONNECT_TIMEOUT_S = 10.0

RETRIED_STATES = frozenset({"40001", "40P01"})
"""Serialization failure, deadlock: the transaction changed nothing and may be tried again."""

DRIVER = "postgresql+asyncpg"


class Limits(Protocol):
    """How much of a server one process takes; `pithead.config.ConnectionsSettings` is one."""

    @property
    def most(self) -> int:
        """Connections open at a time."""

    @property
    def wait_s(self) -> float:
        """How long a transaction waits for a free connection."""

    @property
    def statement_s(self) -> float:
        """How long a statement may take before it is broken off."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """Limits as values, with what suits a process that says nothing of its own."""

    most: int = 8
    wait_s: float = 15.0
    statement_s: float = 120.0


USUAL = Sizes()


class ConnectionLost(Exception):
    """Raised, inside SQLAlchemy's OperationalError, when the server cannot be reached."""


def is_postgresql(url: str) -> bool:
    """Tell whether a URL names a PostgreSQL database."""
    return make_url(url).get_backend_name() == "postgresql"


def driver_url(url: str | URL) -> tuple[URL, dict[str, Any]]:
    """Return the URL for our driver, and its TLS arguments.

    libpq's `sslmode` and `sslrootcert` are understood, as operators write them.
    """
    parsed = make_url(url).set(drivername=DRIVER)
    query = dict(parsed.query)
    mode = str(query.pop("sslmode", ""))
    authority = str(query.pop("sslrootcert", ""))
    parsed = parsed.set(query=query)
    if authority and mode in {"", "require", "verify-ca", "verify-full"}:
        context = ssl.create_default_context(cafile=authority)
        context.check_hostname = mode == "verify-full"
        return parsed, {"ssl": context}
    return parsed, {"ssl": mode} if mode else {}


def open_postgresql(url: str, limits: Limits = USUAL, *, patient: bool = False) -> AsyncEngine:
    """Make an engine; opens nothing yet. Raises OSError when a TLS file cannot be read.

    A statement that is broken off is ended at the server too, and its connection
    replaced. `patient` lets statements take what they take.
    """
    parsed, tls = driver_url(url)
    return create_async_engine(
        parsed,
        pool_size=limits.most,
        max_overflow=0,
        pool_timeout=limits.wait_s,
        pool_pre_ping=True,
        connect_args={
            **tls,
            "timeout": CONNECT_TIMEOUT_S,
            "command_timeout": None if patient else limits.statement_s,
            "statement_cache_size": 0,
            "prepared_statement_cache_size": 0,
            "prepared_statement_name_func": str,
            "async_creator_fn": _connect,
        },
    )


async def _connect(*arguments: Any, **options: Any) -> Any:
    """Open one connection; a refusal of the server looks like an unreachable one."""
    try:
        return await asyncpg.connect(*arguments, **options)
    except asyncpg.PostgresError as error:
        raise OSError(f"{type(error).__name__}: {error}") from error


def sqlstate(error: DBAPIError) -> str:
    """SQLSTATE of an error, empty when the server gave none."""
    return str(getattr(error.orig, "sqlstate", None) or "")


def quoted(name: str) -> str:
    """Return a name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'
