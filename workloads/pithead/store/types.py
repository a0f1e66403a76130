"""Portable column types and the metadata of a service's tables.

Hashes are 32 bytes in internal order. Integers beyond 63 bits are NUMERIC in
PostgreSQL and decimal text in SQLite; SQL cannot add the latter, so sums over
63-bit columns that may exceed 63 bits are taken in two halves (`wide_parts`).
"""

import json
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Integer, LargeBinary, MetaData, func, literal
from sqlalchemy.engine import Dialect
from sqlalchemy.types import Numeric, String, Text, TypeDecorator, TypeEngine

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}
"""Fixed names of constraints: a migration can only alter what has a name."""

BigId = BigInteger().with_variant(Integer(), "sqlite")
"""A 64-bit id that the database counts up: SQLite does so for INTEGER primary keys only."""

_HALF_BITS = 32
_HALF_MASK = (1 << _HALF_BITS) - 1


def make_metadata() -> MetaData:
    """Metadata for one service's tables, with names for all constraints."""
    return MetaData(naming_convention=NAMING)


class Hash32(TypeDecorator[bytes]):
    """Exactly 32 bytes, internal byte order."""

    impl = LargeBinary(32)
    cache_ok = True

    def process_bind_param(self, value: bytes | None, dialect: Dialect) -> bytes | None:
        """Refuse any other length with ValueError: a hex string or a cut hash is our own slip."""
        if value is not None and len(value) != 32:
            raise ValueError(f"a hash has 32 bytes, got {len(value)}")
        return value


class WideInt(TypeDecorator[int]):
    """An exact integer of any size. Compare for equality only: SQLite keeps it as text."""

    impl = String
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """NUMERIC where it is exact, decimal text else."""
        if dialect.name == "postgresql":
            return dialect.type_descriptor(Numeric(asdecimal=True))
        return dialect.type_descriptor(Text())

    def process_bind_param(self, value: int | None, dialect: Dialect) -> Any:
        """Text for SQLite; PostgreSQL's driver takes Decimal, which text makes exactly."""
        if value is None:
            return None
        if not isinstance(value, int):
            raise TypeError(f"an exact integer is needed, got {type(value).__name__}")
        if dialect.name == "postgresql":
            from decimal import Decimal  # noqa: PLC0415 - needed on one database only

            return Decimal(value)
        return str(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> int | None:
        """Python integer again."""
        return None if value is None else int(value)


class JsonText(TypeDecorator[Any]):
    """JSON in canonical text (sorted keys, no spaces), for audit records and cuts."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        """Canonical text of `value`; floats are refused by their own tests, not here."""
        if value is None:
            return None
        return json.dumps(value, sort_keys=True, separators=(",", ":"))

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:
        """Parse it again."""
        return None if value is None else json.loads(value)


def wide_parts(column: ColumnElement[int]) -> tuple[ColumnElement[int], ColumnElement[int]]:
    """Two SQL sums over a non-negative 63-bit column; `wide_total` joins them.

    Each sum stays within 63 bits for up to 2^31 rows, where a plain SUM would
    overflow in SQLite.
    """
    # PostgreSQL shifts a bigint by an integer only.
    high = func.coalesce(func.sum(column.op(">>")(literal(_HALF_BITS, Integer))), 0)
    low = func.coalesce(func.sum(column.op("&")(_HALF_MASK)), 0)
    return high, low


def wide_total(high: int, low: int) -> int:
    """Exact sum from the two sums of `wide_parts`, as the database returned them."""
    return (int(high) << _HALF_BITS) + int(low)
