"""Each rule by a block or transaction that breaks it alone, with the word that the node answers."""

from dataclasses import replace

import pytest

from pithead.coins.block import Block
from pithead.coins.tx import OutPoint, Tx, TxIn, TxOut
from pithead.devchain.chain import Chain
from pithead.devchain.rules import (
    FUTURE_S_MAX,
    MONEY_MAX,
    Rejected,
    Utxo,
    check_spend,
    check_tx,
    is_final,
)
from tests.unit.devchain.builder import (
    BITS,
    KEY,
    MATURITY,
    NOW_S,
    OTHER_KEY,
    PARAMS,
    Memory,
    block_on,
    coinbase_of,
    extend,
    grow,
    new_chain,
    solved,
    some_coin,
    spend,
)

pytestmark = pytest.mark.gate


@pytest.fixture
def grown() -> tuple[Chain, Memory]:
    chain, memory = new_chain()
    grow(chain, memory, MATURITY + 1)
    return chain, memory


def refusal(grown: tuple[Chain, Memory], block: Block) -> str:
    chain, memory = grown
    before = chain.tip
    with pytest.raises(Rejected) as caught:
        extend(chain, memory, block)
    assert chain.tip is before
    return caught.value.word


def paying(chain: Chain, *, sequence: int = 0xFFFFFFFF, locktime: int = 0) -> Tx:
    coin = some_coin(chain)
    (value,) = (one.value for one in coin.values())
    outputs = (TxOut(value - 500, OTHER_KEY.p2wpkh()),)
    return spend(coin, outputs, sequence=sequence, locktime=locktime)


def test_a_hash_above_the_target(grown: tuple[Chain, Memory]) -> None:
    block = solved(block_on(grown[0], grown[0].tip), wins=False)
    assert refusal(grown, block) == "high-hash"


def test_other_bits_than_the_chains(grown: tuple[Chain, Memory]) -> None:
    block = block_on(grown[0], grown[0].tip)
    assert refusal(grown, replace(block, header=replace(block.header, bits=BITS - 1))) == (
        "bad-diffbits"
    )


def test_an_unknown_parent(grown: tuple[Chain, Memory]) -> None:
    block = block_on(grown[0], grown[0].tip)
    lost = solved(replace(block, header=replace(block.header, parent=b"\x05" * 32)))
    assert refusal(grown, lost) == "prev-blk-not-found"


def test_time_must_pass_the_median_and_not_lead_the_clock(grown: tuple[Chain, Memory]) -> None:
    chain, memory = grown
    median_s = chain.median_s(chain.tip)
    assert refusal(grown, block_on(chain, chain.tip, time_s=median_s)) == "time-too-old"
    late = NOW_S + FUTURE_S_MAX
    assert refusal(grown, block_on(chain, chain.tip, time_s=late + 1)) == "time-too-new"
    assert extend(chain, memory, block_on(chain, chain.tip, time_s=late)) is None


def test_the_coinbase_takes_subsidy_and_fees_and_no_more(grown: tuple[Chain, Memory]) -> None:
    chain, memory = grown
    allowed = PARAMS.subsidy(chain.tip.height + 1)
    tx = paying(chain)
    greedy = block_on(chain, chain.tip, (tx,), value=allowed + 501)
    assert refusal(grown, greedy) == "bad-cb-amount"
    assert extend(chain, memory, block_on(chain, chain.tip, (tx,), value=allowed + 500)) is None


def test_the_coinbase_begins_with_its_height(grown: tuple[Chain, Memory]) -> None:
    chain, _ = grown
    wrong = coinbase_of(chain.tip.height + 2, 1, KEY.p2wpkh())
    assert refusal(grown, block_on(chain, chain.tip, coinbase=wrong)) == "bad-cb-height"


@pytest.mark.parametrize("size", [pytest.param(101, id="above 100"), pytest.param(1, id="below 2")])
def test_the_coinbase_script_has_2_to_100_bytes(grown: tuple[Chain, Memory], size: int) -> None:
    chain, _ = grown
    good = coinbase_of(chain.tip.height + 1, 1, KEY.p2wpkh())
    script_sig = good.inputs[0].script_sig[:1].ljust(size, b"\x00")
    odd = replace(good, inputs=(replace(good.inputs[0], script_sig=script_sig),))
    assert refusal(grown, block_on(chain, chain.tip, coinbase=odd)) == "bad-cb-length"


def test_a_second_coinbase(grown: tuple[Chain, Memory]) -> None:
    chain, _ = grown
    second = coinbase_of(chain.tip.height + 1, 1, KEY.p2wpkh(), number=77)
    assert refusal(grown, block_on(chain, chain.tip, (second,))) == "bad-cb-multiple"


def test_a_merkle_root_of_other_transactions(grown: tuple[Chain, Memory]) -> None:
    chain, _ = grown
    block = block_on(chain, chain.tip)
    other = block_on(chain, chain.tip)
    mixed = Block(block.header, other.transactions)
    assert refusal(grown, mixed) == "bad-txnmrklroot"


def test_a_transaction_twice_in_a_block(grown: tuple[Chain, Memory]) -> None:
    chain, _ = grown
    tx = paying(chain)
    assert refusal(grown, block_on(chain, chain.tip, (tx, tx))) == "bad-txns-duplicate"


def test_two_spends_of_one_coin_in_a_block(grown: tuple[Chain, Memory]) -> None:
    chain, _ = grown
    coin = some_coin(chain)
    txs = tuple(spend(coin, (TxOut(1000 + n, OTHER_KEY.p2wpkh()),)) for n in range(2))
    assert refusal(grown, block_on(chain, chain.tip, txs)) == "bad-txns-inputs-missingorspent"


def test_a_spend_of_a_spent_coin(grown: tuple[Chain, Memory]) -> None:
    chain, memory = grown
    tx = paying(chain)
    assert extend(chain, memory, block_on(chain, chain.tip, (tx,))) is None
    (txin,) = tx.inputs
    gone = {txin.prevout: Utxo(50 * 10**8, KEY.p2wpkh(), 1, coinbase=True)}
    again = spend(gone, (TxOut(700, OTHER_KEY.p2wpkh()),))
    assert refusal(grown, block_on(chain, chain.tip, (again,))) == "bad-txns-inputs-missingorspent"


def test_a_coinbase_is_spent_at_maturity_and_not_before(grown: tuple[Chain, Memory]) -> None:
    chain, memory = grown
    young = spend(some_coin(chain, mature=False), (TxOut(1000, OTHER_KEY.p2wpkh()),))
    word = refusal(grown, block_on(chain, chain.tip, (young,)))
    assert word == "bad-txns-premature-spend-of-coinbase"
    while extend(chain, memory, block_on(chain, chain.tip)) is None:
        (outpoint,) = (txin.prevout for txin in young.inputs)
        if chain.tip.height + 1 - chain.coins[outpoint].height == MATURITY:
            break
    assert extend(chain, memory, block_on(chain, chain.tip, (young,))) is None


def test_more_out_than_in(grown: tuple[Chain, Memory]) -> None:
    chain, _ = grown
    coin = some_coin(chain)
    (value,) = (one.value for one in coin.values())
    tx = spend(coin, (TxOut(value + 1, OTHER_KEY.p2wpkh()),))
    assert refusal(grown, block_on(chain, chain.tip, (tx,))) == "bad-txns-in-belowout"


@pytest.mark.parametrize("form", ["p2wpkh", "p2pkh"])
def test_a_signature_by_another_key(form: str) -> None:
    script = KEY.p2wpkh() if form == "p2wpkh" else KEY.p2pkh()
    forged = OTHER_KEY.p2wpkh() if form == "p2wpkh" else OTHER_KEY.p2pkh()
    point = OutPoint(b"\x01" * 32, 0)
    right = {point: Utxo(10_000, script, 1, coinbase=False)}
    outputs = (TxOut(9_000, script),)
    assert check_spend(spend(right, outputs), right, 9, MATURITY).fee == 1000
    wrong = spend({point: Utxo(10_000, forged, 1, coinbase=False)}, outputs, OTHER_KEY)
    with pytest.raises(Rejected, match="mandatory-script-verify-flag-failed"):
        check_spend(wrong, right, 9, MATURITY)
    with pytest.raises(Rejected, match="mandatory-script-verify-flag-failed"):
        check_spend(replace(wrong, outputs=(TxOut(8_000, script),)), right, 9, MATURITY)


def test_a_segwit_signature_commits_to_the_amount() -> None:
    point = OutPoint(b"\x01" * 32, 0)
    told = {point: Utxo(10_000, KEY.p2wpkh(), 1, coinbase=False)}
    true = {point: Utxo(20_000, KEY.p2wpkh(), 1, coinbase=False)}
    tx = spend(told, (TxOut(9_000, KEY.p2wpkh()),))
    with pytest.raises(Rejected, match="mandatory-script-verify-flag-failed"):
        check_spend(tx, true, 9, MATURITY)


def test_a_script_of_another_form_cannot_be_spent() -> None:
    point = OutPoint(b"\x01" * 32, 0)
    anyone = {point: Utxo(10_000, b"\x51", 1, coinbase=False)}
    with pytest.raises(Rejected, match="mandatory-script-verify-flag-failed"):
        check_spend(Tx((TxIn(point),), (TxOut(9_000, b"\x51"),)), anyone, 9, MATURITY)


def test_witness_commitments(grown: tuple[Chain, Memory]) -> None:
    chain, _ = grown
    height = chain.tip.height + 1
    tx = paying(chain)
    good = coinbase_of(height, 1, KEY.p2wpkh(), (tx,))
    bare = replace(good, inputs=(replace(good.inputs[0], witness=()),), outputs=good.outputs[:1])
    assert refusal(grown, block_on(chain, chain.tip, (tx,), coinbase=bare)) == "unexpected-witness"
    other = coinbase_of(height, 1, KEY.p2wpkh())
    word = refusal(grown, block_on(chain, chain.tip, (tx,), coinbase=other))
    assert word == "bad-witness-merkle-match"
    short = replace(good, inputs=(replace(good.inputs[0], witness=(b"\x00" * 31,)),))
    word = refusal(grown, block_on(chain, chain.tip, (tx,), coinbase=short))
    assert word == "bad-witness-nonce-size"


def test_lock_times_by_height_and_median(grown: tuple[Chain, Memory]) -> None:
    chain, memory = grown
    height = chain.tip.height + 1
    locked = paying(chain, sequence=0xFFFFFFFD, locktime=height)
    assert refusal(grown, block_on(chain, chain.tip, (locked,))) == "bad-txns-nonfinal"
    grow(chain, memory, 1)
    assert extend(chain, memory, block_on(chain, chain.tip, (locked,))) is None
    by_time = Tx((TxIn(OutPoint(b"\x01" * 32, 0), sequence=0),), (), locktime=600_000_000)
    assert not is_final(by_time, 10, 600_000_000)
    assert is_final(by_time, 10, 600_000_001)
    assert is_final(replace(by_time, inputs=(TxIn(OutPoint(b"\x01" * 32, 0)),)), 10, 5)


def test_relative_locks_by_height_hold_and_those_by_time_are_refused(
    grown: tuple[Chain, Memory],
) -> None:
    point = OutPoint(b"\x01" * 32, 0)
    coin = {point: Utxo(10_000, KEY.p2wpkh(), 5, coinbase=False)}
    outputs = (TxOut(9_000, KEY.p2wpkh()),)
    waits_four = spend(coin, outputs, sequence=4)
    with pytest.raises(Rejected, match="bad-txns-nonfinal"):
        check_spend(waits_four, coin, 8, MATURITY)
    assert check_spend(waits_four, coin, 9, MATURITY).fee == 1000
    with pytest.raises(Rejected, match="bad-txns-nonfinal"):
        check_spend(spend(coin, outputs, sequence=1 << 22), coin, 1000, MATURITY)


@pytest.mark.parametrize(
    ("tx", "word"),
    [
        pytest.param(Tx((TxIn(OutPoint(b"\x01" * 32, 0)),), ()), "vout-empty", id="no outputs"),
        pytest.param(
            Tx((TxIn(OutPoint(b"\x01" * 32, 0)),) * 2, (TxOut(1, b""),)),
            "inputs-duplicate",
            id="one input twice",
        ),
        pytest.param(
            Tx((TxIn(OutPoint(bytes(32), 0)),), (TxOut(1, b""),)), "prevout-null", id="null input"
        ),
        pytest.param(
            Tx((TxIn(OutPoint(b"\x01" * 32, 0)),), (TxOut(MONEY_MAX + 1, b""),)),
            "vout-toolarge",
            id="too large",
        ),
        pytest.param(
            Tx((TxIn(OutPoint(b"\x01" * 32, 0)),), (TxOut(MONEY_MAX, b""), TxOut(1, b""))),
            "txouttotal-toolarge",
            id="too large in sum",
        ),
    ],
)
def test_a_transaction_that_can_never_be_valid(tx: Tx, word: str) -> None:
    with pytest.raises(Rejected, match=word):
        check_tx(tx)


def test_garbage_is_no_block(grown: tuple[Chain, Memory]) -> None:
    chain, _ = grown
    raw = block_on(chain, chain.tip).serialize()
    for cut in (b"", raw[:79], raw[:-1], raw + b"\x00"):
        with pytest.raises(Rejected, match="decode"):
            chain.judge(cut, NOW_S)
