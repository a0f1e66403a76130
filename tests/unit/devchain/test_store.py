"""The file: all or nothing of a step, one owner, and settings that fit it."""

import sqlite3
from pathlib import Path

import pytest

from pithead.coins.tx import OutPoint
from pithead.config import SettingsError
from pithead.devchain.chain import Chain, Changes
from pithead.devchain.rules import Utxo
from pithead.devchain.store import Step, Store
from tests.unit.devchain.builder import BITS, MATURITY, PARAMS

pytestmark = pytest.mark.gate


def opened(data_dir: Path, *, bits: int = BITS, maturity: int = MATURITY) -> Store:
    return Store(data_dir, bits=bits, maturity=maturity)


def genesis_step(store: Store) -> Step:
    chain = Chain(PARAMS, BITS, store)
    step = Step()
    chain.start(step.chain)
    step.tip = chain.tip.hash
    return step


def test_what_was_committed_is_there_after_opening_again(tmp_path: Path) -> None:
    store = opened(tmp_path)
    assert store.tip() is None
    step = genesis_step(store)
    point, coin = OutPoint(b"\x03" * 32, 7), Utxo(2**62, b"\x51", 9, coinbase=True)
    step.chain.coins[point] = coin
    step.chain.located[b"\x04" * 32] = (b"\x05" * 32, 2)
    store.commit(step)
    store.close()
    store = opened(tmp_path)
    assert store.tip() == step.tip
    assert dict(store.coins()) == {point: coin}
    assert store.located(b"\x04" * 32) == (b"\x05" * 32, 2)
    assert step.tip is not None
    assert store.block(step.tip) == step.chain.bodies[step.tip]
    assert store.undo(step.tip) == b""
    store.commit(Step(chain=Changes(coins={point: None}, located={b"\x04" * 32: None})))
    assert dict(store.coins()) == {}
    assert store.located(b"\x04" * 32) is None
    store.close()


def test_a_step_that_fails_half_way_leaves_nothing(tmp_path: Path) -> None:
    store = opened(tmp_path)
    step = genesis_step(store)
    step.chain.coins[OutPoint(b"\x03" * 32, 7)] = Utxo(2**64, b"", 1, coinbase=False)
    with pytest.raises(OverflowError):
        store.commit(step)
    assert store.tip() is None
    assert list(store.headers()) == []
    store.close()


def test_a_missing_block_is_a_lookup_error(tmp_path: Path) -> None:
    store = opened(tmp_path)
    with pytest.raises(LookupError):
        store.block(b"\x01" * 32)
    store.close()


def test_a_second_owner_is_refused_with_the_remedy(tmp_path: Path) -> None:
    store = opened(tmp_path)
    with pytest.raises(SettingsError, match="in use by another devchain; stop it"):
        opened(tmp_path)
    store.close()
    opened(tmp_path).close()


def test_other_settings_than_the_chains_are_refused(tmp_path: Path) -> None:
    opened(tmp_path).close()
    with pytest.raises(SettingsError, match="bits 545259519, the settings say 520159231"):
        opened(tmp_path, bits=0x1F00FFFF)
    with pytest.raises(SettingsError, match="maturity"):
        opened(tmp_path, maturity=MATURITY + 1)


def test_the_file_is_its_owners_alone_and_survives_a_cut_in_its_making(tmp_path: Path) -> None:
    opened(tmp_path).close()
    path = tmp_path / "chain.sqlite"
    assert path.stat().st_mode & 0o077 == 0
    with sqlite3.connect(path) as database:
        database.execute("delete from meta")
    database.close()
    opened(tmp_path).close()
