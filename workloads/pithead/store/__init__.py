"""SQL databases of services: engines, transactions, portable column types, migrations.

Answers for how a service reaches a database of its own (SQLite on one machine,
PostgreSQL in a cluster) so that callers write one portable SQL text. It knows no
service and no table. Alembic is imported by `pithead.store.migrate` alone, which
services never import, so that they start fast.
"""

from pithead.store.engine import open_store, reading, retried, take_turns, transaction
from pithead.store.errors import (
    StoreError,
    StoreRefused,
    StoreTooNew,
    StoreTooOld,
    StoreUnreachable,
)
from pithead.store.types import (
    BigId,
    Hash32,
    JsonText,
    WideInt,
    make_metadata,
    wide_parts,
    wide_total,
)
from pithead.store.upsert import add_up, insert_into
from pithead.store.version import check_version, wait_for_version

__all__ = [
    "BigId",
    "Hash32",
    "JsonText",
    "StoreError",
    "StoreRefused",
    "StoreTooNew",
    "StoreTooOld",
    "StoreUnreachable",
    "WideInt",
    "add_up",
    "check_version",
    "insert_into",
    "make_metadata",
    "open_store",
    "reading",
    "retried",
    "take_turns",
    "transaction",
    "wait_for_version",
    "wide_parts",
    "wide_total",
]
