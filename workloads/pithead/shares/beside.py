"""The contract beside a running processor, or without one: for commands that have its settings.

In a cluster people look and decide from a pod that has the processor's settings and
secrets. What they ask is answered here by the same code, over the same database,
whose locks keep decisions and bookings apart.
"""

import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pithead.coins.registry import chain_params
from pithead.config import PeerSettings, ServeSettings, SharesSettings, unix_address
from pithead.contracts import accounting_pb2_grpc
from pithead.rpc import channel, serve
from pithead.shares.schema import REVISION
from pithead.shares.servicer import AccountingServicer
from pithead.store import check_version, open_store

if TYPE_CHECKING:
    from pithead.contracts.accounting_pb2_grpc import AccountingAsyncStub


@asynccontextmanager
async def accounting_of(settings: SharesSettings) -> "AsyncIterator[AccountingAsyncStub]":
    """Open the contract over the database of settings.

    Raises StoreError when the database cannot be used, UnknownCoin and BrokenCoin.
    """
    params = {coin.key: chain_params(coin.coin, coin.network) for coin in settings.coins}
    engine = open_store(settings.database, settings.connections)
    try:
        await check_version(engine, REVISION)
        servicer = AccountingServicer(engine, params, lambda: time.time_ns() // 1_000_000)
        with tempfile.TemporaryDirectory(prefix="pithead-") as directory:
            address = unix_address(Path(directory) / "s")
            async with (
                serve(
                    ServeSettings(address=address),
                    lambda server: accounting_pb2_grpc.add_AccountingServicer_to_server(
                        servicer, server
                    ),
                ),
                channel(PeerSettings(address=address)) as opened,
            ):
                yield accounting_pb2_grpc.AccountingStub(opened)
    finally:
        await engine.dispose()
