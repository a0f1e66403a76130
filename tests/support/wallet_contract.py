"""What every wallet must do for us: one suite over the devchain's and the real node's.

A test module gives the fixture `rig`. Each test has a wallet of its own, filled by blocks of ours.
"""

import asyncio
import itertools

import pytest

from pithead.coins.address import address_of_script, script_of_address
from pithead.coins.block import parse_block
from pithead.coins.script import p2pkh, p2sh, p2wpkh
from pithead.coins.tx import OutPoint, TxOut, parse_tx
from pithead.coins.wallet import (
    BadDestination,
    BroadcastRefused,
    InputGone,
    InsufficientFunds,
    NodeWallet,
    SignedTx,
    WalletTx,
)
from tests.support.node_contract import SOMEBODY, Rig

PAYEE = p2wpkh(b"payee number one....")
OTHER_PAYEE = p2pkh(b"payee number two....")
_names = itertools.count(1)


async def bury(rig: Rig, count: int = 1) -> None:
    """Mine blocks that pay somebody else."""
    for _ in range(count):
        await rig.mine(SOMEBODY)


async def known(wallet: NodeWallet, payment: SignedTx) -> WalletTx:
    """A payment that the wallet must know."""
    found = await wallet.transaction(payment.txid)
    assert found is not None
    return found


@pytest.fixture
async def empty_wallet(rig: Rig) -> NodeWallet:
    wallet = NodeWallet(rig.node, rig.params, f"contract-{next(_names)}")
    await wallet.ensure()
    return wallet


@pytest.fixture
async def wallet(rig: Rig, empty_wallet: NodeWallet) -> NodeWallet:
    """A wallet with three mature coins."""
    address = await empty_wallet.receive_address("coinbase")
    script = script_of_address(rig.params, address)
    for _ in range(3):
        await rig.mine(script)
    nobody = _address_of_nobody(rig)
    await rig.node.call("generatetoaddress", rig.params.coinbase_maturity, nobody)
    return empty_wallet


def _address_of_nobody(rig: Rig) -> str:
    address = address_of_script(rig.params, SOMEBODY)
    assert address is not None
    return address


class WalletContract:
    """Building, signing, broadcasting, and what the wallet tells afterwards."""

    async def test_ensure_may_be_called_again_and_by_two_at_once(
        self, rig: Rig, empty_wallet: NodeWallet
    ) -> None:
        await empty_wallet.ensure()
        twin = NodeWallet(rig.node, rig.params, f"{empty_wallet.name}-twin")
        await asyncio.gather(twin.ensure(), twin.ensure())
        assert await twin.spendable() == []

    async def test_a_label_keeps_its_address(self, rig: Rig, empty_wallet: NodeWallet) -> None:
        first = await empty_wallet.receive_address("pool one")
        assert await empty_wallet.receive_address("pool one") == first
        assert await empty_wallet.receive_address("pool two") != first
        assert len(script_of_address(rig.params, first)) == 22
        assert await empty_wallet.owns(first)
        other = NodeWallet(rig.node, rig.params, f"{empty_wallet.name}-other")
        await other.ensure()
        assert not await other.owns(first)

    async def test_coins_of_blocks_are_spendable_when_mature(
        self, rig: Rig, empty_wallet: NodeWallet
    ) -> None:
        script = script_of_address(rig.params, await empty_wallet.receive_address("x"))
        identity = await rig.mine(script)
        assert await empty_wallet.spendable() == []
        await rig.node.call(
            "generatetoaddress", rig.params.coinbase_maturity, _address_of_nobody(rig)
        )
        (coin,) = await empty_wallet.spendable()
        raw = await rig.node.block_bytes(identity)
        assert raw is not None
        coinbase = parse_block(rig.params, raw).coinbase
        assert coin.outpoint == OutPoint(coinbase.txid(), 0)
        assert TxOut(coin.amount, coin.script) == coinbase.outputs[0]
        assert coin.confirmations == rig.params.coinbase_maturity + 1
        earned = await empty_wallet.transaction(coinbase.txid())
        assert earned is not None
        assert (earned.block_hash, earned.conflicts) == (identity, ())

    async def test_a_payment_is_built_without_being_broadcast_and_then_buried(
        self, rig: Rig, wallet: NodeWallet
    ) -> None:
        payment = await wallet.build_payment([(PAYEE, 1_234_567), (OTHER_PAYEE, 7_654_321)], 11)
        tx = parse_tx(payment.raw)
        assert tx.txid() == payment.txid
        assert payment.fee == 11 * tx.vsize() == 11 * payment.vsize
        assert TxOut(1_234_567, PAYEE) in tx.outputs
        assert TxOut(7_654_321, OTHER_PAYEE) in tx.outputs
        coins = {coin.outpoint: coin.amount for coin in await wallet.spendable()}
        spent = sum(coins[outpoint] for outpoint in payment.inputs)
        assert spent == sum(out.value for out in tx.outputs) + payment.fee
        assert payment.change == spent - payment.fee - 1_234_567 - 7_654_321

        assert await wallet.transaction(payment.txid) is None
        (verdict,) = await rig.node.call("testmempoolaccept", [payment.raw.hex()])
        assert verdict["allowed"] is True

        await wallet.broadcast(payment.raw)
        assert (await known(wallet, payment)).confirmations == 0
        await _until_template_has(rig, payment.txid)
        tip = await rig.mine()
        after = await known(wallet, payment)
        assert (after.confirmations, after.block_hash) == (1, tip)
        assert (after.fee, after.conflicts, after.raw) == (payment.fee, (), payment.raw)
        raw = await rig.node.block_bytes(tip)
        assert raw is not None
        assert tx in parse_block(rig.params, raw).transactions
        for index, out in enumerate(tx.outputs[:2]):
            shown = await rig.node.call("gettxout", payment.txid[::-1].hex(), index)
            assert shown["scriptPubKey"]["hex"] == out.script.hex()
            assert int(shown["value"] * 10**8) == out.value

    async def test_broadcasting_again_is_fine_at_any_time(
        self, rig: Rig, wallet: NodeWallet
    ) -> None:
        payment = await wallet.build_payment([(PAYEE, 100_000)], 5)
        await wallet.broadcast(payment.raw)
        await wallet.broadcast(payment.raw)
        await _until_template_has(rig, payment.txid)
        await bury(rig)
        await wallet.broadcast(payment.raw)

    async def test_attempts_that_must_spend_one_coin_exclude_each_other(
        self, rig: Rig, wallet: NodeWallet
    ) -> None:
        first = await wallet.build_payment([(PAYEE, 200_000)], 5)
        shared = first.inputs[0]
        second = await wallet.build_payment([(PAYEE, 200_000), (OTHER_PAYEE, 100_000)], 20, shared)
        assert shared in second.inputs
        await wallet.broadcast(second.raw)
        # The wallet does not list the coin any more, yet a third attempt still spends it.
        assert shared not in {coin.outpoint for coin in await wallet.spendable()}
        third = await wallet.build_payment([(PAYEE, 200_000)], 7, shared)
        assert shared in third.inputs
        for loser in (first, third):
            with pytest.raises(BroadcastRefused) as caught:
                await wallet.broadcast(loser.raw)
            assert caught.value.conflict
        await _until_template_has(rig, second.txid)
        await bury(rig)
        with pytest.raises(BroadcastRefused) as caught:
            await wallet.broadcast(first.raw)
        assert caught.value.conflict
        with pytest.raises(InputGone):
            await wallet.build_payment([(PAYEE, 200_000)], 7, shared)

    async def test_the_same_coins_give_the_same_choice(self, wallet: NodeWallet) -> None:
        first = await wallet.build_payment([(PAYEE, 300_000)], 5)
        second = await wallet.build_payment([(PAYEE, 300_000)], 5)
        assert first.inputs == second.inputs
        third = await wallet.build_payment([(PAYEE, 300_000)], 5, exclude=first.inputs)
        assert not set(third.inputs) & set(first.inputs)
        coins = await wallet.spendable()
        assert [coin.amount for coin in coins] == sorted((c.amount for c in coins), reverse=True)

    async def test_a_payment_may_take_all_coins_and_leave_no_change(
        self, rig: Rig, wallet: NodeWallet
    ) -> None:
        have = sum(coin.amount for coin in await wallet.spendable())
        dust = rig.params.dust
        trial = await wallet.build_payment([(PAYEE, have - 100_000)], 10)
        assert len(trial.inputs) == 3
        bare = parse_tx(trial.raw).vsize() - 31  # without the change output
        payment = await wallet.build_payment([(PAYEE, have - 10 * bare - dust // 2)], 10)
        assert payment.change == 0
        assert len(parse_tx(payment.raw).outputs) == 1
        assert payment.fee == 10 * bare + dust // 2
        assert payment.fee >= 10 * payment.vsize
        await wallet.broadcast(payment.raw)

    async def test_too_much_is_refused_with_what_there_is_and_what_is_needed(
        self, wallet: NodeWallet
    ) -> None:
        have = sum(coin.amount for coin in await wallet.spendable())
        with pytest.raises(InsufficientFunds) as caught:
            await wallet.build_payment([(PAYEE, have)], 10)
        assert caught.value.have == have
        assert have < caught.value.need < have + 10_000

    async def test_outputs_that_cannot_be_paid_are_refused(
        self, rig: Rig, wallet: NodeWallet
    ) -> None:
        with pytest.raises(BadDestination, match="dust"):
            await wallet.build_payment([(PAYEE, rig.params.dust - 1)], 10)
        with pytest.raises(BadDestination, match="no script"):
            await wallet.build_payment([(b"\x6a\x04data", 100_000)], 10)
        payment = await wallet.build_payment([(p2sh(bytes(20)), rig.params.dust)], 10)
        (verdict,) = await rig.node.call("testmempoolaccept", [payment.raw.hex()])
        assert verdict["allowed"] is True

    async def test_outgoing_transactions_are_listed_from_a_cursor_on(
        self, rig: Rig, wallet: NodeWallet
    ) -> None:
        nothing, cursor = await wallet.outgoing_since(None)
        assert nothing == []
        payment = await wallet.build_payment([(PAYEE, 150_000)], 5)
        assert (await wallet.outgoing_since(cursor))[0] == []
        await wallet.broadcast(payment.raw)
        assert (await wallet.outgoing_since(cursor))[0] == [payment.txid]
        await _until_template_has(rig, payment.txid)
        await bury(rig)
        listed, cursor = await wallet.outgoing_since(cursor)
        assert listed == [payment.txid]
        assert (await wallet.outgoing_since(cursor))[0] == [payment.txid]
        assert (await wallet.outgoing_since(b"\x07" * 32))[0] == [payment.txid]

    async def test_a_payment_on_a_lost_branch_comes_back(
        self, rig: Rig, wallet: NodeWallet
    ) -> None:
        payment = await wallet.build_payment([(PAYEE, 160_000)], 5)
        await wallet.broadcast(payment.raw)
        await _until_template_has(rig, payment.txid)
        lost = await rig.mine()
        assert (await known(wallet, payment)).confirmations == 1
        await rig.node.call("invalidateblock", lost[::-1].hex())
        assert (await known(wallet, payment)).confirmations == 0
        await _until_template_has(rig, payment.txid)
        await bury(rig)
        assert (await known(wallet, payment)).confirmations == 1

    async def test_frozen_coins_are_left_alone_until_they_are_let_go(
        self, wallet: NodeWallet
    ) -> None:
        outpoints = [coin.outpoint for coin in await wallet.spendable()]
        await wallet.freeze(outpoints[:1], frozen=True)
        await wallet.freeze(outpoints[:1], frozen=True)
        assert [coin.outpoint for coin in await wallet.spendable()] == outpoints[1:]
        await wallet.freeze([OutPoint(b"\x09" * 32, 0)], frozen=True)
        await wallet.freeze(outpoints, frozen=False)
        assert [coin.outpoint for coin in await wallet.spendable()] == outpoints

    async def test_coins_on_old_addresses_are_spent_too_and_cost_their_size(
        self, rig: Rig, wallet: NodeWallet
    ) -> None:
        old = str(await rig.node.call("getnewaddress", "", "legacy", wallet=wallet.name))
        script = script_of_address(rig.params, old)
        funding = await wallet.build_payment([(script, 400_000)], 5)
        await wallet.broadcast(funding.raw)
        await _until_template_has(rig, funding.txid)
        await bury(rig)
        (coin,) = [coin for coin in await wallet.spendable() if coin.script == script]
        payment = await wallet.build_payment([(PAYEE, 100_000)], 9, coin.outpoint)
        assert payment.inputs == (coin.outpoint,)
        assert payment.fee == 9 * payment.vsize
        await wallet.broadcast(payment.raw)

    async def test_an_unknown_transaction_is_none(self, wallet: NodeWallet) -> None:
        assert await wallet.transaction(b"\x08" * 32) is None


async def _until_template_has(rig: Rig, txid: bytes) -> None:
    """Templates follow the mempool with a delay of some seconds; a new tip ends it."""
    if all(tx.txid != txid for tx in (await rig.template()).transactions):
        nobody = _address_of_nobody(rig)
        before = await rig.node.best_hash()
        # An empty block that is left again makes the node build its template anew.
        (empty,) = await rig.node.call("generatetoaddress", 1, nobody)
        await rig.node.call("invalidateblock", empty)
        assert await rig.node.best_hash() == before
    assert any(tx.txid == txid for tx in (await rig.template()).transactions)
