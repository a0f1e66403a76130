"""Settings that do not fit together, and the service without neighbours and node."""

import asyncio
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import msgspec
import pytest

from pithead.config import (
    CoinSettings,
    NodeSettings,
    PayoutPolicy,
    PayoutsSettings,
    Unusable,
    WalletSettings,
)
from pithead.contracts import payouts_pb2, payouts_pb2_grpc
from pithead.payouts.service import check_settings, run
from pithead.rpc import channel
from pithead.store.migrate import migrate
from tests.support.doors import peer, peer_of, served

pytestmark = pytest.mark.gate

NODE = NodeSettings(name="n", url="http://127.0.0.1:9", user="u", password="p")
DVC = CoinSettings(name="dvc", coin="devchain", network="regtest", nodes=(NODE,))
POLICY = PayoutPolicy(coin="dvc", interval_s=60, threshold=1000, fee_book="pool-1")


def settings_in(directory: Path, **changes: Any) -> PayoutsSettings:
    given = PayoutsSettings(
        database=f"sqlite+aiosqlite:///{directory / 'payouts.db'}",
        serve=served(directory / "p.sock"),
        coins=(DVC,),
        policies=(POLICY,),
        shares=peer(directory / "s.sock"),
        ledger=peer(directory / "l.sock"),
    )
    return msgspec.structs.replace(given, **changes)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"coins": ()}, "names an unknown CoinEndpoint: 'dvc'"),
        (
            {"coins": (msgspec.structs.replace(DVC, wallet=WalletSettings(kind="paper")),)},
            "wallet kind 'paper' is not supported",
        ),
        (
            {"coins": (msgspec.structs.replace(DVC, network="mars"),)},
            "unknown network of devchain 'mars'; known: regtest",
        ),
        (
            {"coins": (msgspec.structs.replace(DVC, nodes=()),)},
            "has no main node",
        ),
        (
            {"policies": (msgspec.structs.replace(POLICY, interval_s=0),)},
            "intervalSeconds",
        ),
        (
            {
                "coins": (DVC, msgspec.structs.replace(DVC, name="twin")),
                "policies": (POLICY, msgspec.structs.replace(POLICY, coin="twin")),
            },
            "CoinEndpoints dvc and twin both have pools on devchain/regtest",
        ),
    ],
    ids=["unknown coin", "wallet", "network", "no node", "interval", "two wallets"],
)
def test_settings_that_do_not_fit_are_refused_with_the_remedy(
    tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(Unusable, match=words):
        check_settings(settings_in(tmp_path, **changes))


async def test_without_node_and_neighbours_it_serves_and_says_what_is_missing(
    tmp_path: Path,
) -> None:
    settings = settings_in(tmp_path)
    await migrate(settings.database, "pithead.payouts")
    stop = asyncio.Event()
    task = asyncio.create_task(run(settings, stop))
    async with channel(peer_of(settings.serve)) as open_channel:
        stub = payouts_pb2_grpc.PayoutsStub(open_channel)
        reply = await stub.RunNow(
            payouts_pb2.RunNowRequest(coin="dvc"), wait_for_ready=True, timeout=10
        )
        assert "cannot be reached" in reply.outcome
        listed = await stub.List(payouts_pb2.ListRequest(coin="devchain/regtest"))
        assert "start the node or correct the address" in listed.trouble
        assert (listed.pending, listed.confirmed, listed.amount) == (0, 0, "0")
        for call, code in (
            (stub.Receive(payouts_pb2.ReceiveRequest(coin="dvc")), grpc.StatusCode.UNAVAILABLE),
            (stub.RunNow(payouts_pb2.RunNowRequest(coin="btc")), grpc.StatusCode.NOT_FOUND),
            (stub.List(payouts_pb2.ListRequest(coin="btc")), grpc.StatusCode.NOT_FOUND),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call
            assert caught.value.code() is code
    stop.set()
    await asyncio.wait_for(task, 5)


async def test_a_database_that_was_never_set_up_ends_the_service(tmp_path: Path) -> None:
    with pytest.raises(Unusable, match="was never set up"):
        await run(settings_in(tmp_path), asyncio.Event())
