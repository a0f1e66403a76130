"""What rewards and accounting are asked, through their contracts."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import grpc
import grpc.aio

from pithead.contracts.accounting_pb2 import NewestReply, NewestRequest, WindowPart, WindowRequest
from pithead.contracts.rewards_pb2 import (
    BLOCK_ORPHANED,
    BlocksRequest,
    SchemeWindow,
    WindowsRequest,
)
from pithead.shares.analytics.queries.luck import FoundBlock
from pithead.shares.analytics.queries.names import NoSuch

if TYPE_CHECKING:
    # Generated for type checkers only.
    from pithead.contracts.accounting_pb2_grpc import AccountingAsyncStub
    from pithead.contracts.rewards_pb2_grpc import RewardsAsyncStub

ANSWER_S = 5.0
BLOCKS_MAX = 1000
"""What rewards lists at once."""


class NeighbourAway(Exception):
    """Raised when a neighbour does not answer, or answers what cannot be."""


@dataclass(frozen=True, slots=True)
class WindowNow:
    """The window that a block found now would be split over."""

    scheme: str
    revision: str
    height: int
    window: int
    filled: bool
    weights: dict[int, int]
    """By account, all by the same measure: what is in the last group by its needed part."""
    of: int
    made_ms: int


class Neighbours:
    """The neighbours' contracts."""

    def __init__(self, *, accounting: "AccountingAsyncStub", rewards: "RewardsAsyncStub") -> None:
        self._accounting = accounting
        self._rewards = rewards

    async def blocks(self, pool: str, newest: int) -> tuple[list[FoundBlock], bool]:
        """At most so many of a pool's newest blocks, and whether these are all."""
        limit = min(newest, BLOCKS_MAX)
        try:
            reply = await self._rewards.Blocks(
                BlocksRequest(pool=pool, limit=limit), timeout=ANSWER_S
            )
        except grpc.aio.AioRpcError as error:
            raise _away("rewards", error) from error
        blocks = [
            FoundBlock(
                hash=block.hash,
                height=block.height,
                bits=block.bits,
                found_ms=block.found_ms,
                orphaned=block.state == BLOCK_ORPHANED,
            )
            for block in reply.blocks
        ]
        return blocks, len(blocks) < limit

    async def newest(self, pool: str) -> NewestReply:
        """What the pool's newest jobs build on."""
        try:
            return await self._accounting.Newest(NewestRequest(pool=pool), timeout=ANSWER_S)
        except grpc.aio.AioRpcError as error:
            raise _away("accounting", error) from error

    async def window(self, pool: str, scheme: str, now_ms: int) -> WindowNow:
        """The window of a scheme now; without a name, of the only one. NoSuch."""
        newest = await self.newest(pool)
        if not newest.any:
            raise NoSuch(f"nothing was mined in pool {pool} yet")
        chosen = await self._scheme(pool, scheme, newest)
        request = WindowRequest(
            pool=pool,
            scheme=chosen.scheme,
            height=newest.height,
            parent=newest.parent,
            weight=chosen.weight,
        )
        parts: list[WindowPart] = []
        try:
            async for part in self._accounting.Window(request, timeout=ANSWER_S):
                parts.append(part)  # noqa: PERF401 - a stream of gRPC in a try
        except grpc.aio.AioRpcError as error:
            raise _away("accounting", error) from error
        if not parts:
            raise NeighbourAway("accounting: an empty answer where a window was asked for")
        weights = weights_of(parts)
        return WindowNow(
            scheme=chosen.scheme,
            revision=chosen.revision,
            height=newest.height,
            window=int(chosen.weight),
            filled=parts[0].header.filled,
            weights=weights,
            of=sum(weights.values()),
            made_ms=now_ms,
        )

    async def _scheme(self, pool: str, scheme: str, newest: NewestReply) -> SchemeWindow:
        request = WindowsRequest(pool=pool, height=newest.height, bits=newest.bits)
        try:
            reply = await self._rewards.Windows(request, timeout=ANSWER_S)
        except grpc.aio.AioRpcError as error:
            raise _away("rewards", error) from error
        found = [one for one in reply.schemes if scheme in ("", one.scheme)]
        if len(found) != 1:
            known = ", ".join(one.scheme for one in reply.schemes) or "none"
            asked = f"no scheme {scheme!r}" if scheme else "not one scheme, so its name is needed"
            raise NoSuch(f"pool {pool} has {asked}; there is: {known}")
        return found[0]


def weights_of(parts: list[WindowPart]) -> dict[int, int]:
    """Weights by account as a split takes them: whole groups times G, the last one's times r."""
    header = parts[0].header
    whole = int.from_bytes(header.group_weight, "big")
    needed = int.from_bytes(header.needed, "big")
    return {
        account: int.from_bytes(full, "big") * whole + int.from_bytes(last, "big") * needed
        for part in parts
        for account, full, last in zip(part.account, part.full, part.last, strict=True)
    }


def _away(name: str, error: grpc.aio.AioRpcError) -> Exception:
    said = f"{name}: {error.code().name}: {(error.details() or '')[:256]}"
    if error.code() is grpc.StatusCode.NOT_FOUND:
        return NoSuch(said)
    return NeighbourAway(said)
