"""Answers from what the nodes said of the main chain."""

from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from pithead.coins.params import ChainParams
from pithead.shares import schema
from pithead.shares.fees import INDEX_BLOCKS, fee_indexes

HEIGHTS_MAX = 2016
"""Heights in one answer: two weeks of Bitcoin, some 200 KB."""


@dataclass(frozen=True, slots=True)
class ChainFact:
    """One height of the main chain, amounts in base units."""

    height: int
    hash: bytes
    """Empty when there is no block yet."""
    bits: int
    subsidy: int
    fees: int | None
    fee_index: int | None
    settled: bool


async def read_chain_facts(
    connection: AsyncConnection, params: ChainParams, first: int, last: int
) -> list[ChainFact]:
    """What is known of the heights `first` .. `last`, in order; ValueError for none or too many.

    The height above the highest block has a subsidy and a fee index, and no hash.
    """
    if not 0 <= last - first < HEIGHTS_MAX:
        raise ValueError(f"heights: expected 1 to {HEIGHTS_MAX}, got {first} to {last}")
    blocks = schema.chain_blocks.c
    found = await connection.execute(
        select(schema.chain_blocks).where(
            blocks.coin == params.key,
            blocks.height >= first - INDEX_BLOCKS,
            blocks.height <= last,
        )
    )
    rows = {row.height: row for row in found}
    indexes = fee_indexes({height: row.fees for height, row in rows.items()}, first, last)
    facts = []
    for height in range(first, last + 1):
        row, index = rows.get(height), indexes.get(height)
        if row is not None:
            facts.append(
                ChainFact(
                    height, bytes(row.hash), row.bits, row.subsidy, row.fees, index, row.settled
                )
            )
        elif index is not None:
            facts.append(ChainFact(height, b"", 0, params.subsidy(height), None, index, False))
    return facts
