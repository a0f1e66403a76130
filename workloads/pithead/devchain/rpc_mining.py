"""RPC methods about making blocks: templates, submits, and mining by the node itself."""

import asyncio
from collections.abc import Sequence
from hashlib import sha256
from typing import Any

from pithead.coins.address import AddressError, script_of_address
from pithead.coins.block import Block, BlockHeader
from pithead.coins.script import height_push, push
from pithead.coins.tx import NULL_HASH, NULL_INDEX, OutPoint, Tx, TxIn, TxOut, merkle_root
from pithead.coins.weight import bits_to_target
from pithead.devchain.mempool import Waiting, commitment_script
from pithead.devchain.render import difficulty, hex_hash
from pithead.devchain.rpc import (
    DESERIALIZATION_ERROR,
    IN_INITIAL_DOWNLOAD,
    INVALID_ADDRESS_OR_KEY,
    INVALID_PARAMETER,
    NOT_CONNECTED,
    Context,
    Method,
    RpcError,
    mapping_of,
    parameter,
)
from pithead.devchain.rules import Rejected

BLOCK_VERSION = 0x20000000

MEMPOOL_NEWS_MS = 5000
"""A long poll is answered for a changed mempool alone only after this, or each transaction would
make new work for every miner."""

NONCES_A_SLICE = 20_000
"""Hashes between two looks at other requests: about 20 ms."""

BLOCKS_MAX = 10_000


async def getblocktemplate(context: Context, params: Sequence[Any]) -> object:
    """A template (BIP22, BIP23, BIP145) that differs from `longpollid`; or a proposal's word."""
    request = mapping_of(params[0], "template_request") if params else {}
    if request.get("mode", "template") == "proposal":
        return _proposal(context, request)
    if "segwit" not in request.get("rules", ()):
        raise RpcError(
            INVALID_PARAMETER,
            'getblocktemplate must be called with the segwit rule set (call with {"rules": '
            '["segwit"]})',
        )
    longpollid = request.get("longpollid")
    if longpollid is not None:
        await _wait_for_news(context, str(longpollid))
    plan = context.faults.plan(context.now_ms())
    if plan.disconnected:
        raise RpcError(NOT_CONNECTED, "Devchain is not connected!")
    if plan.initialblockdownload:
        raise RpcError(IN_INITIAL_DOWNLOAD, "Devchain is in initial sync and waiting for blocks...")
    return _template(context)


def submitblock(context: Context, params: Sequence[Any]) -> str | None:
    """Take a block; null, or a word why not."""
    try:
        raw = bytes.fromhex(parameter(params, 0, str))
    except ValueError as error:
        raise RpcError(DESERIALIZATION_ERROR, "Block decode failed") from error
    before = context.state.chain.tip
    word = context.state.submit(raw, context.now_s())
    if context.state.chain.tip is not before:
        context.announce()
    if word == "decode":
        raise RpcError(DESERIALIZATION_ERROR, "Block decode failed")
    return word


def getmininginfo(context: Context, _params: Sequence[Any]) -> dict[str, Any]:
    """Figures about mining."""
    state = context.state
    return {
        "blocks": state.chain.tip.height,
        "difficulty": difficulty(state.chain),
        "networkhashps": 0,
        "pooledtx": len(state.mempool.waiting),
        "chain": "regtest",
        "warnings": "",
    }


async def generatetoaddress(context: Context, params: Sequence[Any]) -> list[str]:
    """Mine blocks here and now; their hashes."""
    count = parameter(params, 0, int)
    if not 0 <= count <= BLOCKS_MAX:
        raise RpcError(INVALID_PARAMETER, f"number of blocks must be in 0 .. {BLOCKS_MAX}")
    try:
        script = script_of_address(context.state.params, parameter(params, 1, str))
    except AddressError as error:
        raise RpcError(INVALID_ADDRESS_OR_KEY, f"Error: Invalid address ({error})") from error
    hashes: list[str] = []
    while len(hashes) < count and not context.stop.is_set():
        block = await _mined(context, script)
        if block is None:
            continue
        if context.state.submit(block.serialize(), context.now_s()) is None:
            hashes.append(hex_hash(block.header.hash()))
            context.announce()
    return hashes


def _proposal(context: Context, request: Any) -> str | None:
    try:
        raw = bytes.fromhex(str(request.get("data", "")))
        context.state.chain.propose(raw, context.now_s())
    except ValueError as error:
        raise RpcError(DESERIALIZATION_ERROR, "Block decode failed") from error
    except Rejected as rejected:
        if rejected.word == "decode":
            raise RpcError(DESERIALIZATION_ERROR, "Block decode failed") from rejected
        return rejected.word
    return None


async def _wait_for_news(context: Context, longpollid: str) -> None:
    """Wait until the tip differs from the id's, or for a while until the mempool does."""
    news_from_ms = context.now_ms() + MEMPOOL_NEWS_MS
    tip = longpollid[:64]
    while not context.stop.is_set():
        if hex_hash(context.state.chain.tip.hash) != tip:
            return
        wait_s = None
        if _longpollid(context) != longpollid:
            wait_s = (news_from_ms - context.now_ms()) / 1000
            if wait_s <= 0:
                return
        moved = context.moved
        try:
            async with asyncio.timeout(wait_s):
                await moved.wait()
        except TimeoutError:
            return
    raise RpcError(NOT_CONNECTED, "Shutting down")


def _longpollid(context: Context) -> str:
    state = context.state
    return f"{hex_hash(state.chain.tip.hash)}{state.mempool.version}"


def _template(context: Context) -> dict[str, Any]:
    chain = context.state.chain
    chosen = list(context.state.mempool.chosen())
    height = chain.tip.height + 1
    median_s = chain.median_s(chain.tip)
    position = {one.txid: index for index, one in enumerate(chosen, start=1)}
    fees = sum(one.spend.fee for one in chosen)
    return {
        "capabilities": ["proposal"],
        "version": BLOCK_VERSION,
        "rules": ["csv", "!segwit"],
        "vbavailable": {},
        "vbrequired": 0,
        "previousblockhash": hex_hash(chain.tip.hash),
        "transactions": [_template_tx(one, position) for one in chosen],
        "coinbaseaux": {},
        "coinbasevalue": chain.params.subsidy(height) + fees,
        "longpollid": _longpollid(context),
        "target": f"{bits_to_target(chain.bits):064x}",
        "mintime": median_s + 1,
        "mutable": ["time", "transactions", "prevblock"],
        "noncerange": "00000000ffffffff",
        "sigoplimit": 80_000,
        "sizelimit": chain.params.block_weight_max,
        "weightlimit": chain.params.block_weight_max,
        "curtime": max(context.now_s(), median_s + 1),
        "bits": f"{chain.bits:08x}",
        "height": height,
        "default_witness_commitment": commitment_script(one.tx for one in chosen).hex(),
    }


def _template_tx(one: Waiting, position: dict[bytes, int]) -> dict[str, Any]:
    parents = {txin.prevout.txid for txin in one.tx.inputs}
    return {
        "data": one.raw.hex(),
        "txid": hex_hash(one.txid),
        "hash": hex_hash(one.wtxid),
        "depends": sorted(position[parent] for parent in parents if parent in position),
        "fee": one.spend.fee,
        "sigops": 0,
        "weight": one.weight,
    }


async def _mined(context: Context, script: bytes) -> Block | None:
    """A block on the tip that pays `script`; None when the tip moved or the nonces ran out."""
    chain = context.state.chain
    tip = chain.tip
    chosen = list(context.state.mempool.chosen())
    height = tip.height + 1
    value = chain.params.subsidy(height) + sum(one.spend.fee for one in chosen)
    # The random push makes coinbases of equal blocks on different branches differ.
    script_sig = height_push(height) + push(context.secret()[:8])
    coinbase = Tx(
        (TxIn(OutPoint(NULL_HASH, NULL_INDEX), script_sig, witness=(bytes(32),)),),
        (TxOut(value, script), TxOut(0, commitment_script(one.tx for one in chosen))),
    )
    transactions = (coinbase, *(one.tx for one in chosen))
    root = merkle_root([tx.txid() for tx in transactions])
    time_s = max(context.now_s(), chain.median_s(tip) + 1)
    header = BlockHeader(BLOCK_VERSION, tip.hash, root, time_s, chain.bits, 0)
    target = bits_to_target(chain.bits)
    head = header.serialize()[:76]
    for first in range(0, 1 << 32, NONCES_A_SLICE):
        nonce = _search(head, target, range(first, min(first + NONCES_A_SLICE, 1 << 32)))
        if nonce is not None:
            return Block(
                BlockHeader(BLOCK_VERSION, tip.hash, root, time_s, chain.bits, nonce), transactions
            )
        await asyncio.sleep(0)
        if chain.tip is not tip or context.stop.is_set():
            return None
    return None


def _search(head: bytes, target: int, nonces: range) -> int | None:
    base = sha256(head)
    for nonce in nonces:
        first = base.copy()
        first.update(nonce.to_bytes(4, "little"))
        if int.from_bytes(sha256(first.digest()).digest(), "little") <= target:
            return nonce
    return None


METHODS: dict[str, Method] = {
    method.__name__: method
    for method in (getblocktemplate, submitblock, getmininginfo, generatetoaddress)
}
