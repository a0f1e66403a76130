"""Column types on a real SQLite file."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import BigInteger, Column, Table, insert, select
from sqlalchemy.dialects import sqlite
from sqlalchemy.exc import StatementError

from pithead.store import (
    BigId,
    Hash32,
    JsonText,
    WideInt,
    make_metadata,
    open_store,
    reading,
    transaction,
    wide_parts,
    wide_total,
)

pytestmark = pytest.mark.gate

METADATA = make_metadata()
VALUES = Table(
    "sample",
    METADATA,
    Column("id", BigId, primary_key=True),
    Column("hash", Hash32),
    Column("wide", WideInt),
    Column("json", JsonText),
    Column("weight", BigInteger),
)


async def test_values_come_back_as_they_went_in(tmp_path: Path) -> None:
    engine = open_store(f"sqlite+aiosqlite:///{tmp_path / 'a.db'}")
    rows: list[dict[str, Any]] = [
        {"hash": bytes(range(32)), "wide": 3**200, "json": {"b": [1], "a": None}, "weight": 1},
        {"hash": b"\xff" * 32, "wide": -(3**200), "json": [], "weight": 2**63 - 1},
        {"hash": None, "wide": None, "json": None, "weight": 2**63 - 1},
    ]
    async with transaction(engine) as connection:
        await connection.run_sync(METADATA.create_all)
        await connection.execute(insert(VALUES), rows)
    async with reading(engine) as connection:
        found = await connection.execute(select(VALUES).order_by(VALUES.c.id))
        assert [dict(row._mapping) for row in found] == [
            {"id": number, **row} for number, row in enumerate(rows, 1)
        ]
        high, low = (await connection.execute(select(*wide_parts(VALUES.c.weight)))).one()
    assert wide_total(high, low) == 2**64 - 1
    await engine.dispose()


@pytest.mark.parametrize(
    ("column", "wrong"),
    [("hash", b"\x00" * 31), ("hash", b"\x00" * 33), ("wide", 1.5)],
    ids=["short-hash", "long-hash", "float"],
)
async def test_a_wrong_value_never_reaches_the_table(
    tmp_path: Path, column: str, wrong: object
) -> None:
    engine = open_store(f"sqlite+aiosqlite:///{tmp_path / 'a.db'}")
    async with transaction(engine) as connection:
        await connection.run_sync(METADATA.create_all)
        with pytest.raises(StatementError, match=r"32 bytes|exact integer"):
            await connection.execute(insert(VALUES), [{column: wrong}])
    await engine.dispose()


@given(st.integers())
def test_wide_integers_survive_as_text(number: int) -> None:
    kind = WideInt()
    dialect = sqlite.dialect()
    stored = kind.process_bind_param(number, dialect)
    assert isinstance(stored, str)
    assert kind.process_result_value(stored, dialect) == number


@given(st.lists(st.integers(min_value=0, max_value=2**63 - 1)))
def test_sums_in_halves_are_exact(numbers: list[int]) -> None:
    high = sum(number >> 32 for number in numbers)
    low = sum(number & 0xFFFFFFFF for number in numbers)
    assert wide_total(high, low) == sum(numbers)
