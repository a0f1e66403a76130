"""Cells of sealed heights, made directly, for tests of the archive."""

from collections.abc import Iterable
from typing import NamedTuple

from hypothesis import strategies as st
from sqlalchemy import insert, text, update
from sqlalchemy.ext.asyncio import AsyncEngine

from pithead.coins.address import script_of_address
from pithead.shares import schema
from pithead.shares.states import SegmentState
from pithead.store import transaction
from tests.support.shares import BITS, COIN, PARAMS, POOL, POOL_SETTINGS, address, parent

HEIGHTS = range(1, 8)

# Three forks of each height, of which the last is disputed.
FORKS = (0, 1, 2)
DISPUTED_FORK = 2


class Cell(NamedTuple):
    account: int
    height: int
    fork: int
    minute: int
    revision: int
    late_at: int
    weight: int


CELLS = st.builds(
    Cell,
    account=st.integers(1, 4),
    height=st.integers(1, 5),
    fork=st.sampled_from(FORKS),
    minute=st.integers(0, 2),
    revision=st.integers(1, 3),
    late_at=st.sampled_from([0, 0, 0, 6, 7]),
    weight=st.integers(1, 5) | st.just((1 << 62) + 1),
)


def unique(cells: Iterable[Cell]) -> list[Cell]:
    """Each cell once."""
    return list({cell[:-1]: cell for cell in cells}.values())


def segment_id(height: int, fork: int) -> int:
    return height * 10 + fork + 1


async def old_pool(engine: AsyncEngine) -> None:
    """The pool of the tests with id 1 and its revisions, in a schema of whatever age."""
    columns = ("id", "pool", "slot", "scheme", "revision", "effective_height")
    async with transaction(engine) as connection:
        await connection.execute(
            text("INSERT INTO pools (id, pool, coin) VALUES (1, :pool, :coin)"),
            {"pool": POOL, "coin": COIN},
        )
        await connection.execute(
            text(f"INSERT INTO revisions ({', '.join(columns)}) VALUES (:{', :'.join(columns)})"),
            [
                {
                    "id": number,
                    "pool": 1,
                    "slot": slot.slot,
                    "scheme": slot.scheme,
                    "revision": slot.revision,
                    "effective_height": slot.effective_height,
                }
                for number, slot in enumerate(POOL_SETTINGS.slots, start=1)
            ],
        )


async def fill(
    engine: AsyncEngine,
    pool: int,
    cells: Iterable[Cell],
    *,
    sealed_height: int | None = None,
    account_ids: dict[int, int] | None = None,
) -> None:
    """Write accounts 1 to 4, segments and cells; `account_ids` gives accounts other ids."""
    ids = account_ids or {number: number for number in range(1, 5)}
    async with transaction(engine) as connection:
        await connection.execute(
            insert(schema.accounts),
            [
                {
                    "id": ids[number],
                    "coin": COIN,
                    "key": script_of_address(PARAMS, address(number)),
                    "script": script_of_address(PARAMS, address(number)),
                    "login": address(number),
                }
                for number in sorted(ids)
            ],
        )
        await connection.execute(
            insert(schema.segments),
            [
                {
                    "id": segment_id(height, fork),
                    "coin": COIN,
                    "parent": parent(height, fork),
                    "height": height,
                    "bits": BITS,
                    "aux": [],
                    "value": 1,
                    "state": SegmentState.DISPUTED
                    if fork == DISPUTED_FORK
                    else SegmentState.SETTLED,
                    "first_seen_ms": 0,
                }
                for height in HEIGHTS
                for fork in FORKS
            ],
        )
        rows = [
            {
                "pool": pool,
                "height": cell.late_at or cell.height,
                "seal": cell.late_at,
                "segment": segment_id(cell.height, cell.fork),
                "minute": cell.minute,
                "revision": cell.revision,
                "account": ids[cell.account],
                "weight": cell.weight,
                "shares": 1,
            }
            for cell in cells
        ]
        if rows:
            await connection.execute(insert(schema.cells), rows)
        if sealed_height is not None:
            await connection.execute(
                update(schema.pools).values(first_height=1, sealed_height=sealed_height)
            )
