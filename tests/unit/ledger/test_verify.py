"""Whatever is changed behind the ledger's back shows in `verify`."""

from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from pithead.ledger.posting import Ledger
from pithead.ledger.verify import verify
from tests.unit.ledger.support import CHAIN, FEE, database, entry, execute, hold, payable

pytestmark = pytest.mark.databases


async def book(engine: AsyncEngine) -> None:
    ledger = Ledger(engine)
    await ledger.post(entry("a", (CHAIN, -10), (payable(1), 9), (FEE, 1)), 1)
    await ledger.post(entry("b", (payable(1), -4), (hold(1), 4), kind="hold"), 2)
    await ledger.post(entry("c", (CHAIN, -10), (payable(2), 10)), 3)


def without_triggers(engine: AsyncEngine) -> list[str]:
    if engine.dialect.name == "sqlite":
        words = ("update", "delete")
        return [f"DROP TRIGGER {t}_refuse_{word}" for t in ("entries", "legs") for word in words]
    return [f"DROP TRIGGER {table}_refuse_change ON {table}" for table in ("entries", "legs")]


async def test_an_empty_book_is_sound(tmp_path: Path) -> None:
    async with database(tmp_path) as engine:
        assert await verify(engine) == []


@pytest.mark.parametrize(
    ("tampering", "where"),
    [
        (["UPDATE legs SET amount = 5 WHERE number = 2 AND kind = 'HOLD'"], "entry 2 (b)"),
        (
            [
                "UPDATE legs SET amount = 5 WHERE number = 2 AND kind = 'HOLD'",
                "UPDATE legs SET amount = -5 WHERE number = 2 AND kind = 'PAYABLE'",
                "UPDATE books SET balance = balance + 1 WHERE kind = 'HOLD'",
                "UPDATE books SET balance = balance - 1 WHERE kind = 'PAYABLE' AND owner = '1'",
            ],
            "entry 2 (b)",
        ),
        (["UPDATE entries SET memo = 'x' WHERE number = 1"], "entry 1 (a)"),
        (["UPDATE entries SET booked_ms = 7 WHERE number = 1"], "entry 1 (a)"),
        (["UPDATE legs SET owner = '3' WHERE owner = '2'"], "entry 3 (c)"),
        (
            ["DELETE FROM legs WHERE number = 2", "DELETE FROM entries WHERE number = 2"],
            "entry 3 (c)",
        ),
        (
            ["DELETE FROM legs WHERE number = 3", "DELETE FROM entries WHERE number = 3"],
            "head",
        ),
        (["UPDATE head SET hash = (SELECT hash FROM entries WHERE number = 1)"], "head"),
        (["DELETE FROM head"], "head"),
        (
            ["UPDATE books SET balance = balance + 1 WHERE kind = 'PAYABLE' AND owner = '2'"],
            "book PAYABLE/2 of devchain/regtest",
        ),
        (["DELETE FROM books WHERE kind = 'FEE'"], "sum of all books of devchain/regtest"),
    ],
    ids=[
        "one leg",
        "consistent legs and books",
        "memo",
        "time",
        "owner",
        "entry taken out",
        "last entry taken out",
        "head's hash",
        "head gone",
        "balance",
        "book gone",
    ],
)
async def test_tampering_shows_where_it_was_done(
    tmp_path: Path, tampering: list[str], where: str
) -> None:
    async with database(tmp_path) as engine:
        await book(engine)
        assert await verify(engine) == []
        await execute(engine, *without_triggers(engine))
        await execute(engine, *tampering)
        differences = await verify(engine)
    assert where in {difference.where for difference in differences}, differences
