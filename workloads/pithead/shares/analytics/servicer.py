"""The contract that tells how far the columnar tables are behind the log."""

from collections.abc import Callable
from dataclasses import dataclass

import grpc
import grpc.aio

from pithead.contracts import charts_pb2, charts_pb2_grpc


@dataclass(slots=True)
class PoolStanding:
    """How one pool's writing goes."""

    lag_ms: Callable[[], int]
    shares: int = 0
    """Written since the process started."""
    trouble: str = ""


class ChartsServicer(charts_pb2_grpc.ChartsServicer):
    """Answers from what the loops say."""

    def __init__(self) -> None:
        self.pools: dict[str, PoolStanding] = {}

    async def Standing(  # noqa: N802 - the contract's name
        self,
        request: charts_pb2.StandingRequest,
        context: grpc.aio.ServicerContext[charts_pb2.StandingRequest, charts_pb2.StandingReply],
    ) -> charts_pb2.StandingReply:
        """Answer for one pool."""
        found = self.pools.get(request.pool)
        if found is None:
            known = ", ".join(sorted(self.pools)) or "none yet"
            reason = f"pool {request.pool!r} is not written here; there is: {known}"
            await context.abort(grpc.StatusCode.NOT_FOUND, reason)
            raise AssertionError("abort raises")
        return charts_pb2.StandingReply(
            lag_ms=found.lag_ms(), shares=found.shares, trouble=found.trouble
        )
