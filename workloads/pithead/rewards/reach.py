"""Tells the share processor how far back windows can still reach.

It merges the minutes of what lies before. A window that reaches further after all
comes out the same, only slower, so this is about work and never about money.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pithead.coins.weight import bits_to_target, expected_hashes
from pithead.contracts.accounting_pb2 import ReachRequest, SchemeReach
from pithead.rewards.database import Database
from pithead.rewards.nodes import Nodes, leader
from pithead.rewards.registry import Revision, revisions
from pithead.rewards.scheme import scheme_for

if TYPE_CHECKING:
    # Generated for type checkers only.
    from pithead.contracts.accounting_pb2_grpc import AccountingAsyncStub

CALL_TIMEOUT_S = 10.0

MARGIN = 4
"""Chains of the Bitcoin family let difficulty rise by at most four from one period to the next."""


@dataclass(frozen=True, slots=True)
class ReachedPool:
    """A pool, and the nodes that tell the difficulty of its chain."""

    pool: str
    nodes: Nodes


class Reach:
    """Keeps the share processor informed about all pools of the service."""

    def __init__(
        self,
        database: Database,
        pools: Sequence[ReachedPool],
        accounting: "AccountingAsyncStub",
    ) -> None:
        self._database = database
        self._pools = tuple(pools)
        self._accounting = accounting

    async def step(self) -> int:
        """Tell every pool's windows as of now. NodeError, grpc.aio.AioRpcError."""
        for pool in self._pools:
            leading = leader(await pool.nodes.standings())
            bits = await pool.nodes.bits(leading.best) if leading is not None else None
            if bits is None:
                continue
            async with self._database.read() as connection:
                table = await revisions(connection, pool.pool)
            windows = largest_windows(table, bits, pool.nodes.params.shift)
            request = ReachRequest(
                pool=pool.pool,
                schemes=[
                    SchemeReach(scheme=scheme, weight=str(weight))
                    for scheme, weight in sorted(windows.items())
                ],
            )
            await self._accounting.Reach(request, timeout=CALL_TIMEOUT_S)
        return 0


def largest_windows(table: Iterable[Revision], bits: int, shift: int) -> dict[str, int]:
    """Largest window of each scheme over its revisions at a difficulty, with the margin.

    Past revisions count, too: a block that is split late asks by its own.
    """
    hashes = expected_hashes(bits_to_target(bits))
    windows: dict[str, int] = {}
    for revision in table:
        scheme = scheme_for(revision.method).bind(revision.parameters)
        weight = MARGIN * scheme.window_weight(hashes, shift)
        windows[revision.scheme] = max(weight, windows.get(revision.scheme, 0))
    return windows
