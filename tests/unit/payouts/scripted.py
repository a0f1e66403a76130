"""A chain and a wallet in memory, strict about double spends, for tests of the engine.

Transactions are real ones of `pithead.coins.tx`, only their signatures are made up.
Blocks come when a test mines them; a wallet can be told to refuse a payee, to be
spent behind the engine's back, or to be slow. A reorganisation takes blocks back.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from hashlib import sha256

from pithead.coins.address import address_of_script
from pithead.coins.params import ChainParams
from pithead.coins.payment import (
    Coin,
    fee_of,
    ordered,
    payment,
    select,
    weight_bound,
)
from pithead.coins.registry import chain_params
from pithead.coins.script import p2wpkh
from pithead.coins.tx import OutPoint, Tx, TxIn, TxOut, parse_tx
from pithead.coins.wallet import (
    BadDestination,
    BroadcastRefused,
    InputGone,
    InsufficientFunds,
    SignedTx,
    WalletTx,
)

PARAMS: ChainParams = chain_params("devchain", "regtest")


def payee_script(account: int) -> bytes:
    return p2wpkh(sha256(f"payee {account}".encode()).digest()[:20])


@dataclass
class ScriptedChain:
    """Blocks of transactions over a set of outputs, and one mempool."""

    blocks: list[list[Tx]] = field(default_factory=list)
    mempool: dict[bytes, Tx] = field(default_factory=dict)

    @property
    def confirmed(self) -> dict[bytes, int]:
        """Depth by txid."""
        height = len(self.blocks)
        return {tx.txid(): height - n for n, block in enumerate(self.blocks) for tx in block}

    def unspent(self) -> dict[OutPoint, TxOut]:
        found: dict[OutPoint, TxOut] = {}
        for block in self.blocks:
            for tx in block:
                for txin in tx.inputs:
                    found.pop(txin.prevout, None)
                for index, out in enumerate(tx.outputs):
                    found[OutPoint(tx.txid(), index)] = out
        return found

    def spent_in_mempool(self) -> dict[OutPoint, bytes]:
        return {i.prevout: txid for txid, tx in self.mempool.items() for i in tx.inputs}

    def accept(self, tx: Tx) -> str | None:
        """Take a transaction into the mempool; None, or why not."""
        txid = tx.txid()
        if txid in self.mempool or txid in self.confirmed:
            return None
        unspent, pending = self.unspent(), self.spent_in_mempool()
        replaced = {pending[i.prevout] for i in tx.inputs if i.prevout in pending}
        if any(i.prevout not in unspent for i in tx.inputs):
            return "bad-txns-inputs-missingorspent"
        fee = self.fee(tx)
        if replaced and fee <= sum(self.fee(self.mempool[txid]) for txid in replaced):
            return "insufficient fee, rejecting replacement"
        for old in replaced:
            del self.mempool[old]
        self.mempool[txid] = tx
        return None

    def fee(self, tx: Tx) -> int:
        values = {
            OutPoint(each.txid(), n): out.value
            for each in (*(tx for block in self.blocks for tx in block), *self.mempool.values())
            for n, out in enumerate(each.outputs)
        }
        paid = sum(values[txin.prevout] for txin in tx.inputs)
        return paid - sum(out.value for out in tx.outputs)

    def mine(self, count: int = 1) -> None:
        for _ in range(count):
            self.blocks.append(list(self.mempool.values()))
            self.mempool.clear()

    def reorganise(self, depth: int) -> None:
        """Take back blocks; their transactions wait again, as far as they still can."""
        taken = [tx for block in self.blocks[-depth:] for tx in block] if depth else []
        del self.blocks[len(self.blocks) - depth :]
        waiting, self.mempool = [*taken, *self.mempool.values()], {}
        for tx in waiting:
            if tx.inputs:
                self.accept(tx)
            else:
                # Money from nowhere (see `fund`) is never lost with a block.
                self.blocks.append([tx])

    def fund(self, script: bytes, amount: int) -> OutPoint:
        """Make money out of nothing in a block of its own, as a matured coinbase."""
        coinbase = TxIn(OutPoint(bytes(32), 2**32 - 1))
        tx = Tx((coinbase,), (TxOut(amount, script),), locktime=len(self.blocks) + 1)
        self.blocks.append([tx])
        return OutPoint(tx.txid(), 0)

    def received(self, script: bytes) -> int:
        """All that the main chain ever paid to a script."""
        return sum(
            out.value
            for block in self.blocks
            for tx in block
            for out in tx.outputs
            if out.script == script
        )


class ScriptedWallet:
    """A wallet on the scripted chain."""

    def __init__(self, chain: ScriptedChain, name: str = "pool") -> None:
        self.chain = chain
        self.name = name
        self.scripts = [p2wpkh(sha256(b"pool 0").digest()[:20])]
        self.frozen: set[OutPoint] = set()
        self.refused: set[bytes] = set()
        self.seen: dict[bytes, Tx] = {}
        self.after_build: Callable[[SignedTx], None] | None = None
        self.locked_after_build: BaseException | None = None

    def foreign_spend(self, point: OutPoint, script: bytes, fee: int = 500) -> bytes:
        """Spend a coin as somebody with access to the wallet would."""
        value = self.chain.unspent()[point].value
        tx = Tx((TxIn(point),), (TxOut(value - fee, script),))
        assert self.chain.accept(tx) is None
        self.seen[tx.txid()] = tx
        return tx.txid()

    def coins(self) -> dict[OutPoint, TxOut]:
        """Every confirmed output of ours."""
        return {p: o for p, o in self.chain.unspent().items() if o.script in self.scripts}

    async def ensure(self) -> None:
        return

    async def receive_address(self, label: str) -> str:
        address = address_of_script(PARAMS, self.scripts[0])
        assert address is not None
        return address

    async def owns(self, address: str) -> bool:
        return address in {address_of_script(PARAMS, script) for script in self.scripts}

    async def spendable(self) -> list[Coin]:
        pending = self.chain.spent_in_mempool()
        return ordered(
            (
                Coin(point, out.value, out.script, 1)
                for point, out in self.coins().items()
                if point not in pending and point not in self.frozen
            ),
            (),
        )

    async def build_payment(
        self,
        outputs: Sequence[tuple[bytes, int]],
        fee_rate: int,
        must_spend: OutPoint | None,
        exclude: Collection[OutPoint],
    ) -> SignedTx:
        for script, _ in outputs:
            if script in self.refused:
                raise BadDestination(script, "the test says so")
        available = [coin for coin in await self.spendable() if coin.outpoint not in exclude]
        first: Coin | None = None
        if must_spend is not None:
            out = self.coins().get(must_spend)
            if out is None:
                raise InputGone(must_spend.txid, must_spend.index)
            first = Coin(must_spend, out.value, out.script, 1)
            available = [coin for coin in available if coin.outpoint != must_spend]
        paid = tuple(TxOut(amount, script) for script, amount in outputs)
        # As a node does: a change address of its own for each transaction.
        script = p2wpkh(sha256(f"pool {len(self.scripts)}".encode()).digest()[:20])
        chosen = select(available, first, paid, TxOut(0, script), fee_rate)
        if chosen is None:
            have = sum(coin.amount for coin in available)
            raise InsufficientFunds(self.name, have, sum(out.value for out in paid))
        self.scripts.append(script)
        total = sum(coin.amount for coin in chosen)
        fee = fee_of(weight_bound(chosen, (*paid, TxOut(0, script))), fee_rate)
        change = total - sum(out.value for out in paid) - fee
        tx = payment(chosen, [*paid, TxOut(change, script)])
        tx = Tx(
            tuple(TxIn(i.prevout, b"", i.sequence, (bytes(72), bytes(33))) for i in tx.inputs),
            tx.outputs,
        )
        inputs = tuple(coin.outpoint for coin in chosen)
        signed = SignedTx(tx.serialize(), tx.txid(), fee, inputs, change, tx.vsize())
        if self.after_build is not None:
            hook, self.after_build = self.after_build, None
            hook(signed)
        return signed

    async def broadcast(self, raw: bytes) -> None:
        tx = parse_tx(raw)
        refusal = self.chain.accept(tx)
        if refusal is not None:
            raise BroadcastRefused(self.name, refusal, conflict=True)
        self.seen[tx.txid()] = tx

    async def transaction(self, txid: bytes) -> WalletTx | None:
        confirmed = self.chain.confirmed
        tx = self.seen.get(txid)
        if tx is None:
            return self._received(txid, confirmed)
        points = {txin.prevout for txin in tx.inputs}
        depth = confirmed.get(txid, 0)
        if depth == 0:
            rivals = [
                confirmed[each.txid()]
                for block in self.chain.blocks
                for each in block
                if points & {txin.prevout for txin in each.inputs}
            ]
            depth = -max(rivals, default=0)
        sent = sum(out.value for out in tx.outputs if out.script not in self.scripts)
        values = {**self.chain.unspent()}
        for block in self.chain.blocks:
            for each in block:
                values |= {OutPoint(each.txid(), n): out for n, out in enumerate(each.outputs)}
        fee = sum(values[point].value for point in points) - sum(o.value for o in tx.outputs)
        return WalletTx(txid, depth, None, (), fee, tx.serialize(), sent)

    def _received(self, txid: bytes, confirmed: dict[bytes, int]) -> WalletTx | None:
        """A transaction of somebody else that pays the wallet."""
        found = (tx for block in self.chain.blocks for tx in block if tx.txid() == txid)
        tx = next(found, None)
        if tx is None or not any(out.script in self.scripts for out in tx.outputs):
            return None
        return WalletTx(txid, confirmed[txid], None, (), None, tx.serialize())

    async def outgoing_since(self, block_hash: bytes | None) -> tuple[list[bytes], bytes | None]:
        return list(self.seen), sha256(str(len(self.chain.blocks)).encode()).digest()

    async def freeze(self, outpoints: Collection[OutPoint], *, frozen: bool) -> None:
        if frozen:
            self.frozen |= set(outpoints)
        else:
            self.frozen -= set(outpoints)
