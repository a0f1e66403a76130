"""Databases of earlier revisions, with rows in them, brought to the newest."""

from pathlib import Path

import pytest
from sqlalchemy import select, text

from pithead.shares import schema
from pithead.shares.states import SegmentState
from pithead.store import reading, transaction
from pithead.store.migrate import migrate
from tests.support.shares import BITS, COIN, parent
from tests.support.upgrades import database_at

pytestmark = pytest.mark.databases


async def test_segments_of_0001_keep_what_they_were_and_are_not_doubted(tmp_path: Path) -> None:
    url, engine = await database_at(tmp_path, "shares", "0001")
    async with transaction(engine) as connection:
        await connection.execute(
            text(
                "INSERT INTO segments (coin, parent, height, bits, aux, value, state, "
                "first_seen_ms) VALUES (:coin, :parent, 10, :bits, '[]', 7, 'settled', 5)"
            ),
            {"coin": COIN, "parent": parent(10), "bits": BITS},
        )
    assert await migrate(url, "pithead.shares") == schema.REVISION
    async with reading(engine) as connection:
        row = (await connection.execute(select(schema.segments))).one()
        assert (row.height, row.value, row.state) == (10, 7, SegmentState.SETTLED)
        assert (row.subsidy, row.doubt) == (None, None)
        assert not (await connection.execute(select(schema.chain_blocks))).all()
    await engine.dispose()


async def test_pools_of_0004_have_no_relayed_regions_and_keep_their_positions(
    tmp_path: Path,
) -> None:
    url, engine = await database_at(tmp_path, "shares", "0004")
    async with transaction(engine) as connection:
        await connection.execute(
            text("INSERT INTO positions VALUES ('shares.p', '0', 'cluster', 17)")
        )
    assert await migrate(url, "pithead.shares") == schema.REVISION
    async with reading(engine) as connection:
        row = (await connection.execute(select(schema.positions))).one()
        assert tuple(row) == ("shares.p", "0", "cluster", 17)
        for table in (schema.relay_streams, schema.relay_positions, schema.relay_producers):
            assert not (await connection.execute(select(table))).all()
    await engine.dispose()


async def test_solved_shares_count_from_above_what_was_booked(tmp_path: Path) -> None:
    url, engine = await database_at(tmp_path, "shares", "0005")
    async with transaction(engine) as connection:
        for pool in (1, 2):
            await connection.execute(
                text("INSERT INTO pools (id, pool, coin) VALUES (:id, :name, :coin)"),
                {"id": pool, "name": f"default.{pool}", "coin": COIN},
            )
        for height in (7, 9):
            await connection.execute(
                text(
                    "INSERT INTO cells (pool, height, seal, segment, minute, revision, account, "
                    "weight, shares) VALUES (1, :height, 0, 1, 0, 1, 1, 5, 1)"
                ),
                {"height": height},
            )
    assert await migrate(url, "pithead.shares") == schema.REVISION
    async with reading(engine) as connection:
        pools = await connection.execute(select(schema.pools).order_by(schema.pools.c.id))
        # The second pool has booked nothing: all that it ever finds is counted.
        assert [row.finds_from for row in pools] == [10, None]
        assert len((await connection.execute(select(schema.cells))).all()) == 2
    await engine.dispose()


async def test_positions_of_0007_are_nobodys_and_stay(tmp_path: Path) -> None:
    url, engine = await database_at(tmp_path, "shares", "0007")
    async with transaction(engine) as connection:
        await connection.execute(
            text("INSERT INTO positions VALUES ('shares.p', '0', 'cluster', 17)")
        )
    assert await migrate(url, "pithead.shares") == schema.REVISION
    async with reading(engine) as connection:
        row = (await connection.execute(select(schema.positions))).one()
        assert tuple(row) == ("shares.p", "0", "cluster", 17)
        for table in (schema.consumers, schema.claims):
            assert not (await connection.execute(select(table))).all()
    await engine.dispose()
