"""Follows the main chain of one coin and writes the pool's blocks that no record told of.

From its stored position it looks at every new block for the tag of a pool and an
output that pays it. Before each step it makes sure that its position is still on
the main chain; when it is not, it walks back to the common ancestor, asks for
another look at every known block above it, and goes on from there. Position and
findings are written in one transaction.

It changes no state and no money: a block that it writes is a candidate like any other.
"""

import logging
from collections.abc import Mapping, Sequence

from pithead.coins.block import HEADER_BYTES, BlockError, parse_block_coinbase, parse_header
from pithead.coins.job import parse_coinbase_mark
from pithead.rewards.database import (
    BlockRow,
    Database,
    Recorded,
    Scanned,
    find_block,
    lowest_height,
    recheck,
    recheck_above,
    record_block,
    set_watch_position,
    watch_position,
)
from pithead.rewards.metrics import BLOCKS_WATCHED
from pithead.rewards.nodes import NodeLost, Nodes, Standing
from pithead.rewards.solved import Solved, WatchedPool, read_solved

SCAN_BLOCKS_MAX = 200
"""Blocks in one step: a long absence is caught up in slices, states are judged in between."""

WALK_BACK_MAX = 2000
"""Blocks walked back to a common ancestor; a deeper fork is another chain."""

UNKNOWN_REWIND = 144
"""Blocks looked at again when the node does not know our position: it lost its data or
follows a fork that we never saw. Looking twice is harmless."""

logger = logging.getLogger(__name__)


class Watcher:
    """The watcher of one coin."""

    def __init__(
        self, database: Database, coin: str, nodes: Nodes, pools: Sequence[WatchedPool]
    ) -> None:
        self._database = database
        self._coin = coin
        self._nodes = nodes
        self._pools: Mapping[bytes, WatchedPool] = {pool.tag: pool for pool in pools}

    async def scan(self, standing: Standing) -> Scanned:
        """Go on along a node's main chain, one slice at most; returns the new position.

        Raises NodeError, or NodeLost when the chain moves faster than it can be read.
        """
        position = await self._ancestor(standing, await self._position(standing))
        for _ in range(SCAN_BLOCKS_MAX):
            if position.height >= standing.tip.height:
                break
            following = await standing.node.block_hash_at(position.height + 1)
            if following is None:
                break
            raw = await standing.node.block_bytes(following)
            if raw is None:
                raise NodeLost(f"{standing.tip.node} no longer has block {following[::-1].hex()}")
            if parse_header(raw[:HEADER_BYTES]).parent != position.hash:
                # The chain was reorganised under our feet: the next step walks back.
                break
            position = await self._look(Scanned(position.height + 1, following), raw)
        return position

    async def _position(self, standing: Standing) -> Scanned:
        async with self._database.read() as connection:
            position = await watch_position(connection, self._coin)
            if position is not None:
                return position
            lowest = await lowest_height(connection, self._coin)
        height = standing.tip.height
        if lowest is not None:
            height = max(0, min(height, lowest - 1))
        first = await self._at(standing, height)
        logger.info("%s: watching the chain from height %d", self._coin, height)
        async with self._database.write() as connection:
            await set_watch_position(connection, self._coin, first)
        return first

    async def _at(self, standing: Standing, height: int) -> Scanned:
        found = await standing.node.block_hash_at(height)
        if found is None:
            raise NodeLost(f"{standing.tip.node} no longer has a block at height {height}")
        return Scanned(height, found)

    async def _ancestor(self, standing: Standing, position: Scanned) -> Scanned:
        """The position itself, or the last block before it that is on the main chain."""
        at = position
        for _ in range(WALK_BACK_MAX):
            header = await standing.node.block_header(at.hash)
            if header is None:
                at = await self._at(
                    standing, max(0, min(at.height, standing.tip.height) - UNKNOWN_REWIND)
                )
                break
            if header.confirmations > 0:
                break
            if header.parent is None:
                break
            at = Scanned(header.height - 1, header.parent)
        else:
            at = await self._at(
                standing, max(0, min(at.height, standing.tip.height) - UNKNOWN_REWIND)
            )
        if at != position:
            await self._go_back(position, at)
        return at

    async def _go_back(self, position: Scanned, ancestor: Scanned) -> None:
        async with self._database.write() as connection:
            touched = await recheck_above(connection, self._coin, ancestor.height)
            await set_watch_position(connection, self._coin, ancestor)
        logger.warning(
            "%s: the chain was reorganised below height %d; going on from %d, %d blocks of ours"
            " are looked at again",
            self._coin,
            position.height,
            ancestor.height,
            touched,
        )

    async def _look(self, at: Scanned, raw: bytes) -> Scanned:
        found = self._ours(raw)
        async with self._database.write() as connection:
            known = await find_block(connection, self._coin, at.hash)
            if known is not None:
                await recheck(connection, known)
            elif found is not None:
                pool, solved = found
                block = watched_block(self._coin, pool.pool, solved)
                if await record_block(connection, block, None) is Recorded.NEW:
                    BLOCKS_WATCHED.labels(pool.pool).inc()
                    logger.info(
                        "%s: block %s at height %d was on the chain before its record",
                        pool.pool,
                        block.name,
                        at.height,
                    )
            await set_watch_position(connection, self._coin, at)
        return at

    def _ours(self, raw: bytes) -> tuple[WatchedPool, Solved] | None:
        """The pool and what the block says, when it has a pool's tag and pays that pool."""
        try:
            _, coinbase = parse_block_coinbase(self._nodes.params, raw)
        except BlockError as error:
            # Our own coinbases can be read; what can not is of another software.
            logger.warning("%s: a block of the chain cannot be read: %s", self._coin, error)
            return None
        mark = parse_coinbase_mark(self._nodes.params, coinbase)
        pool = self._pools.get(mark.tag) if mark is not None else None
        if pool is None:
            return None
        solved = read_solved(self._nodes.params, raw, pool.scripts)
        if solved is None or not solved.pays:
            logger.warning(
                "%s: a block of the chain has the pool's tag but does not pay it", pool.pool
            )
            return None
        return pool, solved


def watched_block(coin: str, pool: str, solved: Solved) -> BlockRow:
    """The row of a block that only the chain showed: its finder is not known yet."""
    return BlockRow(
        coin=coin,
        hash=solved.hash,
        pool=pool,
        height=solved.height,
        parent=solved.parent,
        bits=solved.bits,
        value=solved.value,
        slot=solved.mark.slot,
        producer=solved.mark.salt,
        extranonce1=solved.mark.extranonce1,
        serial=solved.mark.serial,
        login="",
        worker="",
        found_ms=solved.time_s * 1000,
        from_watcher=True,
    )
