"""What every node of the Bitcoin family must do for us: one suite for devchain and the real one.

A test module gives a fixture `rig` and derives classes from these. Chains are shared by the tests
of a module, so each test starts from where the chain is.
"""

import asyncio
import itertools
from dataclasses import dataclass, replace
from hashlib import sha256

import pytest

from pithead.coins.block import parse_block
from pithead.coins.hashing import block_hash, pow_hash
from pithead.coins.job import Work, parse_coinbase_mark, pool_tag
from pithead.coins.node import (
    HeaderInfo,
    NodeAddress,
    NodeOfOtherChain,
    NodeRefused,
    NodeUnreachable,
    RpcFault,
    RpcNode,
    Submission,
)
from pithead.coins.params import ChainParams
from pithead.coins.script import p2wpkh
from pithead.coins.template import Template
from tests.support.litecoind import free_port

TAG = pool_tag("contract")
SOMEBODY = p2wpkh(b"somebody somewhere..")
_serials = itertools.count(1)


@dataclass(frozen=True)
class Rig:
    """A running node and how to reach it."""

    params: ChainParams
    access: NodeAddress
    node: RpcNode

    async def template(self) -> Template:
        """A template of now."""
        return await self.node.get_template(self.params)

    async def mine(self, payout_script: bytes = SOMEBODY) -> bytes:
        """Make one block our own way; its hash."""
        block = solve(self.params, await self.template(), payout_script)
        submission = await self.node.submitted(block)
        assert submission.on_chain, submission
        return submission.hash


def solve(
    params: ChainParams,
    template: Template,
    payout_script: bytes = SOMEBODY,
    *,
    ntime: int | None = None,
    wins: bool = True,
) -> bytes:
    """A block of `template` whose hash meets its target, or with `wins` False just does not."""
    work = Work(template, payout_script, TAG, bytes(16))
    job = work.job(next(_serials))
    one, two = b"\x00abcd", sha256(payout_script).digest()[:8]
    time_s = template.time if ntime is None else ntime
    head = job.header(one, two, time_s, 0, template.version)[:76]
    for nonce in range(1 << 24):
        met = pow_hash(params, head + nonce.to_bytes(4, "little")) <= template.target
        if met == wins:
            return job.block(one, two, time_s, nonce, template.version)
    raise AssertionError("no nonce found")


async def header(rig: Rig, identity: bytes) -> HeaderInfo:
    """A header that must be known."""
    found = await rig.node.block_header(identity)
    assert found is not None
    return found


async def refused(rig: Rig, block: bytes, word: str) -> None:
    """Submit a block that must be refused with `word` and leave the tip alone."""
    before = await rig.node.best_hash()
    submission = await rig.node.submitted(block)
    assert submission.word == word
    assert submission.confirmations is None or submission.confirmations < 0
    assert await rig.node.best_hash() == before


class NodeContract:
    """Templates, submits and lookups."""

    async def test_chain_info_tip_and_height_agree(self, rig: Rig) -> None:
        info = await rig.node.chain_info()
        assert info.chain == "regtest"
        assert not info.ibd
        assert info.headers >= info.blocks
        assert await rig.node.best_hash() == info.best
        assert await rig.node.block_hash_at(info.blocks) == info.best
        assert (await header(rig, info.best)).confirmations == 1

    async def test_a_node_of_another_network_is_refused(self, rig: Rig) -> None:
        mainnet = replace(rig.params, network="mainnet")
        async with RpcNode(rig.access, network="mainnet") as node:
            with pytest.raises(NodeOfOtherChain, match="'regtest', expected a node of mainnet"):
                await node.chain_info()
        async with RpcNode(rig.access) as node:
            with pytest.raises(NodeOfOtherChain, match="correct the address or the network"):
                await node.get_template(mainnet)
            assert (await node.get_template(rig.params)).height > 0

    async def test_unknown_things_are_none(self, rig: Rig) -> None:
        info = await rig.node.chain_info()
        assert await rig.node.block_hash_at(info.blocks + 1) is None
        assert await rig.node.block_header(b"\x01" * 32) is None
        assert await rig.node.block_bytes(b"\x01" * 32) is None
        assert await rig.node.coinbase(rig.params, b"\x01" * 32) is None

    async def test_a_template_becomes_a_block_that_is_found_by_its_hash(self, rig: Rig) -> None:
        template = await rig.template()
        block = solve(rig.params, template)
        submission = await rig.node.submitted(block)
        assert submission == Submission(rig.access.name, block_hash(block[:80]), None, 1)
        found = await header(rig, submission.hash)
        assert (found.height, found.parent) == (template.height, template.parent)
        assert (found.bits, found.next) == (template.bits, None)
        parent = await header(rig, template.parent)
        assert parent.next == submission.hash
        assert parent.confirmations == 2
        assert found.chainwork > parent.chainwork
        raw = await rig.node.block_bytes(submission.hash)
        assert raw == block
        parsed = parse_block(rig.params, block)
        assert await rig.node.coinbase(rig.params, submission.hash) == (
            parsed.header,
            parsed.coinbase,
        )
        mark = parse_coinbase_mark(rig.params, parsed.coinbase)
        assert mark is not None
        assert mark.tag == TAG

    async def test_a_block_given_twice_is_a_duplicate_and_still_on_the_chain(
        self, rig: Rig
    ) -> None:
        block = solve(rig.params, await rig.template())
        assert (await rig.node.submitted(block)).on_chain
        again = await rig.node.submitted(block)
        assert (again.word, again.confirmations) == ("duplicate", 1)

    async def test_a_hash_above_the_target_is_high_hash(self, rig: Rig) -> None:
        block = solve(rig.params, await rig.template(), wins=False)
        await refused(rig, block, "high-hash")
        assert await rig.node.block_header(block_hash(block[:80])) is None

    async def test_an_unknown_parent_is_told(self, rig: Rig) -> None:
        template = replace(await rig.template(), parent=b"\x02" * 32)
        await refused(rig, solve(rig.params, template), "prev-blk-not-found")

    async def test_a_greedy_coinbase_is_refused(self, rig: Rig) -> None:
        template = await rig.template()
        greedy = replace(template, coinbase_value=template.coinbase_value + 1)
        await refused(rig, solve(rig.params, greedy), "bad-cb-amount")

    async def test_a_modest_coinbase_is_taken(self, rig: Rig) -> None:
        template = await rig.template()
        modest = replace(template, coinbase_value=template.coinbase_value - 1)
        assert (await rig.node.submitted(solve(rig.params, modest))).on_chain

    async def test_a_changed_transaction_breaks_the_merkle_root(self, rig: Rig) -> None:
        block = bytearray(solve(rig.params, await rig.template()))
        at = block.index(SOMEBODY)
        block[at + 5] ^= 1
        await refused(rig, bytes(block), "bad-txnmrklroot")

    async def test_a_time_before_the_median_is_too_old(self, rig: Rig) -> None:
        template = await rig.template()
        block = solve(rig.params, template, ntime=template.min_time - 1)
        await refused(rig, block, "time-too-old")

    async def test_a_time_hours_ahead_is_too_new(self, rig: Rig) -> None:
        template = await rig.template()
        block = solve(rig.params, template, ntime=template.time + 3 * 3600)
        await refused(rig, block, "time-too-new")

    async def test_a_wrong_target_is_refused(self, rig: Rig) -> None:
        template = replace(await rig.template(), bits=0x207FFFFE)
        await refused(rig, solve(rig.params, template), "bad-diffbits")

    async def test_a_missing_witness_commitment_counts_only_with_witnesses(self, rig: Rig) -> None:
        template = replace(await rig.template(), witness_commitment=None, transactions=())
        assert (await rig.node.submitted(solve(rig.params, template))).word is None

    async def test_a_wrong_witness_commitment_is_refused(self, rig: Rig) -> None:
        template = await rig.template()
        assert template.witness_commitment is not None
        wrong = template.witness_commitment[:-1] + bytes([template.witness_commitment[-1] ^ 1])
        block = solve(rig.params, replace(template, witness_commitment=wrong))
        await refused(rig, block, "bad-witness-merkle-match")

    async def test_no_block_at_all_is_a_fault_and_not_found(self, rig: Rig) -> None:
        with pytest.raises(RpcFault) as caught:
            await rig.node.submit_block(b"\x00" * 10)
        assert caught.value.code == -22
        submission = await rig.node.submitted(bytes(90))
        assert not submission.on_chain
        assert submission.word is not None
        assert "-22" in submission.word

    async def test_a_sibling_of_the_tip_is_inconclusive_and_off_the_chain(self, rig: Rig) -> None:
        template = await rig.template()
        first, second = (solve(rig.params, template, p2wpkh(bytes([n]) * 20)) for n in (1, 2))
        assert (await rig.node.submitted(first)).on_chain
        await refused(rig, second, "inconclusive")
        assert (await header(rig, block_hash(second[:80]))).confirmations == -1

    async def test_two_blocks_on_a_sibling_turn_the_chain_and_back(self, rig: Rig) -> None:
        template = await rig.template()
        first, sibling = (solve(rig.params, template, p2wpkh(bytes([n]) * 20)) for n in (3, 4))
        lost = (await rig.node.submitted(first)).hash
        await rig.node.submitted(sibling)
        await rig.node.call("invalidateblock", lost[::-1].hex())
        assert await rig.node.best_hash() == block_hash(sibling[:80])
        await rig.mine()
        await rig.node.call("reconsiderblock", lost[::-1].hex())
        assert (await header(rig, lost)).confirmations == -1
        tips = {tip["hash"]: tip["status"] for tip in await rig.node.call("getchaintips")}
        assert tips[lost[::-1].hex()] == "valid-fork"
        assert list(tips.values()).count("active") == 1

    async def test_a_proposal_is_judged_without_being_taken(self, rig: Rig) -> None:
        template = await rig.template()
        good = solve(rig.params, template, wins=False)
        request = {"mode": "proposal", "rules": list(rig.params.gbt_rules)}
        ask = rig.node.call
        assert await ask("getblocktemplate", {**request, "data": good.hex()}) is None
        greedy = solve(rig.params, replace(template, coinbase_value=template.coinbase_value + 1))
        word = await ask("getblocktemplate", {**request, "data": greedy.hex()})
        assert word == "bad-cb-amount"
        assert await rig.node.best_hash() == template.parent

    async def test_a_long_poll_answers_when_the_tip_moves(self, rig: Rig) -> None:
        before = await rig.template()
        waiting = asyncio.create_task(rig.node.get_template(rig.params, before.longpoll_id))
        await asyncio.sleep(0.3)
        assert not waiting.done()
        tip = await rig.mine()
        async with asyncio.timeout(5):
            assert (await waiting).parent == tip

    async def test_a_template_without_its_rules_is_refused(self, rig: Rig) -> None:
        with pytest.raises(RpcFault) as caught:
            await rig.node.call("getblocktemplate", {"rules": []})
        assert caught.value.code == -8

    async def test_wrong_credentials_name_user_and_remedy(self, rig: Rig) -> None:
        access = replace(rig.access, user="eve", password="guess")
        async with RpcNode(access) as stranger:
            with pytest.raises(NodeRefused) as caught:
                await stranger.best_hash()
        text = str(caught.value)
        assert "'eve'" in text
        assert rig.access.url in text
        assert "correct the RPC user and password" in text
        assert "guess" not in text

    async def test_a_port_without_a_node_is_unreachable(self, rig: Rig) -> None:
        access = replace(rig.access, url=f"http://127.0.0.1:{free_port()}")
        async with RpcNode(access) as nobody:
            with pytest.raises(NodeUnreachable, match="start the node or correct the address"):
                await nobody.best_hash()

    async def test_an_unknown_method_is_a_fault_with_the_nodes_code(self, rig: Rig) -> None:
        with pytest.raises(RpcFault) as caught:
            await rig.node.call("nonesuch")
        assert caught.value.code == -32601

    async def test_calls_at_the_same_moment_do_not_disturb_each_other(self, rig: Rig) -> None:
        heights = range(12)
        found = await asyncio.gather(*(rig.node.block_hash_at(height) for height in heights))
        singly = [await rig.node.block_hash_at(height) for height in heights]
        assert list(found) == singly
