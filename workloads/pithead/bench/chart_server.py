"""The queries' contract over a loaded store, in a process of its own.

Run as `python -m pithead.bench.chart_server DIRECTORY END_S SOCKET`; it ends when its
standard input does. Beside the contract it answers `/bench.Ready/Answer` with the bytes
of one chart that was made beforehand: what gRPC alone costs.
"""

import asyncio
import sys
import time
from pathlib import Path

import grpc
import grpc.aio

from pithead.bench.chart_load import COIN, SETTINGS
from pithead.config import PeerSettings, ServeSettings, unix_address
from pithead.contracts import accounting_pb2_grpc, analytics_pb2_grpc, rewards_pb2_grpc
from pithead.rpc import channel, serve
from pithead.shares.analytics.queries.names import Names
from pithead.shares.analytics.queries.neighbours import Neighbours
from pithead.shares.analytics.queries.servicer import AnalyticsServicer
from pithead.shares.pools import register
from pithead.store import open_store
from pithead.store.columnar.embedded import open_embedded

READY = "/bench.Ready/Answer"
ANSWER_BYTES = 4_500
"""About a chart of 120 points."""


class Ready(grpc.GenericRpcHandler):
    """Answers the baseline's calls."""

    def __init__(self) -> None:
        self._answer = bytes(ANSWER_BYTES)

    def service(
        self, handler_call_details: grpc.HandlerCallDetails
    ) -> "grpc.RpcMethodHandler[bytes, bytes] | None":
        """Return the handler of the one method."""
        if handler_call_details.method != READY:
            return None

        async def answer(_request: bytes, _context: object) -> bytes:
            return self._answer

        return grpc.unary_unary_rpc_method_handler(answer)


async def run(directory: Path, end_s: int, socket: Path) -> None:
    """Serve until standard input ends."""
    began = time.monotonic()
    engine = open_store(f"sqlite+aiosqlite:///{directory / 'shares.db'}")
    door = await open_embedded(directory / "columnar")
    (pool,) = await register(engine, [SETTINGS], [COIN])
    # Nobody listens there: neither blocks nor windows are measured.
    nobody = channel(PeerSettings(address=unix_address(socket.with_suffix(".none"))))
    servicer = AnalyticsServicer(
        store=door,
        names=Names(engine, [pool]),
        neighbours=Neighbours(
            accounting=accounting_pb2_grpc.AccountingStub(nobody),
            rewards=rewards_pb2_grpc.RewardsStub(nobody),
        ),
        # The clock of the load goes on from its end, so that kept answers age.
        now_ms=lambda: end_s * 1000 + int((time.monotonic() - began) * 1000),
    )

    def add(server: grpc.aio.Server) -> None:
        analytics_pb2_grpc.add_AnalyticsServicer_to_server(servicer, server)
        server.add_generic_rpc_handlers((Ready(),))

    async with serve(ServeSettings(address=unix_address(socket)), add):
        print("ready", flush=True)  # noqa: T201 - what the parent waits for
        await asyncio.to_thread(sys.stdin.read)
    await servicer.close()
    await nobody.close()
    await door.close()
    await engine.dispose()


if __name__ == "__main__":
    asyncio.run(run(Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])))
