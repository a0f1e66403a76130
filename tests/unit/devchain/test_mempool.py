"""What the mempool takes, keeps through moves of the chain, and gives to templates."""

import pytest

from pithead.coins.tx import OutPoint, Tx, TxOut
from pithead.devchain.chain import Chain, Changes
from pithead.devchain.mempool import Mempool, commitment_script
from pithead.devchain.rules import Rejected, Utxo
from tests.unit.devchain.builder import (
    KEY,
    MATURITY,
    OTHER_KEY,
    PARAMS,
    Memory,
    block_on,
    extend,
    grow,
    new_chain,
    some_coin,
    spend,
)

pytestmark = pytest.mark.gate


@pytest.fixture
def chain() -> Chain:
    return grown()[0]


def grown() -> tuple[Chain, Memory]:
    made, memory = new_chain()
    grow(made, memory, MATURITY + 3)
    return made, memory


def coin_tx(chain: Chain, fee: int = 500) -> Tx:
    coin = some_coin(chain)
    (value,) = (one.value for one in coin.values())
    return spend(coin, (TxOut(value - fee, OTHER_KEY.p2wpkh()),))


def child_of(parent: Tx, fee: int = 500) -> Tx:
    value = parent.outputs[0].value
    coin = {OutPoint(parent.txid(), 0): Utxo(value, OTHER_KEY.p2wpkh(), 0, coinbase=False)}
    return spend(coin, (TxOut(value - fee, KEY.p2pkh()),), OTHER_KEY)


def word_of(pool: Mempool, chain: Chain, tx: Tx) -> str:
    with pytest.raises(Rejected) as caught:
        pool.judge(chain, tx, 0)
    return caught.value.word


def test_a_child_waits_behind_its_parent(chain: Chain) -> None:
    pool = Mempool(PARAMS)
    parent = coin_tx(chain)
    child = child_of(parent)
    assert word_of(pool, chain, child) == "bad-txns-inputs-missingorspent"
    pool.add(pool.judge(chain, parent, 1))
    pool.add(pool.judge(chain, child, 2))
    assert [one.tx for one in pool.chosen()] == [parent, child]


def test_a_second_spend_of_a_coin_is_a_conflict(chain: Chain) -> None:
    pool = Mempool(PARAMS)
    first = coin_tx(chain)
    pool.add(pool.judge(chain, first, 1))
    assert word_of(pool, chain, first) == "txn-already-in-mempool"
    assert word_of(pool, chain, coin_tx(chain, fee=900)) == "txn-mempool-conflict"


def test_policy_on_fee_and_dust(chain: Chain) -> None:
    pool = Mempool(PARAMS)
    size = coin_tx(chain).vsize()
    assert word_of(pool, chain, coin_tx(chain, fee=size - 2)) == "min relay fee not met"
    pool.judge(chain, coin_tx(chain, fee=size + 2), 0)
    coin = some_coin(chain)
    dusty = spend(coin, (TxOut(PARAMS.dust - 1, OTHER_KEY.p2wpkh()),))
    assert word_of(pool, chain, dusty) == "dust"


def test_what_joined_the_chain_goes_and_its_conflicts_with_it() -> None:
    chain, memory = grown()
    pool = Mempool(PARAMS)
    mined, lost = coin_tx(chain), coin_tx(chain, fee=800)
    pool.add(pool.judge(chain, lost, 1))
    pool.add(pool.judge(chain, child_of(lost), 2))
    assert extend(chain, memory, block_on(chain, chain.tip, (mined,))) is None
    went = pool.settle(chain, (), lambda txid: txid == mined.txid())
    assert went == [lost.txid(), child_of(lost).txid()]
    assert (dict(pool.waiting), dict(pool.spent_by), pool.wtxids) == ({}, {}, set())
    assert word_of(pool, chain, mined) == "txn-already-known"


def test_what_left_the_chain_comes_back_in_order() -> None:
    chain, memory = grown()
    pool = Mempool(PARAMS)
    parent = coin_tx(chain)
    block = block_on(chain, chain.tip, (parent,))
    extend(chain, memory, block)
    later = child_of(parent)
    pool.add(pool.judge(chain, later, 5))
    changes = Changes()
    chain.invalidate(chain.entries[block.header.hash()], changes)
    assert pool.settle(chain, [(parent, 9)], lambda _: False) == []
    assert [one.tx for one in pool.chosen()] == [parent, later]


def test_every_change_moves_the_version(chain: Chain) -> None:
    pool = Mempool(PARAMS)
    before = pool.version
    pool.add(pool.judge(chain, coin_tx(chain), 1))
    assert pool.version > before


def test_a_commitment_is_an_output_of_38_bytes() -> None:
    script = commitment_script(())
    assert len(script) == 38
    assert script[:6].hex() == "6a24aa21a9ed"
