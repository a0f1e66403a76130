"""Reads the block log of one pool into the database, once each and in one transaction with
the positions.

The identity of a block is its chain and hash. Whatever a record claims, hash,
height, parent, bits, slot, salt and value are read from the block's own bytes; the record
adds who found it and when. A record that is no block of this pool is counted and
left behind: it must not hold up the others, and a real block is still found by
the watcher.
"""

import logging

from pithead.coins.block import BlockError
from pithead.coins.params import ChainParams
from pithead.contracts.share_log_pb2 import BlockRecord
from pithead.log.codec import BatchError, decode_block
from pithead.log.errors import LogError, LogPositionInvalid, LogTruncated
from pithead.log.share_log import LogReader
from pithead.log.topics import blocks_topic
from pithead.rewards.database import (
    BlockRow,
    Database,
    Recorded,
    log_positions,
    record_block,
    set_log_position,
)
from pithead.rewards.metrics import CONSERVED_MONEY, RECORDS_REFUSED
from pithead.rewards.solved import WatchedPool, read_solved

READ_BYTES_MAX = 8 * 1024 * 1024
"""A few full blocks at a time: records carry whole blocks."""

READS_MAX = 64
"""Reads in one step; a replay of a long log gives others their turn."""

logger = logging.getLogger(__name__)


class RecordRefused(Exception):
    """Raised for a record that is no block of the pool whose log it lies in."""


class BlockConsumer:
    """The only reader of one pool's block log in rewards."""

    def __init__(
        self,
        database: Database,
        reader: LogReader,
        params: ChainParams,
        pool: WatchedPool,
    ) -> None:
        self._database = database
        self._reader = reader
        self._params = params
        self._pool = pool.pool
        self._tag = pool.tag
        self._scripts = pool.scripts

    async def step(self) -> int:
        """Take what is new in every partition; returns how many records were read.

        A partition that cannot be read holds up no other; its LogError is raised at the end.
        """
        log = await self._reader.log_id()
        async with self._database.read() as connection:
            positions = await log_positions(connection, blocks_topic(self._pool), log)
        taken, trouble = 0, None
        for partition in await self._reader.partitions():
            try:
                if partition not in positions:
                    positions[partition] = await self._reader.start(partition)
                taken += await self._take(log, partition, positions[partition])
            except LogError as error:
                trouble = error
        if trouble is not None:
            raise trouble
        return taken

    async def _take(self, log: str, partition: str, position: int) -> int:
        taken = 0
        for _ in range(READS_MAX):
            try:
                records = await self._reader.read(partition, position, READ_BYTES_MAX)
            except (LogTruncated, LogPositionInvalid) as error:
                # From the earliest, never the newest: blocks read before are known.
                logger.error("%s: %s", self._pool, error)
                position = await self._reader.start(partition)
                continue
            if not records:
                break
            blocks = [
                block
                for record in records
                if (block := self._read(record.payload, f"{partition}@{record.position}"))
            ]
            position = records[-1].next_position
            async with self._database.write() as connection:
                for row, raw in blocks:
                    self._tell(row, await record_block(connection, row, raw))
                await set_log_position(
                    connection, blocks_topic(self._pool), partition, log, position
                )
            taken += len(records)
        return taken

    def _tell(self, row: BlockRow, recorded: Recorded) -> None:
        if recorded is not Recorded.KNOWN:
            logger.info(
                "%s: block %s at height %d, found by %s, is %s",
                self._pool,
                row.name,
                row.height,
                row.login,
                recorded.value,
            )

    def _read(self, payload: bytes, where: str) -> tuple[BlockRow, bytes] | None:
        try:
            record = decode_block(payload)
            return self._row(record), record.block
        except (BatchError, BlockError, RecordRefused) as error:
            RECORDS_REFUSED.labels(self._pool).inc()
            logger.error("%s: block record at %s is refused: %s", self._pool, where, error)
            return None

    def _row(self, record: BlockRecord) -> BlockRow:
        if (record.pool, record.coin) != (self._pool, self._params.key):
            raise RecordRefused(f"it belongs to pool {record.pool!r} on {record.coin!r}")
        solved = read_solved(self._params, record.block, self._scripts)
        if solved is None or solved.mark.tag != self._tag:
            raise RecordRefused("its coinbase does not carry the pool's tag")
        if solved.hash != record.hash:
            raise RecordRefused(
                f"its bytes are block {solved.hash[::-1].hex()}, it says {record.hash[::-1].hex()}"
            )
        if solved.value != record.value:
            # The split pays what the chain pays, so nothing is lost but trust in the writer.
            CONSERVED_MONEY.inc()
            logger.error(
                "%s: the record of block %s says it pays %d base units, its outputs pay %d",
                self._pool,
                solved.hash[::-1].hex(),
                record.value,
                solved.value,
            )
        return BlockRow(
            coin=record.coin,
            hash=solved.hash,
            pool=self._pool,
            height=solved.height,
            parent=solved.parent,
            bits=solved.bits,
            value=solved.value,
            slot=solved.mark.slot,
            producer=solved.mark.salt,
            extranonce1=solved.mark.extranonce1,
            serial=solved.mark.serial,
            login=record.login.account,
            worker=record.login.worker,
            found_ms=record.found_ms,
            from_watcher=False,
        )
