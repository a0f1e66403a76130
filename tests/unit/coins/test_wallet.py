"""The node's wallet by its contract, on the devchain; tests/integration runs it on litecoind."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from pithead.coins.wallet import NodeWallet
from tests.support.node_contract import SOMEBODY, Rig
from tests.support.rigs import devchain_rig
from tests.support.wallet_contract import WalletContract, empty_wallet, wallet

pytestmark = pytest.mark.gate

__all__ = ["empty_wallet", "wallet"]


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with devchain_rig(tmp_path / "chain") as made:
        yield made


class TestWalletOfDevchain(WalletContract):
    """The contract."""


async def test_the_fee_is_exact_although_signatures_differ_in_size(rig: Rig) -> None:
    # The devchain does not grind for short signatures, and every size of change signs anew.
    wallet = NodeWallet(rig.node, rig.params)
    await wallet.ensure()
    old = await rig.node.call("getnewaddress", "", "legacy")
    await rig.node.call("generatetoaddress", 14, old)
    for extra in range(100):
        payment = await wallet.build_payment(
            [(SOMEBODY, 10_000 + extra + extra % 3 * 5 * 10**9)], 9
        )
        assert payment.fee == 9 * payment.vsize
