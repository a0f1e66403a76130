"""Asks the share processor who found the blocks that only the chain showed.

The session of (salt, extranonce1) was durable before the connection had its first
job, but the share processor may not have read it yet, so the question is repeated.
PPLNS needs no finder; until one is known the block shows none.
"""

import logging
from typing import TYPE_CHECKING

from pithead.contracts.accounting_pb2 import FindSessionRequest
from pithead.rewards.database import Database, change_block, find_block, without_finder

if TYPE_CHECKING:
    # Generated for type checkers only.
    from pithead.contracts.accounting_pb2_grpc import AccountingAsyncStub

ASKED_MAX = 20
"""Blocks asked about in one step, newest first."""

CALL_TIMEOUT_S = 10.0

logger = logging.getLogger(__name__)


class Finder:
    """Completes blocks of all coins with their finders."""

    def __init__(self, database: Database, accounting: "AccountingAsyncStub") -> None:
        self._database = database
        self._accounting = accounting

    async def step(self) -> int:
        """Ask about the newest blocks without a finder; returns how many were found.

        Raises grpc.aio.AioRpcError while the share processor is away.
        """
        async with self._database.read() as connection:
            unknown = await without_finder(connection, ASKED_MAX)
        found = 0
        for block in unknown:
            reply = await self._accounting.FindSession(
                FindSessionRequest(producer=block.producer, extranonce1=block.extranonce1),
                timeout=CALL_TIMEOUT_S,
            )
            if not reply.found:
                continue
            async with self._database.write() as connection:
                fresh = await find_block(connection, block.coin, block.hash)
                # A full record may have come meanwhile; it knows better.
                if fresh is None or fresh.login:
                    continue
                await change_block(connection, fresh, login=reply.account, worker=reply.worker)
            found += 1
            logger.info("%s: block %s was found by %s", block.pool, block.name, reply.account)
        return found
