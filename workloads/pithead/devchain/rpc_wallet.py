"""RPC methods of wallets: keys, coins, signing, history."""

from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any

from pithead.coins.address import AddressError, script_of_address
from pithead.coins.script import is_p2sh, witness_program
from pithead.coins.tx import OutPoint, Tx, TxIn, TxOut
from pithead.devchain.chain import Entry
from pithead.devchain.keys import AddressType, Keys
from pithead.devchain.render import amount, hex_hash
from pithead.devchain.rpc import (
    INVALID_ADDRESS_OR_KEY,
    INVALID_LABEL_NAME,
    INVALID_PARAMETER,
    TYPE_ERROR,
    WALLET_ERROR,
    WALLET_NOT_FOUND,
    WALLET_NOT_SPECIFIED,
    Context,
    Method,
    RpcError,
    entry_of,
    hash_of,
    hash_parameter,
    mapping_of,
    parameter,
    tx_of,
)
from pithead.devchain.rules import MONEY_MAX, Utxo
from pithead.devchain.wallet_history import details_of, history, note_object

WALLETS_MAX = 64
NAME_CHARS_MAX = 64


def createwallet(context: Context, params: Sequence[Any]) -> dict[str, str]:
    """A new wallet."""
    name = parameter(params, 0, str)
    if not 0 < len(name) <= NAME_CHARS_MAX or "/" in name:
        raise RpcError(WALLET_ERROR, f"Wallet name {name[:80]!r} is empty, too long or has a slash")
    if name in context.state.wallets:
        raise RpcError(
            WALLET_ERROR, f"Wallet file verification failed. Wallet {name!r} already exists."
        )
    if len(context.state.wallets) >= WALLETS_MAX:
        raise RpcError(WALLET_ERROR, f"there are {WALLETS_MAX} wallets already")
    context.state.make_wallet(name)
    return {"name": name, "warning": ""}


def loadwallet(context: Context, params: Sequence[Any]) -> dict[str, str]:
    """An error in any case: wallets that exist are always loaded."""
    name = parameter(params, 0, str)
    if name in context.state.wallets:
        raise RpcError(
            WALLET_ERROR, f"Wallet file verification failed. Wallet {name!r} is already loaded."
        )
    raise RpcError(
        WALLET_NOT_FOUND, f"Wallet file verification failed. Wallet {name[:80]!r} does not exist."
    )


def listwallets(context: Context, _params: Sequence[Any]) -> list[str]:
    """Names of all wallets."""
    return list(context.state.wallets)


def getnewaddress(context: Context, params: Sequence[Any]) -> str:
    """An address of a new key: label, `bech32` or `legacy`."""
    label = parameter(params, 0, str, "")
    return _new_address(context, parameter(params, 1, str, "bech32"), label)


def getrawchangeaddress(context: Context, params: Sequence[Any]) -> str:
    """An address for change, without a label."""
    return _new_address(context, parameter(params, 0, str, "bech32"), None)


def getaddressesbylabel(context: Context, params: Sequence[Any]) -> dict[str, Any]:
    """Addresses of a label."""
    label = parameter(params, 0, str)
    keys = [key for key in _wallet(context).by_address.values() if key.label == label]
    if not keys:
        raise RpcError(INVALID_LABEL_NAME, f"No addresses with label {label}")
    return {key.address: {"purpose": "receive"} for key in keys}


def validateaddress(context: Context, params: Sequence[Any]) -> dict[str, Any]:
    """Whether a text is an address of this chain, and of what kind."""
    try:
        return {"isvalid": True, **_address_facts(context, parameter(params, 0, str))}
    except AddressError as error:
        return {"isvalid": False, "error": str(error)}


def getaddressinfo(context: Context, params: Sequence[Any]) -> dict[str, Any]:
    """What the wallet knows of an address."""
    address = parameter(params, 0, str)
    try:
        shown = _address_facts(context, address)
    except AddressError as error:
        raise RpcError(INVALID_ADDRESS_OR_KEY, f"Invalid address ({error})") from error
    key = _wallet(context).by_script.get(bytes.fromhex(shown["scriptPubKey"]))
    shown |= {"ismine": key is not None, "solvable": key is not None, "iswatchonly": False}
    if key is not None:
        labels = [] if key.label is None else [key.label]
        shown |= {
            "pubkey": key.key.public.hex(),
            "ischange": key.label is None,
            "labels": labels,
            "timestamp": key.made_s,
        }
    return shown


def listunspent(context: Context, params: Sequence[Any]) -> list[dict[str, Any]]:
    """Outputs that can be spent: least and most confirmations."""
    least, most = parameter(params, 0, int, 1), parameter(params, 1, int, 9_999_999)
    wallet = _wallet(context)
    shown = []
    for outpoint, coin, depth in _own_coins(context, wallet):
        if outpoint in wallet.frozen or not least <= depth <= most:
            continue
        if coin.coinbase and depth <= context.state.params.coinbase_maturity:
            continue
        key = wallet.by_script[coin.script]
        shown.append(
            {
                "txid": hex_hash(outpoint.txid),
                "vout": outpoint.index,
                "address": key.address,
                "label": key.label or "",
                "scriptPubKey": coin.script.hex(),
                "amount": amount(coin.value),
                "confirmations": depth,
                "spendable": True,
                "solvable": True,
                "safe": depth > 0 or wallet.transactions[outpoint.txid].debit > 0,
            }
        )
    return shown


def lockunspent(context: Context, params: Sequence[Any]) -> bool:
    """Freeze outputs, or let them go; until the next start."""
    unlock = parameter(params, 0, bool)
    wallet = _wallet(context)
    if len(params) < 2:
        if unlock:
            wallet.frozen.clear()
        return True
    unspent = {outpoint for outpoint, _, _ in _own_coins(context, wallet)}
    points = [_outpoint(one) for one in parameter(params, 1, list)]
    for point in points:
        if point not in unspent:
            raise RpcError(INVALID_PARAMETER, "Invalid parameter, expected unspent output")
        if unlock and point not in wallet.frozen:
            raise RpcError(INVALID_PARAMETER, "Invalid parameter, expected locked output")
        if not unlock and point in wallet.frozen:
            raise RpcError(INVALID_PARAMETER, "Invalid parameter, output already locked")
    if unlock:
        wallet.frozen.difference_update(points)
    else:
        wallet.frozen.update(points)
    return True


def createrawtransaction(context: Context, params: Sequence[Any]) -> str:
    """An unsigned transaction: inputs, outputs as objects of address and amount, lock time."""
    locktime = parameter(params, 2, int, 0)
    sequence = 0xFFFFFFFE if locktime else 0xFFFFFFFF
    inputs = []
    for one in parameter(params, 0, list):
        given = mapping_of(one, "input").get("sequence", sequence)
        inputs.append(TxIn(_outpoint(one), sequence=int(given)))
    outputs: list[TxOut] = []
    given_outputs = params[1] if len(params) > 1 else []
    for one in given_outputs if isinstance(given_outputs, list) else [given_outputs]:
        for address, value in mapping_of(one, "output").items():
            outputs.append(_output(context, address, value))
    return Tx(tuple(inputs), tuple(outputs), locktime=locktime).serialize().hex()


def signrawtransactionwithwallet(context: Context, params: Sequence[Any]) -> dict[str, Any]:
    """Sign every input that the wallet can."""
    tx = tx_of(parameter(params, 0, str))
    spent = [context.state.output_of(txin.prevout) for txin in tx.inputs]
    signed, troubles = _wallet(context).sign(tx, spent)
    shown: dict[str, Any] = {"hex": signed.serialize().hex(), "complete": not troubles}
    if troubles:
        shown["errors"] = [
            {
                "txid": hex_hash(tx.inputs[index].prevout.txid),
                "vout": tx.inputs[index].prevout.index,
                "error": trouble,
            }
            for index, trouble in troubles
        ]
    return shown


def gettransaction(context: Context, params: Sequence[Any]) -> dict[str, Any]:
    """A transaction of the wallet."""
    wallet = _wallet(context)
    note = wallet.transactions.get(hash_parameter(params, 0, "txid"))
    if note is None:
        raise RpcError(INVALID_ADDRESS_OR_KEY, "Invalid or non-wallet transaction id")
    details = list(details_of(context, wallet, note))
    credit = sum(out.value for out in note.tx.outputs if out.script in wallet.by_script)
    shown = note_object(context, wallet, note) | {
        "amount": amount(credit - note.debit - ((note.fee and -note.fee) or 0)),
        "details": details,
        "hex": note.raw.hex(),
    }
    if note.fee is not None:
        shown["fee"] = amount(-note.fee)
    return shown


def listsinceblock(context: Context, params: Sequence[Any]) -> dict[str, Any]:
    """The wallet's history behind a block: hash, depth of the next `lastblock`."""
    chain = context.state.chain
    wallet = _wallet(context)
    text = parameter(params, 0, str, "")
    depth = parameter(params, 1, int, 1)
    if depth < 1:
        raise RpcError(INVALID_PARAMETER, "Invalid parameter")
    removed: list[dict[str, Any]] = []
    floor = -1
    if text:
        entry = entry_of(context, hash_of(text, "blockhash"))
        fork = chain.fork_of(entry)
        floor = fork.height
        while entry is not fork and entry.parent is not None:
            for tx in chain.block_at(entry).transactions:
                left = wallet.transactions.get(tx.txid())
                if left is not None:
                    removed += history(context, wallet, left)
            entry = entry.parent
    shown = []
    for note in wallet.transactions.values():
        found = context.state.block_of(note.txid)
        if found is None or found[0].height > floor:
            shown += history(context, wallet, note)
    last: Entry = chain.active[max(0, len(chain.active) - depth)]
    return {"transactions": shown, "removed": removed, "lastblock": hex_hash(last.hash)}


def getbalance(context: Context, _params: Sequence[Any]) -> Decimal:
    """What can be spent, with own change that waits."""
    wallet = _wallet(context)
    maturity = context.state.params.coinbase_maturity
    return amount(
        sum(
            coin.value
            for outpoint, coin, depth in _own_coins(context, wallet)
            if (depth > maturity or not coin.coinbase)
            and (depth > 0 or wallet.transactions[outpoint.txid].debit > 0)
        )
    )


def _wallet(context: Context) -> Keys:
    wallets = context.state.wallets
    if context.wallet is not None:
        wallet = wallets.get(context.wallet)
        if wallet is None:
            raise RpcError(WALLET_NOT_FOUND, "Requested wallet does not exist or is not loaded")
        return wallet
    if len(wallets) != 1:
        code = WALLET_NOT_SPECIFIED if wallets else WALLET_NOT_FOUND
        raise RpcError(code, "Wallet file not specified (use the path /wallet/NAME)")
    return next(iter(wallets.values()))


def _new_address(context: Context, kind: str, label: str | None) -> str:
    kinds: dict[str, AddressType] = {"bech32": "bech32", "legacy": "legacy"}
    if kind not in kinds:
        raise RpcError(INVALID_ADDRESS_OR_KEY, f"Unknown address type '{kind[:40]}'")
    wallet = _wallet(context)
    secret = context.secret()
    return context.state.make_key(wallet, secret, kinds[kind], label, context.now_s()).address


def _address_facts(context: Context, address: str) -> dict[str, Any]:
    script = script_of_address(context.state.params, address)
    program = witness_program(script)
    shown: dict[str, Any] = {
        "address": address,
        "scriptPubKey": script.hex(),
        "isscript": is_p2sh(script),
        "iswitness": program is not None,
    }
    if program is not None:
        shown |= {"witness_version": program[0], "witness_program": program[1].hex()}
    return shown


def _own_coins(context: Context, wallet: Keys) -> Iterator[tuple[OutPoint, Utxo, int]]:
    """The wallet's coins that nothing in the mempool spends, with their confirmations."""
    state = context.state
    for note in wallet.transactions.values():
        for index, out in enumerate(note.tx.outputs):
            if out.script not in wallet.by_script:
                continue
            outpoint = OutPoint(note.txid, index)
            if outpoint in state.mempool.spent_by:
                continue
            coin = state.chain.coins.get(outpoint)
            if coin is not None:
                yield outpoint, coin, state.chain.tip.height - coin.height + 1
            elif outpoint in state.mempool.made:
                yield outpoint, state.mempool.made[outpoint], 0


def _outpoint(given: object) -> OutPoint:
    one = mapping_of(given, "output point")
    index = one.get("vout")
    if not isinstance(index, int) or isinstance(index, bool) or not 0 <= index < 1 << 32:
        raise RpcError(INVALID_PARAMETER, "Invalid parameter, vout must be a number from 0")
    return OutPoint(hash_of(str(one.get("txid", "")), "txid"), index)


def _output(context: Context, address: str, value: object) -> TxOut:
    try:
        script = script_of_address(context.state.params, address)
    except AddressError as error:
        raise RpcError(INVALID_ADDRESS_OR_KEY, f"Invalid address: {address[:80]}") from error
    if isinstance(value, bool) or not isinstance(value, int | str | Decimal):
        raise RpcError(TYPE_ERROR, "Amount is not a number or string")
    try:
        scaled = Decimal(value).scaleb(context.state.params.decimals)
        units = int(scaled)
    except ArithmeticError as error:
        raise RpcError(TYPE_ERROR, "Invalid amount") from error
    if units != scaled or not 0 <= units <= MONEY_MAX:
        raise RpcError(TYPE_ERROR, "Amount out of range")
    return TxOut(units, script)


METHODS: dict[str, Method] = {
    method.__name__: method
    for method in (
        createwallet,
        loadwallet,
        listwallets,
        getnewaddress,
        getrawchangeaddress,
        getaddressesbylabel,
        validateaddress,
        getaddressinfo,
        listunspent,
        lockunspent,
        createrawtransaction,
        signrawtransactionwithwallet,
        gettransaction,
        listsinceblock,
        getbalance,
    )
}
