"""`pithead payouts run | adopt | list` without a running service."""

import asyncio
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from pithead.cli import main
from pithead.config import CoinSettings, NodeSettings, PayoutPolicy, PayoutsSettings, store
from pithead.payouts.records import Payment, Payout
from pithead.payouts.rows import Rows
from pithead.payouts.states import State
from pithead.store import open_store
from pithead.store.migrate import migrate
from tests.support.doors import peer, served

pytestmark = pytest.mark.gate

NODE = NodeSettings(name="n", url="http://127.0.0.1:9", user="u", password="p")
COIN = CoinSettings(name="dvc", coin="devchain", network="regtest", nodes=(NODE,))


@pytest.fixture
def settings(tmp_path: Path) -> PayoutsSettings:
    return PayoutsSettings(
        database=f"sqlite+aiosqlite:///{tmp_path / 'payouts.db'}",
        serve=served(tmp_path / "p.sock"),
        coins=(COIN,),
        policies=(PayoutPolicy(coin="dvc", interval_s=60, threshold=1000, fee_book="pool-1"),),
        shares=peer(tmp_path / "s.sock"),
        ledger=peer(tmp_path / "l.sock"),
    )


@pytest.fixture
def config(tmp_path: Path, settings: PayoutsSettings) -> str:
    asyncio.run(migrate(settings.database, "pithead.payouts"))
    store(tmp_path / "settings.json", settings)
    return str(tmp_path / "settings.json")


async def keep_payout(settings: PayoutsSettings) -> None:
    database = open_store(settings.database)
    payout = Payout(
        id="payout-1",
        coin=COIN.key,
        number=1,
        wallet="pool",
        state=State.PLANNED,
        fee_book="pool-1",
        planned_ms=1,
        payments=(Payment(account=7, login="miner", script=b"\x51", amount=5000),),
    )
    assert await Rows(database).add(payout)
    await database.dispose()


def test_pass_that_meets_no_node_fails_with_its_sentence(config: str, tmp_path: Path) -> None:
    result = tmp_path / "result"
    arguments = ["payouts", "run", "--config", config, "--coin", "dvc", "--within", "0"]
    answer = CliRunner().invoke(main, [*arguments, "--result", str(result)])
    assert answer.exit_code == 1
    assert "start the node or correct the address" in result.read_text()


def test_pass_of_a_coin_without_policy_is_unusable(config: str, tmp_path: Path) -> None:
    result = tmp_path / "result"
    arguments = ["payouts", "run", "--config", config, "--coin", "btc", "--result", str(result)]
    assert CliRunner().invoke(main, arguments).exit_code == 2
    assert result.read_text() == "there is no payout policy for CoinEndpoint 'btc'"


def test_payouts_are_listed_from_the_database(config: str, settings: PayoutsSettings) -> None:
    listing = ["payouts", "list", "--config", config]
    assert CliRunner().invoke(main, listing).output == ""
    asyncio.run(keep_payout(settings))
    line = CliRunner().invoke(main, listing).output
    assert line.startswith("payout-1 planned devchain/regtest amount 5000 fee 0 payees 1 ")
    document = json.loads(CliRunner().invoke(main, [*listing, "-o", "json"]).output)
    assert document["payouts"][0]["payments"][0]["login"] == "miner"


def test_adoption_without_a_node_says_why(config: str) -> None:
    arguments = ["payouts", "adopt", "00" * 32, "--coin", "dvc", "--reason", "moved"]
    answer = CliRunner().invoke(main, [*arguments, "--config", config])
    assert answer.exit_code == 1
    assert "pithead payouts adopt: " in answer.output
    assert "start the node" in answer.output


def test_missing_settings_are_told(tmp_path: Path) -> None:
    answer = CliRunner().invoke(main, ["payouts", "list", "--config", str(tmp_path / "none")])
    assert answer.exit_code == 2
    assert "no such settings file" in answer.output
