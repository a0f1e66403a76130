"""The node's wallet by its contract, on the devchain; tests/integration runs it on litecoind."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.node_contract import Rig
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
