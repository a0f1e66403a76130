"""Node and wallet by their contracts, on a real litecoind in regtest."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from tests.support.litecoind import Litecoind
from tests.support.node_contract import NodeContract, Rig
from tests.support.rigs import litecoin_rig
from tests.support.wallet_contract import WalletContract, empty_wallet, wallet

pytestmark = [pytest.mark.gate, pytest.mark.needs("litecoind")]

__all__ = ["empty_wallet", "wallet"]


@pytest.fixture(scope="module")
def litecoind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Litecoind]:
    node = Litecoind(tmp_path_factory.mktemp("litecoind"))
    asyncio.run(node.start())
    yield node
    node.stop()


@pytest.fixture
async def rig(litecoind: Litecoind) -> AsyncIterator[Rig]:
    async with litecoin_rig(litecoind.access) as made:
        yield made


class TestNodeOfLitecoind(NodeContract):
    """The node's contract."""


class TestWalletOfLitecoind(WalletContract):
    """The wallet's contract."""
