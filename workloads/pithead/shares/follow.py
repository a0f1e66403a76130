"""Follows one coin's main chain and keeps what accounting must know of its blocks.

From 144 blocks below the first height of any of the coin's pools on, the table
`chain_blocks` holds one row a height, without gaps: each row's parent is the row
below it. A step asks one node a bounded number of questions and writes what it
heard in one transaction, so it goes on from anywhere:

    top row off the node's main chain   -> removed, and the next one looked at
    blocks above the top row            -> added
    a pool that began lower             -> added below the lowest row
    rows deeper than a coinbase matures -> settled, for ever
    rows whose block's bytes were gone  -> asked for again now and then

A node that lags changes nothing. One that contradicts a settled row is passed
over; when every node does, that is an alarm and nothing is written.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from sqlalchemy import delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from pithead.coins.block import BlockHeader
from pithead.coins.node import ChainInfo, HeaderInfo, NodeError, RpcFault
from pithead.coins.params import ChainParams
from pithead.coins.tx import Tx
from pithead.shares import metrics, schema
from pithead.shares.fees import INDEX_BLOCKS, fees_of
from pithead.shares.locks import lock_chain
from pithead.store import insert_into, reading, transaction

logger = logging.getLogger(__name__)

BLOCKS_MAX = 16
"""Blocks read, or rows removed, in one step: some 30 MB of a full chain, well below a second."""

GONE_RETRY_MS = 600_000
"""Between two questions for the bytes of a block that nodes have pruned away."""

_BLOCKS = schema.chain_blocks.c


class FollowedNode(Protocol):
    """What is asked of a node; `pithead.coins.node.RpcNode` is one."""

    name: str

    async def chain_info(self) -> ChainInfo:
        """Where the node stands."""

    async def block_header(self, identity: bytes) -> HeaderInfo | None:
        """What the node knows of a block."""

    async def block_hash_at(self, height: int) -> bytes | None:
        """Hash of the main chain's block at a height."""

    async def coinbase(self, params: ChainParams, identity: bytes) -> tuple[BlockHeader, Tx] | None:
        """Header and coinbase of a block."""


class Contradicted(Exception):
    """Raised when no node agrees with a settled block: nothing is written then."""


@dataclass(frozen=True, slots=True)
class _Kept:
    """What the table holds of a coin."""

    start: int | None
    """Lowest height that is wanted; None before a pool has one."""
    lowest: Any | None
    top: Any | None
    gone: Any | None
    """The lowest row without a value."""


class ChainFollower:
    """Keeps the rows of one coin."""

    def __init__(
        self,
        engine: AsyncEngine,
        params: ChainParams,
        nodes: Sequence[FollowedNode],
        now_ms: Callable[[], int],
    ) -> None:
        self._engine = engine
        self._params = params
        self._coin = params.key
        self._nodes = tuple(nodes)
        self._now_ms = now_ms
        self._gone_asked_ms: int | None = None
        self._settled_below: int | None = None

    async def step(self) -> int:
        """Bring the rows nearer to the chain; return how many changed, 0 when all is known.

        Raises Contradicted, NodeError when no node answers, and DBAPIError.
        """
        kept = await self._kept()
        if kept.start is None:
            return 0
        failure: NodeError | None = None
        contradicted: Contradicted | None = None
        for node in self._nodes:
            try:
                info = await node.chain_info()
                if not info.ibd:
                    return await self._follow(node, info, kept, kept.start)
            except NodeError as error:
                failure = failure or error
            except Contradicted as error:
                contradicted = contradicted or error
        if contradicted is not None:
            metrics.CHAIN_CONTRADICTED.labels(self._coin).inc()
            raise contradicted
        if failure is not None:
            raise failure
        return 0

    async def _kept(self) -> _Kept:
        pools, rows = schema.pools.c, select(schema.chain_blocks).where(_BLOCKS.coin == self._coin)
        async with reading(self._engine) as connection:
            first = await connection.scalar(
                select(func.min(pools.first_height)).where(pools.coin == self._coin)
            )
            found = [
                (await connection.execute(query.limit(1))).first()
                for query in (
                    rows.order_by(_BLOCKS.height),
                    rows.order_by(_BLOCKS.height.desc()),
                    rows.where(_BLOCKS.value.is_(None)).order_by(_BLOCKS.height),
                )
            ]
        start = None if first is None else max(0, first - INDEX_BLOCKS)
        return _Kept(start, *found)

    async def _follow(self, node: FollowedNode, info: ChainInfo, kept: _Kept, start: int) -> int:
        top = kept.top
        if top is not None:
            header = await node.block_header(top.hash)
            if header is None and info.blocks < top.height:
                # It lags: what it does not know yet says nothing.
                return 0
            if header is None or header.confirmations < 0:
                return await self._step_back(node, top)
        below = None if top is None else top.hash
        added = await self._read_up(node, start if top is None else top.height + 1, info, below)
        if kept.lowest is not None:
            added += await self._read_down(
                node, kept.lowest, max(start, kept.lowest.height - BLOCKS_MAX + len(added))
            )
        settled_below = info.blocks - self._params.coinbase_maturity + 1
        changed = await self._write(added, settled_below)
        if not changed and kept.gone is not None:
            changed = await self._ask_again(node, kept.gone)
        heights = [row["height"] for row in added] + ([] if top is None else [top.height])
        if heights:
            metrics.CHAIN_HEIGHT.labels(self._coin).set(max(heights))
        return changed

    async def _step_back(self, node: FollowedNode, top: Any) -> int:
        """Remove rows from the top that are on the main chain no more."""
        off: list[Any] = []
        row = top
        while row is not None and len(off) < BLOCKS_MAX:
            header = await node.block_header(row.hash) if off else None
            if header is not None and header.confirmations > 0:
                break
            if row.settled:
                raise Contradicted(
                    f"node {node.name} does not have the settled block {row.hash[::-1].hex()} at "
                    f"height {row.height} of {self._coin} on its main chain: check which chain it "
                    "is on"
                )
            off.append(row)
            row = await self._row_at(row.height - 1)
        async with transaction(self._engine) as connection:
            await lock_chain(connection, self._coin)
            # From the top down, and only what is still there: another process may have been here.
            newest = await _top_height(connection, self._coin)
            if newest != top.height:
                return 0
            for gone in off:
                await connection.execute(
                    delete(schema.chain_blocks).where(
                        _BLOCKS.coin == self._coin,
                        _BLOCKS.height == gone.height,
                        _BLOCKS.hash == gone.hash,
                    )
                )
        logger.info("%s: %d blocks down from %d left the main chain", self._coin, len(off), newest)
        metrics.CHAIN_REPLACED.labels(self._coin).inc(len(off))
        return len(off)

    async def _row_at(self, height: int) -> Any | None:
        async with reading(self._engine) as connection:
            return (
                await connection.execute(
                    select(schema.chain_blocks).where(
                        _BLOCKS.coin == self._coin, _BLOCKS.height == height
                    )
                )
            ).first()

    async def _read_up(
        self, node: FollowedNode, first: int, info: ChainInfo, below: bytes | None
    ) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        for height in range(first, min(info.blocks, first + BLOCKS_MAX - 1) + 1):
            identity = await node.block_hash_at(height)
            row = None if identity is None else await self._block(node, height, identity)
            # The node's chain may change between two questions; the next step sees to it.
            if row is None or (below is not None and row["parent"] != below):
                break
            rows.append(row)
            below = row["hash"]
        return rows

    async def _read_down(self, node: FollowedNode, above: Any, last: int) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        parent, height = above.parent, above.height - 1
        while height >= last:
            row = await self._block(node, height, parent)
            if row is None:
                break
            rows.append(row)
            parent, height = row["parent"], height - 1
        return rows

    async def _block(
        self, node: FollowedNode, height: int, identity: bytes
    ) -> dict[str, Any] | None:
        """A row; without value when the node has only the header left, None when not even that."""
        subsidy = self._params.subsidy(height)
        row = {"coin": self._coin, "height": height, "hash": identity, "settled": False}
        try:
            found = await node.coinbase(self._params, identity)
        except RpcFault as fault:
            header = await node.block_header(identity)
            if header is None or header.parent is None:
                return None
            logger.warning(
                "%s: fees of height %d are not known: %s", self._coin, height, fault.trouble
            )
            return row | {
                "parent": header.parent,
                "bits": header.bits,
                "subsidy": subsidy,
                "value": None,
                "fees": None,
            }
        if found is None:
            return None
        head, coinbase = found
        value = sum(output.value for output in coinbase.outputs)
        return row | {
            "parent": head.parent,
            "bits": head.bits,
            "subsidy": subsidy,
            "value": value,
            "fees": fees_of(value, subsidy),
        }

    async def _write(self, rows: list[dict[str, Any]], settled_below: int) -> int:
        if not rows and settled_below == self._settled_below:
            return 0
        async with transaction(self._engine) as connection:
            await lock_chain(connection, self._coin)
            fitting = await _fitting(connection, self._coin, rows)
            if fitting:
                await connection.execute(
                    insert_into(connection, schema.chain_blocks).on_conflict_do_nothing(), fitting
                )
            await connection.execute(
                update(schema.chain_blocks)
                .where(
                    _BLOCKS.coin == self._coin,
                    _BLOCKS.height < settled_below,
                    _BLOCKS.settled.is_(False),
                    _BLOCKS.value.is_not(None),
                )
                .values(settled=True)
            )
        self._settled_below = settled_below
        return len(fitting)

    async def _ask_again(self, node: FollowedNode, gone: Any) -> int:
        """Ask for the value of a block whose bytes no node had."""
        now_ms = self._now_ms()
        if self._gone_asked_ms is not None and now_ms - self._gone_asked_ms < GONE_RETRY_MS:
            return 0
        self._gone_asked_ms = now_ms
        row = await self._block(node, gone.height, gone.hash)
        if row is None or row["value"] is None:
            return 0
        async with transaction(self._engine) as connection:
            await lock_chain(connection, self._coin)
            await connection.execute(
                update(schema.chain_blocks)
                .where(
                    _BLOCKS.coin == self._coin,
                    _BLOCKS.height == gone.height,
                    _BLOCKS.hash == gone.hash,
                )
                .values(value=row["value"], fees=row["fees"])
            )
        self._gone_asked_ms = None
        return 1


async def _top_height(connection: AsyncConnection, coin: str) -> int | None:
    found: int | None = await connection.scalar(
        select(func.max(_BLOCKS.height)).where(_BLOCKS.coin == coin)
    )
    return found


async def _fitting(
    connection: AsyncConnection, coin: str, rows: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Those of the rows that continue what the table holds now, whoever wrote it meanwhile."""
    heights = select(func.min(_BLOCKS.height), func.max(_BLOCKS.height)).where(_BLOCKS.coin == coin)
    lowest, top = (await connection.execute(heights)).one()
    if lowest is None:
        return rows
    ends = await connection.execute(
        select(schema.chain_blocks).where(_BLOCKS.coin == coin, _BLOCKS.height.in_({lowest, top}))
    )
    by_height = {row.height: row for row in ends}
    above, below = by_height[top].hash, by_height[lowest].parent
    fitting = []
    for row in sorted((row for row in rows if row["height"] > top), key=_height):
        if row["height"] != top + 1 or row["parent"] != above:
            break
        fitting.append(row)
        top, above = row["height"], row["hash"]
    for row in sorted((row for row in rows if row["height"] < lowest), key=_height, reverse=True):
        if row["height"] != lowest - 1 or row["hash"] != below:
            break
        fitting.append(row)
        lowest, below = row["height"], row["parent"]
    return fitting


def _height(row: dict[str, Any]) -> int:
    return int(row["height"])
