"""Blocks, transactions and amounts as litecoind prints them.

Amounts are `Decimal` with eight places, which the HTTP shell writes as JSON numbers. Pure.
"""

from decimal import Decimal
from typing import Any

from pithead.coins.address import address_of_script
from pithead.coins.params import ChainParams
from pithead.coins.script import is_op_return, is_p2pkh, is_p2sh, is_p2wpkh, witness_program
from pithead.coins.tx import Tx
from pithead.coins.weight import bits_to_target
from pithead.devchain.chain import Chain, Entry

_COIN = Decimal("0.00000001")


def amount(base_units: int) -> Decimal:
    """Coins of base units."""
    return (Decimal(base_units) * _COIN).quantize(_COIN)


def hex_hash(identity: bytes) -> str:
    """A hash as people read it."""
    return identity[::-1].hex()


def script_object(params: ChainParams, script: bytes) -> dict[str, Any]:
    """`scriptPubKey` of an output."""
    shown: dict[str, Any] = {"asm": "", "hex": script.hex(), "type": _kind(script)}
    address = address_of_script(params, script)
    if address is not None:
        shown |= {"reqSigs": 1, "addresses": [address]}
    return shown


def _kind(script: bytes) -> str:
    if is_p2pkh(script):
        return "pubkeyhash"
    if is_p2wpkh(script):
        return "witness_v0_keyhash"
    if is_p2sh(script):
        return "scripthash"
    if is_op_return(script):
        return "nulldata"
    return "witness_unknown" if witness_program(script) else "nonstandard"


def tx_object(params: ChainParams, tx: Tx) -> dict[str, Any]:
    """A transaction as `getrawtransaction` with verbose prints it."""
    raw = tx.serialize()
    inputs = []
    for txin in tx.inputs:
        shown: dict[str, Any] = {"sequence": txin.sequence}
        if tx.is_coinbase:
            shown["coinbase"] = txin.script_sig.hex()
        else:
            shown |= {
                "txid": hex_hash(txin.prevout.txid),
                "vout": txin.prevout.index,
                "scriptSig": {"asm": "", "hex": txin.script_sig.hex()},
            }
        if txin.witness:
            shown["txinwitness"] = [item.hex() for item in txin.witness]
        inputs.append(shown)
    return {
        "txid": hex_hash(tx.txid()),
        "hash": hex_hash(tx.wtxid()),
        "version": tx.version,
        "size": len(raw),
        "vsize": tx.vsize(),
        "weight": tx.weight(),
        "locktime": tx.locktime,
        "vin": inputs,
        "vout": [
            {
                "value": amount(out.value),
                "n": index,
                "scriptPubKey": script_object(params, out.script),
            }
            for index, out in enumerate(tx.outputs)
        ],
        "hex": raw.hex(),
    }


def header_object(chain: Chain, entry: Entry) -> dict[str, Any]:
    """A block as `getblockheader` with verbose prints it."""
    header = entry.header
    shown: dict[str, Any] = {
        "hash": hex_hash(entry.hash),
        "confirmations": chain.confirmations(entry),
        "height": entry.height,
        "version": header.version,
        "versionHex": f"{header.version:08x}",
        "merkleroot": hex_hash(header.merkle_root),
        "time": header.time,
        "mediantime": chain.median_s(entry),
        "nonce": header.nonce,
        "bits": f"{header.bits:08x}",
        "difficulty": difficulty(chain),
        "chainwork": f"{entry.work:064x}",
        "nTx": entry.tx_count,
    }
    if entry.parent is not None:
        shown["previousblockhash"] = hex_hash(entry.parent.hash)
    if chain.is_active(entry) and entry is not chain.tip:
        shown["nextblockhash"] = hex_hash(chain.active[entry.height + 1].hash)
    return shown


def block_object(chain: Chain, entry: Entry, *, transactions: bool) -> dict[str, Any]:
    """A block as `getblock` prints it: with txids, or with whole transactions."""
    block = chain.block_at(entry)
    shown = header_object(chain, entry)
    weight = 4 * 81 + sum(tx.weight() for tx in block.transactions)
    shown |= {"size": entry.size, "weight": weight}
    if transactions:
        shown["tx"] = [tx_object(chain.params, tx) for tx in block.transactions]
    else:
        shown["tx"] = [hex_hash(tx.txid()) for tx in block.transactions]
    return shown


def difficulty(chain: Chain) -> float:
    """Difficulty of every block of the chain, for display."""
    return chain.params.diff1_target / bits_to_target(chain.bits)
