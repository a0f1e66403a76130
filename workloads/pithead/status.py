"""Asks the running services what a pool is doing; behind `pithead status` and the live view.

`collect` dials the services' sockets and answers with a Snapshot, leaving out
what a service that is away would have told. `document` turns a Snapshot into
the JSON for scripts, whose keys stay stable between releases.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, TypeVar

import grpc
import msgspec

from pithead.config import PeerSettings
from pithead.contracts import (
    accounting_pb2,
    accounting_pb2_grpc,
    charts_pb2,
    charts_pb2_grpc,
    edge_pb2,
    edge_pb2_grpc,
    ledger_pb2,
    ledger_pb2_grpc,
    payouts_pb2,
    payouts_pb2_grpc,
    rewards_pb2,
    rewards_pb2_grpc,
)
from pithead.rpc import channel

ANSWER_LIMIT_S = 2.0
"""How long a service may take; a busy one is shown as away instead of holding the view."""


class RuntimeListener(msgspec.Struct, frozen=True):
    """A stratum port that is open."""

    port: int
    scheme: str
    tls: bool
    host: str


class RuntimeRegion(msgspec.Struct, frozen=True):
    """One edge of a pool."""

    id: str
    peer: PeerSettings


class RuntimePool(msgspec.Struct, frozen=True):
    """One pool as the runtime started it."""

    pool: str
    name: str
    coin: str
    """Chain key `<coin>/<network>`."""
    endpoint: str
    """CoinEndpoint name."""
    symbol: str
    decimals: int
    regions: list[RuntimeRegion]
    listeners: list[RuntimeListener]


class Runtime(msgspec.Struct, frozen=True):
    """What a data directory runs; written by the runtime, read by `pithead status`."""

    pid: int
    pools: list[RuntimePool]
    shares: PeerSettings
    rewards: PeerSettings
    ledger: PeerSettings
    payouts: PeerSettings
    charts: PeerSettings | None = None
    """Where analytics is asked; None when it does not run."""


class RegionSnapshot(msgspec.Struct, frozen=True):
    """One edge; `status` is None when it does not answer."""

    id: str
    status: edge_pb2.StatusReply | None


class PoolSnapshot(msgspec.Struct, frozen=True):
    """Everything that is known of one pool at one moment."""

    runtime: RuntimePool
    regions: list[RegionSnapshot]
    counters: accounting_pb2.CountersReply | None
    blocks: rewards_pb2.BlocksReply | None
    split: rewards_pb2.SplitReply | None
    """Of the newest block that has one."""
    split_block: rewards_pb2.Block | None
    balances: ledger_pb2.BalancesReply | None
    payouts: payouts_pb2.ListReply | None
    charts: charts_pb2.StandingReply | None = None
    """None where there is no analytics, or it does not answer."""

    @property
    def ready(self) -> bool:
        """Some edge accepts shares and the hub's services answer."""
        hub = (self.counters, self.blocks, self.balances, self.payouts)
        return all(reply is not None for reply in hub) and any(
            region.status is not None and region.status.ready for region in self.regions
        )

    def balance(self, kind: ledger_pb2.BookKind.ValueType) -> int:
        """Sum of all books of one kind, base units."""
        if self.balances is None:
            return 0
        return sum(b.amount for b in self.balances.balances if b.book.kind == kind)

    @property
    def troubles(self) -> list[str]:
        """Sentences on what is wrong and what to do about it."""
        found = [
            f"edge {region.id}: {region.status.trouble}"
            for region in self.regions
            if region.status is not None and region.status.trouble
        ]
        found += [
            f"node {node.name}: {node.trouble}"
            for region in self.regions
            if region.status is not None
            for node in region.status.nodes
            if node.trouble
        ]
        if self.payouts is not None and self.payouts.trouble:
            found.append(f"payouts: {self.payouts.trouble}")
        if self.charts is not None and self.charts.trouble:
            found.append(f"charts: {self.charts.trouble}")
        return list(dict.fromkeys(found))


ReplyT = TypeVar("ReplyT")


async def _ask(call: Awaitable[ReplyT]) -> ReplyT | None:
    try:
        async with asyncio.timeout(ANSWER_LIMIT_S):
            return await call
    except (grpc.aio.AioRpcError, TimeoutError):
        return None


class Collector:
    """Keeps the channels open between two looks."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._channels = {
            peer: channel(peer)
            for peer in (
                runtime.shares,
                runtime.rewards,
                runtime.ledger,
                runtime.payouts,
                *((runtime.charts,) if runtime.charts is not None else ()),
                *(region.peer for pool in runtime.pools for region in pool.regions),
            )
        }
        self._shares = accounting_pb2_grpc.AccountingStub(self._channels[runtime.shares])
        self._rewards = rewards_pb2_grpc.RewardsStub(self._channels[runtime.rewards])
        self._ledger = ledger_pb2_grpc.LedgerStub(self._channels[runtime.ledger])
        self._payouts = payouts_pb2_grpc.PayoutsStub(self._channels[runtime.payouts])
        self._charts = (
            charts_pb2_grpc.ChartsStub(self._channels[runtime.charts])
            if runtime.charts is not None
            else None
        )

    async def close(self) -> None:
        """Close all channels."""
        for each in self._channels.values():
            await each.close()

    async def collect(self) -> list[PoolSnapshot]:
        """Ask all services about all pools."""
        return list(await asyncio.gather(*map(self._pool, self._runtime.pools)))

    async def _pool(self, pool: RuntimePool) -> PoolSnapshot:
        edges, counters, blocks, balances, payouts, charts = await asyncio.gather(
            asyncio.gather(*map(self._region, pool.regions)),
            _ask(self._shares.Counters(accounting_pb2.CountersRequest(pool=pool.pool))),
            _ask(self._rewards.Blocks(rewards_pb2.BlocksRequest(pool=pool.pool, limit=20))),
            _ask(
                self._ledger.Balances(
                    ledger_pb2.BalancesRequest(coin=pool.coin, non_zero=True),
                )
            ),
            _ask(
                self._payouts.List(
                    payouts_pb2.ListRequest(coin=pool.endpoint, limit=5, payments=True)
                )
            ),
            self._standing(pool.pool),
        )
        block = next((b for b in blocks.blocks if b.split_final), None) if blocks else None
        split = None
        if block is not None:
            split = await _ask(
                self._rewards.Split(rewards_pb2.SplitRequest(coin=pool.coin, hash=block.hash))
            )
        return PoolSnapshot(
            runtime=pool,
            regions=list(edges),
            counters=counters,
            blocks=blocks,
            split=split,
            split_block=block,
            balances=balances,
            payouts=payouts,
            charts=charts,
        )

    async def _standing(self, pool: str) -> charts_pb2.StandingReply | None:
        if self._charts is None:
            return None
        return await _ask(self._charts.Standing(charts_pb2.StandingRequest(pool=pool)))

    async def _region(self, region: RuntimeRegion) -> RegionSnapshot:
        stub = edge_pb2_grpc.EdgeStub(self._channels[region.peer])
        return RegionSnapshot(region.id, await _ask(stub.Status(edge_pb2.StatusRequest())))


def document(pools: list[PoolSnapshot]) -> dict[str, Any]:
    """Give the stable JSON form: amounts are decimal strings in base units, hashrate is H/s.

    Credits and payouts belong to the coin's wallet; pools that share a
    CoinEndpoint show the same figures there.
    """
    return {"pools": [_pool_document(pool) for pool in pools]}


def _pool_document(pool: PoolSnapshot) -> dict[str, Any]:
    live = [region.status for region in pool.regions if region.status is not None]
    counters = pool.counters or accounting_pb2.CountersReply()
    blocks = pool.blocks or rewards_pb2.BlocksReply()
    payouts = pool.payouts or payouts_pb2.ListReply(amount="0")
    return {
        "name": pool.runtime.name,
        "poolId": pool.runtime.pool,
        "coin": pool.runtime.coin.partition("/")[0],
        "network": pool.runtime.coin.partition("/")[2],
        "ready": pool.ready,
        "connections": sum(status.connections for status in live),
        "hashrate": sum(status.hashrate for status in live),
        "shares": {
            "accepted": counters.accepted,
            "stale": counters.stale,
            "duplicate": counters.duplicate,
            "low": counters.low,
        },
        "blocks": {
            "candidate": blocks.candidate,
            "confirmed": blocks.confirmed,
            "mature": blocks.mature,
            "orphaned": blocks.orphaned,
        },
        "credits": {
            "immature": str(pool.balance(ledger_pb2.BOOK_IMMATURE)),
            "payable": str(pool.balance(ledger_pb2.BOOK_PAYABLE)),
        },
        "payouts": {
            "pending": payouts.pending,
            "confirmed": payouts.confirmed,
            "amount": payouts.amount or "0",
        },
        "charts": {
            "lagSeconds": pool.charts.lag_ms / 1000 if pool.charts is not None else None,
            "shares": pool.charts.shares if pool.charts is not None else None,
        },
        "regions": [
            {
                "id": region.id,
                "ready": region.status is not None and region.status.ready,
                "connections": region.status.connections if region.status else 0,
                "hashrate": region.status.hashrate if region.status else 0.0,
            }
            for region in pool.regions
        ],
        "listeners": [
            {"port": each.port, "scheme": each.scheme, "tls": each.tls}
            for each in pool.runtime.listeners
        ],
        "troubles": pool.troubles,
    }
