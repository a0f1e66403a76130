"""A real litecoind judges the pure core: addresses, signatures, coinbases, headers, blocks.

The chain is taken past height 500, below which regtest does not enforce the height in a coinbase.
"""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from pithead.coins.address import address_of_script
from pithead.coins.bitcoin_family import LITECOIN
from pithead.coins.block import parse_block
from pithead.coins.hashing import block_hash, scrypt_pow
from pithead.coins.job import Job, Mark, Work, parse_coinbase_mark, pool_tag
from pithead.coins.node import RpcNode
from pithead.coins.sign import PrivateKey, sign_tx
from pithead.coins.tx import OutPoint, Tx, TxIn, TxOut, parse_tx
from tests.support.litecoind import NOBODY, Litecoind

pytestmark = [pytest.mark.gate, pytest.mark.needs("litecoind")]

PARAMS = LITECOIN.networks["regtest"]
KEY = PrivateKey(b"\x21" * 32)
PAYEE = PrivateKey(b"\x22" * 32)
TAG, SALT = pool_tag("default.demo"), bytes(range(16))
EXTRANONCE1, EXTRANONCE2 = b"\x03abcd", b"12345678"
ROLLED_BITS = 0x1FFFE000
FEE = 10_000


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[RpcNode]:
    async with Litecoind(tmp_path / "node") as daemon, RpcNode(daemon.access) as rpc:
        yield rpc


async def _generate(node: RpcNode, count: int, script: bytes | None = None) -> list[str]:
    address = NOBODY if script is None else address_of_script(PARAMS, script)
    names: list[str] = await node.call("generatetoaddress", count, address)
    return names


async def _job(node: RpcNode, serial: int) -> Job:
    template = await node.get_template(PARAMS)
    return Work(template, KEY.p2wpkh(), TAG, SALT).job(serial)


def _solve(job: Job, *, won: bool = True) -> tuple[bytes, bytes]:
    """Header and block of the first nonce that wins, or that does not."""
    template = job.template
    version = template.version | ROLLED_BITS
    for nonce in range(1 << 16):
        header = job.header(EXTRANONCE1, EXTRANONCE2, template.time, nonce, version)
        if (scrypt_pow(header) <= template.target) is won:
            block = job.block(EXTRANONCE1, EXTRANONCE2, template.time, nonce, version)
            return header, block
    raise AssertionError("every second nonce of regtest wins")


async def _coinbase_of(node: RpcNode, name: str) -> Tx:
    raw: str = await node.call("getblock", name, 0)
    return parse_block(PARAMS, bytes.fromhex(raw)).coinbase


async def test_node_accepts_our_blocks_with_and_without_our_transactions(node: RpcNode) -> None:
    names = await _generate(node, 2, KEY.p2wpkh())
    names += await _generate(node, 2, KEY.p2pkh())
    await _generate(node, 500)

    empty = await _job(node, 1)
    assert empty.template.height > 500
    header, block = _solve(empty)
    assert await node.call("submitblock", block.hex()) is None
    assert await node.call("getbestblockhash") == block_hash(header)[::-1].hex()

    # One transaction spends both kinds of our coins and pays both kinds.
    coinbases = [await _coinbase_of(node, name) for name in names]
    spent = [coinbase.outputs[0] for coinbase in coinbases]
    inputs = tuple(TxIn(OutPoint(coinbase.txid(), 0)) for coinbase in coinbases)
    half = sum(coin.value for coin in spent) // 2
    unsigned = Tx(inputs, (TxOut(half - FEE, PAYEE.p2pkh()), TxOut(half - FEE, PAYEE.p2wpkh())))
    signed = sign_tx(unsigned, spent, [KEY])
    sent = await node.call("sendrawtransaction", signed.serialize().hex())
    assert sent == signed.txid()[::-1].hex()
    # A second one spends the first without a witness, so that the block holds both forms.
    coin = signed.outputs[0]
    onward = Tx((TxIn(OutPoint(signed.txid(), 0)),), (TxOut(coin.value - FEE, KEY.p2pkh()),))
    follow = sign_tx(onward, [coin], [PAYEE])
    await node.call("sendrawtransaction", follow.serialize().hex())

    full = await _job(node, 0xFFFFFFFF)
    included = [tx.txid for tx in full.template.transactions]
    assert included == [signed.txid(), follow.txid()]
    header, block = _solve(full)
    assert await node.call("submitblock", block.hex()) is None
    assert await node.call("getbestblockhash") == block_hash(header)[::-1].hex()

    name = block_hash(header)[::-1].hex()
    assert await node.call("getblock", name, 0) == block.hex()
    coinbase = await _coinbase_of(node, name)
    mark = parse_coinbase_mark(PARAMS, coinbase)
    assert mark == Mark(TAG, SALT, 0xFFFFFFFF, EXTRANONCE1, EXTRANONCE2)
    assert coinbase.outputs[0] == TxOut(full.template.coinbase_value, KEY.p2wpkh())


async def test_node_refuses_what_our_arithmetic_calls_a_miss(node: RpcNode) -> None:
    _, block = _solve(await _job(node, 1), won=False)
    assert await node.call("submitblock", block.hex()) == "high-hash"


async def test_node_knows_our_addresses_and_their_scripts(node: RpcNode) -> None:
    for script in (KEY.p2pkh(), KEY.p2wpkh()):
        told = await node.call("validateaddress", address_of_script(PARAMS, script))
        assert told["isvalid"] is True
        assert told["scriptPubKey"] == script.hex()


async def test_node_computes_our_txids(node: RpcNode) -> None:
    (name,) = await _generate(node, 1)
    listed = (await node.call("getblock", name, 1))["tx"]
    raw = await node.call("getrawtransaction", listed[0], False, name)
    assert parse_tx(bytes.fromhex(raw)).txid()[::-1].hex() == listed[0]
