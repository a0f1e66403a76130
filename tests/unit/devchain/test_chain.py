"""The block tree: choosing a branch, undoing, and the coins at the tip.

The law: whatever order blocks come in, coins and main chain are those of a fresh chain that is
given the main chain's blocks alone.
"""

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from pithead.coins.block import Block
from pithead.coins.tx import OutPoint, TxOut
from pithead.devchain.chain import Chain, Changes, Entry
from pithead.devchain.rules import Rejected
from tests.unit.devchain.builder import (
    KEY,
    MATURITY,
    OTHER_KEY,
    Memory,
    block_on,
    extend,
    fingerprint,
    grow,
    new_chain,
    some_coin,
    spend,
)

pytestmark = pytest.mark.gate


def replayed(chain: Chain) -> Chain:
    fresh, memory = new_chain()
    for entry in chain.active[1:]:
        assert extend(fresh, memory, chain.block_at(entry)) is None
    return fresh


def assert_like_a_replay(chain: Chain) -> None:
    fresh = replayed(chain)
    assert [entry.hash for entry in fresh.active] == [entry.hash for entry in chain.active]
    assert fingerprint(fresh) == fingerprint(chain)


def paying_block(chain: Chain, amount: int = 1000) -> Block:
    """A block on the tip that spends a mature coin."""
    coin = some_coin(chain)
    (value,) = (one.value for one in coin.values())
    tx = spend(coin, (TxOut(amount, OTHER_KEY.p2wpkh()), TxOut(value - amount, KEY.p2pkh())))
    return block_on(chain, chain.tip, (tx,))


def test_the_longer_branch_wins_and_the_first_seen_among_equals() -> None:
    chain, memory = new_chain()
    root = chain.tip
    first, second = block_on(chain, root), block_on(chain, root)
    assert extend(chain, memory, first) is None
    assert extend(chain, memory, second) == "inconclusive"
    assert chain.tip.hash == first.header.hash()
    longer = block_on(chain, chain.entries[second.header.hash()])
    assert extend(chain, memory, longer) is None
    assert [entry.hash for entry in chain.active[1:]] == [
        second.header.hash(),
        longer.header.hash(),
    ]
    assert chain.confirmations(chain.entries[first.header.hash()]) == -1
    assert_like_a_replay(chain)


def test_leaving_a_branch_restores_the_coins_that_it_spent() -> None:
    chain, memory = new_chain()
    grow(chain, memory, MATURITY + 1)
    fork = chain.tip
    before = fingerprint(chain)
    spending = paying_block(chain)
    assert extend(chain, memory, spending) is None
    assert fingerprint(chain) != before
    other = block_on(chain, fork)
    extend(chain, memory, other)
    extend(chain, memory, block_on(chain, chain.entries[other.header.hash()]))
    (txin,) = spending.transactions[1].inputs
    assert txin.prevout in chain.coins
    assert OutPoint(spending.transactions[1].txid(), 0) not in chain.coins
    assert_like_a_replay(chain)


def test_coins_made_and_spent_in_one_block_vanish_with_it() -> None:
    chain, memory = new_chain()
    grow(chain, memory, MATURITY + 1)
    fork, before = chain.tip, fingerprint(chain)
    coin = some_coin(chain)
    (value,) = (one.value for one in coin.values())
    parent = spend(coin, (TxOut(value, OTHER_KEY.p2wpkh()),))
    from pithead.devchain.rules import Utxo

    made = {OutPoint(parent.txid(), 0): Utxo(value, OTHER_KEY.p2wpkh(), 0, coinbase=False)}
    child = spend(made, (TxOut(value, KEY.p2pkh()),), OTHER_KEY)
    block = block_on(chain, chain.tip, (parent, child))
    assert extend(chain, memory, block) is None
    changes = Changes()
    chain.invalidate(chain.entries[block.header.hash()], changes)
    memory.keep(changes)
    assert chain.tip is fork
    assert fingerprint(chain) == before


def test_a_branch_that_breaks_a_rule_late_is_left_for_the_old_one() -> None:
    chain, memory = new_chain()
    grow(chain, memory, 2)
    tip, before = chain.tip, fingerprint(chain)
    root = chain.active[0]
    step: Entry = root
    blocks = []
    for value in (None, 51 * 10**8, None):
        block = block_on(chain, step, value=value)
        blocks.append(block)
        if len(blocks) < 3:
            assert extend(chain, memory, block) == "inconclusive"
            step = chain.entries[block.header.hash()]
    with pytest.raises(Rejected, match="bad-cb-amount"):
        extend(chain, memory, blocks[2])
    assert chain.tip is tip
    assert fingerprint(chain) == before
    assert not chain.entries[blocks[0].header.hash()].invalid
    assert chain.entries[blocks[1].header.hash()].invalid
    assert chain.entries[blocks[2].header.hash()].invalid
    with pytest.raises(Rejected, match="duplicate-invalid"):
        extend(chain, memory, blocks[1])
    with pytest.raises(Rejected, match="bad-prevblk"):
        extend(chain, memory, block_on(chain, chain.entries[blocks[2].header.hash()]))


def test_invalidating_and_reconsidering_comes_back_to_the_same_chain() -> None:
    chain, memory = new_chain()
    grow(chain, memory, MATURITY + 2)
    extend(chain, memory, paying_block(chain))
    grow(chain, memory, 2)
    before, tip = fingerprint(chain), chain.tip
    changes = Changes()
    chain.invalidate(chain.active[2], changes)
    assert chain.tip.height == 1
    memory.keep(changes)
    assert_like_a_replay(chain)
    changes = Changes()
    chain.reconsider(chain.entries[tip.hash], changes)
    assert chain.tip is tip
    assert fingerprint(chain) == before


def test_the_genesis_cannot_be_invalidated() -> None:
    chain, _ = new_chain()
    with pytest.raises(Rejected):
        chain.invalidate(chain.tip, Changes())


def test_tips_name_each_branch_with_its_length() -> None:
    chain, memory = new_chain()
    grow(chain, memory, 3)
    side = block_on(chain, chain.active[1])
    extend(chain, memory, side)
    tips = {entry.hash: (length, status) for entry, length, status in chain.tips()}
    assert tips == {
        chain.tip.hash: (0, "active"),
        side.header.hash(): (1, "valid-fork"),
    }


def test_a_proposal_changes_nothing() -> None:
    chain, memory = new_chain()
    grow(chain, memory, MATURITY + 1)
    before, known = fingerprint(chain), set(chain.entries)
    chain.propose(paying_block(chain).serialize(), 1_800_000_000)
    with pytest.raises(Rejected, match="inconclusive-not-best-prevblk"):
        chain.propose(block_on(chain, chain.active[1]).serialize(), 1_800_000_000)
    assert (fingerprint(chain), set(chain.entries)) == (before, known)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_any_tree_of_blocks_ends_like_a_replay_of_its_best_branch(data: st.DataObject) -> None:
    chain, memory = new_chain()
    grow(chain, memory, MATURITY)
    for _ in range(data.draw(st.integers(1, 12), label="blocks")):
        action = data.draw(st.sampled_from(["branch", "tip", "spend", "invalidate", "reconsider"]))
        entries = sorted(chain.entries.values(), key=lambda entry: entry.arrival)
        if action == "branch":
            parent = data.draw(st.sampled_from([e for e in entries if not e.invalid]))
            extend(chain, memory, block_on(chain, parent))
        elif action == "spend" and chain.tip.height >= MATURITY:
            extend(chain, memory, paying_block(chain, data.draw(st.integers(600, 5000))))
        elif action == "tip":
            grow(chain, memory, 1)
        elif action in ("invalidate", "reconsider") and len(entries) > 1:
            changes = Changes()
            entry = data.draw(st.sampled_from(entries[1:]))
            if action == "invalidate":
                chain.invalidate(entry, changes)
            else:
                chain.reconsider(entry, changes)
            memory.keep(changes)
        work = max(entry.work for entry in chain.entries.values() if not entry.invalid)
        assert chain.tip.work == work
    assert_like_a_replay(chain)


def test_memory_is_enough_of_a_store() -> None:
    chain, memory = new_chain()
    assert isinstance(memory, Memory)
    assert memory.block(chain.tip.hash)
