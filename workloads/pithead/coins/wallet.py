"""A wallet inside a coin node: it builds and signs payments without broadcasting them.

A payment is put together here, from the wallet's spendable outputs and the scripts to pay, so that
amounts stay integers and every script form can be paid; the node only signs it. Signing, measuring
and adjusting the change is repeated until the fee is the signed size times the rate. Storing the
transaction before it is broadcast is the caller's business; so is giving `must_spend`, by which
every attempt of one payment conflicts with every other.

It knows no payout, no account and no ledger.
"""

import asyncio
from collections.abc import Collection, Sequence
from decimal import Decimal
from typing import Any

from pithead.coins.address import address_of_script
from pithead.coins.node import (
    INVALID_ADDRESS_OR_KEY,
    INVALID_PARAMETER,
    VERIFY_ALREADY_IN_CHAIN,
    RpcNode,
)
from pithead.coins.node_errors import NodeGarbled, RpcFault
from pithead.coins.params import ChainParams
from pithead.coins.payment import (
    PAYMENT_WEIGHT_MAX,
    Coin,
    fee_of,
    ordered,
    payment,
    select,
    weight_bound,
)
from pithead.coins.tx import OutPoint, Tx, TxOut, parse_tx
from pithead.coins.wallet_api import SignedTx, Wallet, WalletTx
from pithead.coins.wallet_errors import (
    BadDestination,
    BroadcastRefused,
    InputGone,
    InsufficientFunds,
    PaymentTooLarge,
    SigningRefused,
    WalletError,
    WalletLocked,
    WalletUnavailable,
)

__all__ = [
    "BadDestination",
    "BroadcastRefused",
    "Coin",
    "InputGone",
    "InsufficientFunds",
    "NodeWallet",
    "PaymentTooLarge",
    "SignedTx",
    "SigningRefused",
    "Wallet",
    "WalletError",
    "WalletLocked",
    "WalletTx",
    "WalletUnavailable",
]

SIGNING_ROUNDS_MAX = 24
"""A signature's size varies by a byte, so the second round mostly fits. Nodes that do not grind
for short signatures need more: half of the rounds fit a P2PKH input."""

PLAIN_ROUNDS = 3
"""Rounds before the transaction is varied: two amounts of change can lead to one another for ever,
as signing is deterministic."""

CONFIRMATIONS_MAX = 9_999_999
"""What the RPC takes for "any depth"."""

CURSOR_DEPTH = 144
"""Blocks that `outgoing_since` looks back again each time, so that a reorganisation of a day
changes nothing."""

CREATION_CHECKS_MAX = 30
CREATION_CHECK_S = 0.1
"""A wallet that another process makes is listed only when its keys are there: about a second."""

# Error codes (Bitcoin Core, src/rpc/protocol.h).
_RPC_WALLET_ERROR = -4
_RPC_WALLET_KEYPOOL_RAN_OUT = -12
_RPC_WALLET_UNLOCK_NEEDED = -13
_RPC_WALLET_NOT_FOUND = -18
_RPC_VERIFY_ERROR = -25
_RPC_VERIFY_REJECTED = -26
_RPC_WALLET_ALREADY_LOADED = -35

_ALREADY_KNOWN = ("txn-already-in-mempool", "txn-already-known", "already in block chain")
_CONFLICTS = ("conflict", "missingorspent", "missing-inputs", "insufficient fee")


class NodeWallet:
    """The wallet `name` of `node`, by the wallet RPC of Bitcoin Core 0.21 and its relatives."""

    def __init__(self, node: RpcNode, params: ChainParams, name: str = "pool") -> None:
        self.node = node
        self.params = params
        self.name = name

    async def ensure(self) -> None:
        """Load the wallet, making it when there is none; raises WalletUnavailable or NodeError."""
        # No wallet is made in a node of another network.
        await self.node.chain_info()
        if await self._loaded() or await self._load():
            return
        try:
            # Name, keys, not blank, no passphrase, no avoid_reuse, no descriptors, load at start.
            await self.node.call("createwallet", self.name, False, False, "", False, False, True)
        except RpcFault as fault:
            # Another process may be making it at this moment.
            for _ in range(CREATION_CHECKS_MAX):
                if await self._loaded():
                    return
                await asyncio.sleep(CREATION_CHECK_S)
            raise WalletUnavailable(self.name, fault.message) from fault

    async def receive_address(self, label: str) -> str:
        """The first address of `label`, made when there is none."""
        try:
            known = await self._ask("getaddressesbylabel", label)
        except RpcFault as fault:
            # The node's way to say that the label has no address.
            if "label" not in fault.message.lower():
                raise
            known = {}
        if known:
            return str(min(known))
        try:
            return str(await self._ask("getnewaddress", label, "bech32"))
        except RpcFault as fault:
            if fault.code == _RPC_WALLET_KEYPOOL_RAN_OUT:
                raise WalletLocked(self.name) from fault
            raise

    async def owns(self, address: str) -> bool:
        """Whether the wallet has the key of an address of its chain."""
        reply = await self._ask("getaddressinfo", address)
        try:
            return bool(reply["ismine"])
        except (KeyError, TypeError) as error:
            raise self._garbled("getaddressinfo", error) from error

    async def spendable(self) -> list[Coin]:
        """Confirmed, mature outputs that are not frozen, in the order in which they are taken."""
        reply = await self._ask("listunspent", 1, CONFIRMATIONS_MAX)
        try:
            coins = [
                self._coin(entry)
                for entry in reply
                if entry["spendable"] and entry.get("solvable", True)
            ]
        except (KeyError, TypeError, ValueError, ArithmeticError) as error:
            raise self._garbled("listunspent", error) from error
        return ordered(coins, ())

    async def build_payment(
        self,
        outputs: Sequence[tuple[bytes, int]],
        fee_rate: int,
        must_spend: OutPoint | None = None,
        exclude: Collection[OutPoint] = (),
    ) -> SignedTx:
        """A signed payment of (script, base units), not broadcast.

        `fee_rate` is base units per virtual byte. `must_spend` is among the inputs even when an
        unconfirmed transaction spends it; `exclude` never is, unless it is `must_spend`. Raises
        BadDestination, InsufficientFunds, InputGone, PaymentTooLarge, SigningRefused, WalletLocked.
        """
        if fee_rate < 0:
            raise ValueError(f"fee rate {fee_rate} is below zero")
        paid = self._destinations(outputs)
        available = await self.spendable()
        first = await self._must_spend(must_spend, available) if must_spend else None
        available = [coin for coin in available if coin.outpoint not in exclude and coin != first]
        change_address = await self._ask("getrawchangeaddress", "bech32")
        change_script = await self._script_of_own(str(change_address))
        chosen = select(available, first, paid, TxOut(0, change_script), fee_rate)
        if chosen is None:
            # It may still be enough when nothing is left for change.
            chosen = (*((first,) if first else ()), *available)
            bound = fee_of(weight_bound(chosen, paid), fee_rate)
            have, need = sum(coin.amount for coin in chosen), sum(out.value for out in paid) + bound
            if have < need:
                raise InsufficientFunds(self.name, have, need)
        if weight_bound(chosen, (*paid, TxOut(0, change_script))) > PAYMENT_WEIGHT_MAX:
            raise PaymentTooLarge(self.name, len(chosen), len(paid))
        return await self._settle(chosen, paid, change_script, fee_rate)

    async def broadcast(self, raw: bytes) -> None:
        """Hand a payment to the network; raises BroadcastRefused or NodeError.

        One that is in the mempool or on the chain already is a success.
        """
        try:
            await self._ask("sendrawtransaction", raw.hex())
        except RpcFault as fault:
            said = fault.message.lower()
            had = any(word in said for word in _ALREADY_KNOWN)
            if had or fault.code == VERIFY_ALREADY_IN_CHAIN:
                return
            if fault.code in (_RPC_VERIFY_ERROR, _RPC_VERIFY_REJECTED):
                conflict = any(word in said for word in _CONFLICTS)
                # A buried payment whose outputs are spent again looks to the node like a conflict.
                known = await self.transaction(parse_tx(raw).txid()) if conflict else None
                if known is not None and known.confirmations > 0:
                    return
                raise BroadcastRefused(self.name, fault.message, conflict=conflict) from fault
            raise

    async def transaction(self, txid: bytes) -> WalletTx | None:
        """What the wallet knows of a transaction, or None when it does not know it."""
        try:
            reply = await self._ask("gettransaction", txid[::-1].hex())
        except RpcFault as fault:
            if fault.code == INVALID_ADDRESS_OR_KEY:
                return None
            raise
        try:
            fee = reply.get("fee")
            block_hash = reply.get("blockhash")
            return WalletTx(
                txid=txid,
                confirmations=int(reply["confirmations"]),
                block_hash=bytes.fromhex(block_hash)[::-1] if block_hash else None,
                conflicts=tuple(bytes.fromhex(other)[::-1] for other in reply["walletconflicts"]),
                fee=None if fee is None else -self._base_units(fee),
                raw=bytes.fromhex(reply["hex"]),
                # The node's net amount is below zero for what was sent, fee apart.
                sent=max(0, -self._base_units(reply["amount"])),
            )
        except (KeyError, TypeError, ValueError, ArithmeticError) as error:
            raise self._garbled("gettransaction", error) from error

    async def outgoing_since(
        self, block_hash: bytes | None = None
    ) -> tuple[list[bytes], bytes | None]:
        """Transactions by which the wallet spent, and the hash to ask with the next time.

        The list holds unconfirmed ones, replaced ones, and those of the last CURSOR_DEPTH blocks
        each time: it is for a comparison with what is known. A hash that the node does not know
        (another chain) is answered with everything.
        """
        since = block_hash[::-1].hex() if block_hash else ""
        try:
            reply = await self._ask("listsinceblock", since, CURSOR_DEPTH)
        except RpcFault as fault:
            if fault.code != INVALID_ADDRESS_OR_KEY or not block_hash:
                raise
            reply = await self._ask("listsinceblock", "", CURSOR_DEPTH)
        try:
            spent = {
                entry["txid"]: None
                for entry in (*reply["transactions"], *reply.get("removed", ()))
                if entry["category"] == "send"
            }
            cursor = str(reply["lastblock"])
            known = bytes.fromhex(cursor)[::-1] if cursor.strip("0") else None
            return [bytes.fromhex(txid)[::-1] for txid in spent], known
        except (KeyError, TypeError, ValueError) as error:
            raise self._garbled("listsinceblock", error) from error

    async def freeze(self, outpoints: Collection[OutPoint], *, frozen: bool) -> None:
        """Keep outputs from being spent otherwise, or let them go.

        The node forgets it at its restart. Outputs that are so already, or spent, are passed over.
        """
        for outpoint in outpoints:
            name = {"txid": outpoint.txid[::-1].hex(), "vout": outpoint.index}
            try:
                await self._ask("lockunspent", not frozen, [name])
            except RpcFault as fault:
                if fault.code != INVALID_PARAMETER:
                    raise

    async def _settle(
        self, chosen: Sequence[Coin], paid: Sequence[TxOut], change_script: bytes, fee_rate: int
    ) -> SignedTx:
        """Sign, measure, adjust the change, until the fee is the signed size times the rate."""
        total = sum(coin.amount for coin in chosen)
        left = total - sum(out.value for out in paid)
        fee = min(fee_of(weight_bound(chosen, (*paid, TxOut(0, change_script))), fee_rate), left)
        best: SignedTx | None = None
        for round_number in range(SIGNING_ROUNDS_MAX):
            change = left - fee
            outputs = [*paid, TxOut(change, change_script)]
            if change < self.params.dust:
                change, outputs = 0, [*paid]
            tx, raw = await self._sign(
                payment(chosen, outputs, max(0, round_number - PLAIN_ROUNDS))
            )
            due = tx.vsize() * fee_rate
            actual = left - change
            inputs = tuple(coin.outpoint for coin in chosen)
            signed = SignedTx(raw, tx.txid(), actual, inputs, change, tx.vsize())
            if actual == due or (actual > due and change == 0):
                return signed
            if actual > due and (best is None or actual < best.fee):
                best = signed
            fee = due
        if best is None:
            raise InsufficientFunds(self.name, total, total - left + fee)
        return best

    async def _sign(self, unsigned: Tx) -> tuple[Tx, bytes]:
        try:
            reply = await self._ask("signrawtransactionwithwallet", unsigned.serialize().hex())
        except RpcFault as fault:
            if fault.code == _RPC_WALLET_UNLOCK_NEEDED:
                raise WalletLocked(self.name) from fault
            raise
        try:
            if not reply["complete"]:
                errors = reply.get("errors") or [{}]
                raise SigningRefused(self.name, str(errors[0].get("error", "no reason given")))
            raw = bytes.fromhex(reply["hex"])
            signed = parse_tx(raw)
        except (KeyError, TypeError, ValueError) as error:
            raise self._garbled("signrawtransactionwithwallet", error) from error
        # A node that changed what it was asked to sign must not be able to move money.
        bare = [(txin.prevout, txin.sequence) for txin in signed.inputs]
        asked = [(txin.prevout, txin.sequence) for txin in unsigned.inputs]
        if bare != asked or signed.outputs != unsigned.outputs:
            raise SigningRefused(self.name, "the node signed another transaction than it was given")
        return signed, raw

    def _destinations(self, outputs: Sequence[tuple[bytes, int]]) -> tuple[TxOut, ...]:
        if not outputs:
            raise ValueError("a payment needs at least one output")
        for script, amount in outputs:
            if address_of_script(self.params, script) is None:
                raise BadDestination(script, "it is no script that an address stands for")
            if amount < self.params.dust:
                raise BadDestination(
                    script, f"{amount} base units are below the dust limit {self.params.dust}"
                )
        return tuple(TxOut(amount, script) for script, amount in outputs)

    async def _must_spend(self, outpoint: OutPoint, available: Sequence[Coin]) -> Coin:
        """The coin at `outpoint`; an earlier attempt in the mempool hides it from the wallet."""
        for coin in available:
            if coin.outpoint == outpoint:
                return coin
        # Third argument: ask the chain alone, not the mempool.
        reply = await self._ask("gettxout", outpoint.txid[::-1].hex(), outpoint.index, False)
        if reply is None:
            raise InputGone(outpoint.txid, outpoint.index)
        try:
            return Coin(
                outpoint,
                self._base_units(reply["value"]),
                bytes.fromhex(reply["scriptPubKey"]["hex"]),
                int(reply["confirmations"]),
            )
        except (KeyError, TypeError, ValueError, ArithmeticError) as error:
            raise self._garbled("gettxout", error) from error

    async def _script_of_own(self, address: str) -> bytes:
        reply = await self._ask("getaddressinfo", address)
        try:
            if reply["ismine"] is not True:
                raise ValueError("the wallet's change address is not its own")
            return bytes.fromhex(reply["scriptPubKey"])
        except (KeyError, TypeError, ValueError) as error:
            raise self._garbled("getaddressinfo", error) from error

    async def _ask(self, method: str, *params: object) -> Any:
        """A wallet call; loads the wallet when the node has been restarted without it."""
        try:
            return await self.node.call(method, *params, wallet=self.name)
        except RpcFault as fault:
            if fault.code != _RPC_WALLET_NOT_FOUND:
                raise
            if not await self._load():
                raise WalletUnavailable(self.name, fault.message) from fault
        return await self.node.call(method, *params, wallet=self.name)

    async def _loaded(self) -> bool:
        return self.name in await self.node.call("listwallets")

    async def _load(self) -> bool:
        """Load the wallet; False when the node has none of the name."""
        try:
            await self.node.call("loadwallet", self.name)
        except RpcFault as fault:
            if fault.code == _RPC_WALLET_NOT_FOUND:
                return False
            if fault.code == _RPC_WALLET_ALREADY_LOADED or await self._loaded():
                return True
            raise WalletUnavailable(self.name, fault.message) from fault
        return True

    def _coin(self, entry: dict[str, Any]) -> Coin:
        return Coin(
            OutPoint(bytes.fromhex(entry["txid"])[::-1], int(entry["vout"])),
            self._base_units(entry["amount"]),
            bytes.fromhex(entry["scriptPubKey"]),
            int(entry["confirmations"]),
        )

    def _base_units(self, amount: Decimal | int) -> int:
        """Base units of an amount in coins, exactly."""
        scaled = Decimal(amount).scaleb(self.params.decimals)
        units = int(scaled)
        if units != scaled:
            raise ValueError(f"amount {amount} has more than {self.params.decimals} decimals")
        return units

    def _garbled(self, method: str, error: Exception) -> NodeGarbled:
        return NodeGarbled(
            self.node.name, self.node.url, method, f"unexpected answer: {error!r}"[:256]
        )
