"""A wallet's transactions as the wallet RPCs show them. Reads only."""

from collections.abc import Iterator, Mapping
from typing import Any

from pithead.coins.address import address_of_script
from pithead.devchain.keys import Keys, OwnTx
from pithead.devchain.render import amount, hex_hash
from pithead.devchain.rpc import Context

REPLACEABLE_MAX = 0xFFFFFFFD
"""Largest input sequence that signals replaceability (BIP 125)."""


def note_object(context: Context, wallet: Keys, note: OwnTx) -> dict[str, Any]:
    """What gettransaction and listsinceblock say of the transaction as a whole."""
    state = context.state
    found = state.block_of(note.txid)
    sequences = [txin.sequence for txin in note.tx.inputs]
    shown: dict[str, Any] = {
        "txid": hex_hash(note.txid),
        "confirmations": state.depth_of(note, wallet),
        "walletconflicts": [hex_hash(other) for other in wallet.conflicts(note)],
        "time": note.time_s,
        "timereceived": note.time_s,
        "bip125-replaceable": "yes"
        if found is None and min(sequences) <= REPLACEABLE_MAX
        else "no",
    }
    if note.tx.is_coinbase:
        shown["generated"] = True
    if found is not None:
        shown |= {
            "blockhash": hex_hash(found[0].hash),
            "blockheight": found[0].height,
            "blockindex": found[1],
            "blocktime": found[0].header.time,
        }
    elif shown["confirmations"] == 0:
        shown["trusted"] = note.txid in state.mempool.waiting and note.debit > 0
    return shown


def history(context: Context, wallet: Keys, note: OwnTx) -> list[dict[str, Any]]:
    """The entries of listsinceblock for one transaction."""
    common = note_object(context, wallet, note)
    return [{**detail, **common} for detail in details_of(context, wallet, note)]


def details_of(context: Context, wallet: Keys, note: OwnTx) -> Iterator[Mapping[str, Any]]:
    """What the transaction does, output by output: sent, then received. Change is left out."""
    params = context.state.params
    for index, out in enumerate(note.tx.outputs):
        own = wallet.by_script.get(out.script)
        change = own is not None and own.label is None and note.debit > 0
        if note.debit > 0 and not change:
            detail: dict[str, Any] = {
                "category": "send",
                "amount": amount(-out.value),
                "vout": index,
                "abandoned": False,
            }
            if (address := address_of_script(params, out.script)) is not None:
                detail["address"] = address
            if note.fee is not None:
                detail["fee"] = amount(-note.fee)
            yield detail
        if own is not None and not change:
            yield {
                "address": own.address,
                "category": _category(context, note),
                "amount": amount(out.value),
                "label": own.label or "",
                "vout": index,
            }


def _category(context: Context, note: OwnTx) -> str:
    if not note.tx.is_coinbase:
        return "receive"
    found = context.state.block_of(note.txid)
    if found is None:
        return "orphan"
    depth = context.state.chain.confirmations(found[0])
    return "generate" if depth > context.state.params.coinbase_maturity else "immature"
