"""RPC methods about blocks, the chain and the mempool."""

from collections.abc import Sequence
from typing import Any

from pithead.coins.tx import OutPoint, Tx
from pithead.devchain.mempool import FEE_RATE_MIN, Waiting
from pithead.devchain.render import (
    amount,
    block_object,
    difficulty,
    header_object,
    hex_hash,
    script_object,
    tx_object,
)
from pithead.devchain.rpc import (
    DESERIALIZATION_ERROR,
    INVALID_ADDRESS_OR_KEY,
    INVALID_PARAMETER,
    VERIFY_ALREADY_IN_CHAIN,
    VERIFY_ERROR,
    VERIFY_REJECTED,
    Context,
    Method,
    RpcError,
    entry_of,
    hash_parameter,
    parameter,
    tx_of,
)
from pithead.devchain.rules import Rejected

VERSION = 210_201
"""What litecoind 0.21.2.1 says: the release whose RPC this is modelled on."""

TEST_ACCEPT_MAX = 25


def getblockchaininfo(context: Context, _params: Sequence[Any]) -> dict[str, Any]:
    """Where the chain stands."""
    chain = context.state.chain
    syncing = context.faults.plan(context.now_ms()).initialblockdownload
    return {
        "chain": "regtest",
        "blocks": chain.tip.height,
        "headers": max(entry.height for entry in chain.entries.values())
        if syncing
        else chain.tip.height,
        "bestblockhash": hex_hash(chain.tip.hash),
        "difficulty": difficulty(chain),
        "mediantime": chain.median_s(chain.tip),
        "verificationprogress": 0.5 if syncing else 1,
        "initialblockdownload": syncing,
        "chainwork": f"{chain.tip.work:064x}",
        "pruned": False,
        "warnings": "",
    }


def getblockcount(context: Context, _params: Sequence[Any]) -> int:
    """Height of the tip."""
    return context.state.chain.tip.height


def getbestblockhash(context: Context, _params: Sequence[Any]) -> str:
    """Hash of the tip."""
    return hex_hash(context.state.chain.tip.hash)


def getblockhash(context: Context, params: Sequence[Any]) -> str:
    """Hash at a height of the main chain."""
    height = parameter(params, 0, int)
    active = context.state.chain.active
    if not 0 <= height < len(active):
        raise RpcError(INVALID_PARAMETER, "Block height out of range")
    return hex_hash(active[height].hash)


def getblockheader(context: Context, params: Sequence[Any]) -> dict[str, Any] | str:
    """A header, as an object or as hex."""
    entry = entry_of(context, hash_parameter(params, 0, "hash"))
    if parameter(params, 1, bool, True):
        return header_object(context.state.chain, entry)
    return entry.header.serialize().hex()


def getblock(context: Context, params: Sequence[Any]) -> dict[str, Any] | str:
    """A block: 0 hex, 1 with txids, 2 with transactions."""
    entry = entry_of(context, hash_parameter(params, 0, "blockhash"))
    given = params[1] if len(params) > 1 and params[1] is not None else 1
    verbosity = int(given) if isinstance(given, bool) else parameter(params, 1, int, 1)
    if verbosity <= 0:
        return context.state.store.block(entry.hash).hex()
    return block_object(context.state.chain, entry, transactions=verbosity >= 2)


def getchaintips(context: Context, _params: Sequence[Any]) -> list[dict[str, Any]]:
    """Ends of all branches."""
    return [
        {
            "height": entry.height,
            "hash": hex_hash(entry.hash),
            "branchlen": length,
            "status": status,
        }
        for entry, length, status in context.state.chain.tips()
    ]


def invalidateblock(context: Context, params: Sequence[Any]) -> None:
    """Leave a block by hand."""
    entry = entry_of(context, hash_parameter(params, 0, "blockhash"))
    try:
        context.state.invalidate(entry, context.now_s())
    except Rejected as rejected:
        raise RpcError(VERIFY_ERROR, str(rejected)) from rejected
    context.announce()


def reconsiderblock(context: Context, params: Sequence[Any]) -> None:
    """Take back `invalidateblock`."""
    entry = entry_of(context, hash_parameter(params, 0, "blockhash"))
    context.state.reconsider(entry, context.now_s())
    context.announce()


def getrawmempool(context: Context, params: Sequence[Any]) -> list[str] | dict[str, Any]:
    """What waits: txids, or objects by txid."""
    waiting = context.state.mempool.waiting.values()
    if not parameter(params, 0, bool, False):
        return [hex_hash(one.txid) for one in waiting]
    return {hex_hash(one.txid): _waiting_object(context, one) for one in waiting}


def getmempoolinfo(context: Context, _params: Sequence[Any]) -> dict[str, Any]:
    """Size of the mempool and its fee floor."""
    waiting = context.state.mempool.waiting.values()
    return {
        "loaded": True,
        "size": len(waiting),
        "bytes": sum(one.vsize for one in waiting),
        "mempoolminfee": amount(1000 * FEE_RATE_MIN),
        "minrelaytxfee": amount(1000 * FEE_RATE_MIN),
    }


def sendrawtransaction(context: Context, params: Sequence[Any]) -> str:
    """Take a transaction; one that waits already is fine."""
    tx = tx_of(parameter(params, 0, str))
    txid = tx.txid()
    if txid not in context.state.mempool.waiting:
        try:
            context.state.send(tx, context.now_s())
        except Rejected as rejected:
            raise _refusal(rejected) from rejected
        context.announce()
    return hex_hash(txid)


def testmempoolaccept(context: Context, params: Sequence[Any]) -> list[dict[str, Any]]:
    """Whether transactions would be taken, each for itself."""
    raws = parameter(params, 0, list)
    if len(raws) > TEST_ACCEPT_MAX:
        raise RpcError(INVALID_PARAMETER, f"at most {TEST_ACCEPT_MAX} transactions at once")
    return [_test_accept(context, tx_of(str(raw))) for raw in raws]


def getrawtransaction(context: Context, params: Sequence[Any]) -> dict[str, Any] | str:
    """A transaction of the mempool or the main chain."""
    state = context.state
    txid = hash_parameter(params, 0, "parameter 1")
    verbose = bool(params[1]) if len(params) > 1 else False
    waiting = state.mempool.waiting.get(txid)
    found = state.block_of(txid)
    if waiting is not None:
        tx = waiting.tx
    elif found is not None:
        tx = state.chain.block_at(found[0]).transactions[found[1]]
    else:
        raise RpcError(
            INVALID_ADDRESS_OR_KEY,
            "No such mempool or blockchain transaction. "
            "Use gettransaction for wallet transactions.",
        )
    if not verbose:
        return tx.serialize().hex()
    shown = tx_object(state.params, tx)
    if found is not None:
        shown |= {
            "blockhash": hex_hash(found[0].hash),
            "confirmations": state.chain.confirmations(found[0]),
            "time": found[0].header.time,
            "blocktime": found[0].header.time,
        }
    return shown


def decoderawtransaction(context: Context, params: Sequence[Any]) -> dict[str, Any]:
    """A transaction as an object."""
    shown = tx_object(context.state.params, tx_of(parameter(params, 0, str)))
    del shown["hex"]
    return shown


def gettxout(context: Context, params: Sequence[Any]) -> dict[str, Any] | None:
    """An unspent output, or null."""
    state = context.state
    outpoint = OutPoint(hash_parameter(params, 0, "txid"), parameter(params, 1, int))
    coin = state.chain.coins.get(outpoint)
    depth = 0
    if coin is not None:
        depth = state.chain.tip.height - coin.height + 1
    if parameter(params, 2, bool, True):
        if outpoint in state.mempool.spent_by:
            return None
        coin = coin or state.mempool.made.get(outpoint)
    if coin is None:
        return None
    return {
        "bestblock": hex_hash(state.chain.tip.hash),
        "confirmations": depth,
        "value": amount(coin.value),
        "scriptPubKey": script_object(state.params, coin.script),
        "coinbase": coin.coinbase,
    }


def getnetworkinfo(context: Context, _params: Sequence[Any]) -> dict[str, Any]:
    """Version and peers: the devchain is alone and counts itself."""
    peers = 0 if context.faults.plan(context.now_ms()).disconnected else 1
    return {
        "version": VERSION,
        "subversion": "/Devchain/",
        "connections": peers,
        "connections_in": peers,
        "connections_out": 0,
        "networkactive": True,
        "relayfee": amount(1000 * FEE_RATE_MIN),
        "warnings": "",
    }


def getpeerinfo(context: Context, _params: Sequence[Any]) -> list[dict[str, Any]]:
    """The peer that `getnetworkinfo` counts."""
    if context.faults.plan(context.now_ms()).disconnected:
        return []
    height = context.state.chain.tip.height
    return [
        {
            "id": 0,
            "addr": "devchain",
            "inbound": True,
            "version": 70016,
            "startingheight": 0,
            "synced_headers": height,
            "synced_blocks": height,
        }
    ]


def uptime(context: Context, _params: Sequence[Any]) -> int:
    """Seconds since the start."""
    return context.now_s() - context.started_s


def _refusal(rejected: Rejected) -> RpcError:
    if rejected.word == "txn-already-known":
        return RpcError(VERIFY_ALREADY_IN_CHAIN, "Transaction already in block chain")
    if rejected.word == "bad-txns-inputs-missingorspent":
        return RpcError(VERIFY_ERROR, rejected.word)
    if rejected.word == "coinbase":
        return RpcError(DESERIALIZATION_ERROR, "TX decode failed: a coinbase")
    return RpcError(VERIFY_REJECTED, str(rejected))


def _test_accept(context: Context, tx: Tx) -> dict[str, Any]:
    state = context.state
    shown: dict[str, Any] = {"txid": hex_hash(tx.txid())}
    try:
        waiting = state.mempool.judge(state.chain, tx, context.now_s())
    except Rejected as rejected:
        word = rejected.word
        # The one word in which this call differs from sendrawtransaction.
        if word == "bad-txns-inputs-missingorspent":
            word = "missing-inputs"
        return shown | {"allowed": False, "reject-reason": word}
    return shown | {
        "allowed": True,
        "vsize": waiting.vsize,
        "fees": {"base": amount(waiting.spend.fee)},
    }


def _waiting_object(context: Context, one: Waiting) -> dict[str, Any]:
    pool = context.state.mempool.waiting
    return {
        "fees": {"base": amount(one.spend.fee)},
        "vsize": one.vsize,
        "weight": one.weight,
        "time": one.time_s,
        "wtxid": hex_hash(one.wtxid),
        "depends": [
            hex_hash(txin.prevout.txid) for txin in one.tx.inputs if txin.prevout.txid in pool
        ],
    }


METHODS: dict[str, Method] = {
    method.__name__: method
    for method in (
        getblockchaininfo,
        getblockcount,
        getbestblockhash,
        getblockhash,
        getblockheader,
        getblock,
        getchaintips,
        invalidateblock,
        reconsiderblock,
        getrawmempool,
        getmempoolinfo,
        sendrawtransaction,
        testmempoolaccept,
        getrawtransaction,
        decoderawtransaction,
        gettxout,
        getnetworkinfo,
        getpeerinfo,
        uptime,
    )
}
