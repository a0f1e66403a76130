"""The address that coinbases pay, asked of a real wallet."""

from pathlib import Path

import msgspec
import pytest

from pithead.coins.address import script_of_address
from pithead.coins.wallet import NodeWallet
from pithead.config import CoinSettings, NodeSettings, WireWalletSettings
from pithead.process import TaskFailed
from pithead.store.migrate import migrate
from pithead.wire.wallet import ask_wallet
from tests.support.node_contract import Rig
from tests.support.rigs import devchain_rig

pytestmark = pytest.mark.gate


def settings_of(directory: Path, rig: Rig) -> WireWalletSettings:
    access = rig.access
    node = NodeSettings(
        name=access.name, url=access.url, user=access.user, password=access.password
    )
    return WireWalletSettings(
        database=f"sqlite+aiosqlite:///{directory / 'payouts.db'}",
        coin=CoinSettings(name="dvc", coin="devchain", network="regtest", nodes=(node,)),
    )


async def test_script_is_that_of_the_wallet_and_stays(tmp_path: Path) -> None:
    async with devchain_rig(tmp_path / "chain") as rig:
        settings = settings_of(tmp_path, rig)
        await migrate(settings.database, "pithead.payouts")
        told = await ask_wallet(settings, within_s=10)
        wallet = NodeWallet(rig.node, rig.params, settings.coin.wallet.name)
        address = await wallet.receive_address("pithead-receive")
        assert told == {"script": script_of_address(rig.params, address).hex()}
    # The node is gone: what was told once needs nobody any more.
    assert await ask_wallet(settings, within_s=0) == told


async def test_node_that_is_away_is_named_with_its_remedy(tmp_path: Path) -> None:
    async with devchain_rig(tmp_path / "chain") as rig:
        settings = settings_of(tmp_path, rig)
    await migrate(settings.database, "pithead.payouts")
    with pytest.raises(TaskFailed, match="start the node or correct the address"):
        await ask_wallet(settings, within_s=0)


async def test_database_that_is_not_there_yet_is_waited_for(tmp_path: Path) -> None:
    async with devchain_rig(tmp_path / "chain") as rig:
        settings = settings_of(tmp_path, rig)
        with pytest.raises(TaskFailed, match="was never set up"):
            await ask_wallet(settings, within_s=0.1)


async def test_wrong_password_of_the_wallet_is_told(tmp_path: Path) -> None:
    async with devchain_rig(tmp_path / "chain") as rig:
        settings = settings_of(tmp_path, rig)
        await migrate(settings.database, "pithead.payouts")
        (node,) = settings.coin.nodes
        wrong = msgspec.structs.replace(node, password="wrong")
        coin = msgspec.structs.replace(settings.coin, nodes=(wrong,))
        with pytest.raises(TaskFailed, match="password"):
            await ask_wallet(msgspec.structs.replace(settings, coin=coin), within_s=0)
