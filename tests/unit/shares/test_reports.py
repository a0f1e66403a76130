"""Checks and withholding through the service: real log, real headers, real decisions."""

import time
from pathlib import Path

import grpc.aio
import pytest

from pithead.coins.block import BlockHeader
from pithead.coins.hashing import pow_function
from pithead.coins.node import RpcNode
from pithead.coins.weight import bits_to_target, expected_hashes
from pithead.config import NodeSettings
from pithead.config.share_log import open_log
from pithead.contracts import accounting_pb2 as pb
from pithead.contracts.share_log_pb2 import ShareBatch, ShareSample
from pithead.log.samples import sampled_share
from pithead.log.topics import shares_topic
from pithead.store.migrate import migrate
from tests.support.devchain import DevchainTask, devchain_settings
from tests.support.shares import PARAMS, POOL, Share, address, make_batch, payload, producer_id
from tests.unit.shares.test_service import running, settings_in, until

pytestmark = pytest.mark.gate

BITS = 0x1F7FFFFF
"""A block in 512 hashes."""
BLOCK = expected_hashes(bits_to_target(BITS)) >> PARAMS.shift


def shared(producer: int, tip: bytes, shares: list[Share], *, solved: bool) -> ShareBatch:
    """A batch on a block; the share that is due solved the next one, or none at all."""
    now_ms = time.time_ns() // 1_000_000
    timed = [Share(one.account, one.height, one.weight, now_ms) for one in shares]
    batch = make_batch(producer_id(producer), 0, timed, promise=3, time_ms=now_ms)
    batch.segments[0].parent, batch.segments[0].bits = tip, BITS
    index = sampled_share(batch.producer, 0, len(shares))
    batch.flags[index] = int(solved)
    target = bits_to_target(BITS)
    header = next(
        made
        for nonce in range(1 << 20)
        for made in [BlockHeader(1, tip, bytes(32), now_ms // 1000, BITS, nonce).serialize()]
        if pow_function(PARAMS)(made) <= target
    )
    batch.samples.append(ShareSample(share=index, header=header))
    return batch


async def test_what_edges_report_is_checked_and_what_miners_find_is_compared(
    tmp_path: Path,
) -> None:
    chain = devchain_settings(tmp_path / "chain", bits=BITS)
    async with DevchainTask(chain) as devchain, RpcNode(devchain.access) as node:
        await node.call("generatetoaddress", 2, address(99))
        tip = await node.best_hash()
        access = devchain.access
        shares = settings_in(
            tmp_path,
            NodeSettings(name="n", url=access.url, user=access.user, password=access.password),
        )
        await migrate(shares.database, "pithead.shares")
        async with running(shares) as stub:
            writer = await open_log(shares.log).writer(shares_topic(POOL), "eu-0")
            honest = [Share(1, 3, weight=BLOCK)]
            hiding = [Share(2, 3, weight=BLOCK)] * 8
            await writer.append(payload(shared(1, tip, honest, solved=True)))
            await writer.append(payload(shared(2, tip, hiding, solved=False)))

            async def checked() -> bool:
                reply = await stub.Checks(pb.ChecksRequest(pool=POOL))
                return sum(row.checked for row in reply.producers) == 2

            await until(checked)
            checks = await stub.Checks(pb.ChecksRequest(pool=POOL))
            assert [(row.producer, row.failed, row.region) for row in checks.producers] == [
                (producer_id(2), 1, "eu"),
                (producer_id(1), 0, "eu"),
            ]
            (failure,) = checks.failures
            assert (failure.producer, failure.fault, len(failure.header)) == (
                producer_id(2),
                "solved",
                80,
            )
            decision = pb.DecideRequest(
                decision=pb.DECISION_CHECKS_SEEN,
                producer=producer_id(2),
                who="ann",
                reason="a patched edge",
            )
            assert "1 failed checks" in (await stub.Decide(decision)).outcome
            assert not (await stub.Checks(pb.ChecksRequest(pool=POOL))).failures
            with pytest.raises(grpc.aio.AioRpcError, match="no failed check"):
                await stub.Decide(decision)

            async def confirmed() -> bool:
                reply = await stub.Withholding(pb.WithholdingRequest(pool=POOL))
                return len(reply.rows) == 2

            await until(confirmed)
            reply = await stub.Withholding(pb.WithholdingRequest(pool=POOL))
            worst, best = reply.rows
            assert (worst.login, worst.found, worst.shares) == (address(2), 0, 8)
            assert worst.expected == pytest.approx(8, rel=1e-2)
            assert worst.probability == pytest.approx(3.35e-4, rel=2e-2)
            assert worst.adjusted == pytest.approx(2 * worst.probability)
            assert (best.login, best.found, best.adjusted) == (address(1), 1, 1)
            with pytest.raises(grpc.aio.AioRpcError, match="pool x is unknown"):
                await stub.Checks(pb.ChecksRequest(pool="x"))
            with pytest.raises(grpc.aio.AioRpcError, match="pool x is unknown"):
                await stub.Withholding(pb.WithholdingRequest(pool="x"))
            await writer.close()
