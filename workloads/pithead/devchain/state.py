"""The devchain as a whole: chain, mempool and wallets, and the steps that change them.

A step changes the state in memory and makes it durable before it returns; it never waits in
between, so no request sees a tip that a crash could take back. When the store fails, memory and
disk may differ: the step raises StoreFailed and the process has to end; a restart finds the last
whole step.
"""

import sqlite3
from dataclasses import replace

from pithead.coins.block import parse_header
from pithead.coins.params import ChainParams
from pithead.coins.registry import chain_params
from pithead.coins.tx import OutPoint, Tx, TxOut, parse_tx
from pithead.config import DevchainSettings
from pithead.devchain.chain import Chain, Entry
from pithead.devchain.keys import AddressType, Keys, OwnTx, WalletKey
from pithead.devchain.mempool import Mempool
from pithead.devchain.rules import Rejected
from pithead.devchain.store import Step, Store

UNCONFIRMED = 0


class StoreFailed(Exception):
    """Raised when a step could not be made durable: the process has to end."""


class State:
    """Everything that the node knows."""

    def __init__(self, settings: DevchainSettings) -> None:
        self.params: ChainParams = replace(
            chain_params("devchain", "regtest"), coinbase_maturity=settings.coinbase_maturity
        )
        self.store = Store(
            settings.data_dir, bits=settings.bits, maturity=settings.coinbase_maturity
        )
        self.mempool = Mempool(self.params)
        self.chain = Chain(self.params, settings.bits, self.store, self.mempool.wtxids)
        self.wallets: dict[str, Keys] = {}
        self._load()

    def close(self) -> None:
        """Close the store."""
        self.store.close()

    def submit(self, raw: bytes, now_s: int) -> str | None:
        """BIP22 answer to a block: None when it is the tip now."""
        step = Step()
        try:
            return self.chain.accept(raw, now_s, step.chain)
        except Rejected as rejected:
            return rejected.word
        finally:
            self._finish(step, now_s)

    def send(self, tx: Tx, now_s: int) -> None:
        """Take a transaction into the mempool; raises Rejected."""
        waiting = self.mempool.judge(self.chain, tx, now_s)
        self.mempool.add(waiting)
        step = Step(came=[waiting])
        spent = tuple(coin.output for coin in waiting.spend.coins)
        self._note(step, tx, waiting.txid, spent, now_s)
        self._commit(step)

    def invalidate(self, entry: Entry, now_s: int) -> None:
        """Leave a block and what builds on it; raises Rejected for the genesis."""
        step = Step()
        self.chain.invalidate(entry, step.chain)
        self._finish(step, now_s)

    def reconsider(self, entry: Entry, now_s: int) -> None:
        """Take back `invalidate`."""
        step = Step()
        self.chain.reconsider(entry, step.chain)
        self._finish(step, now_s)

    def make_wallet(self, name: str) -> Keys:
        """A new, empty wallet."""
        try:
            self.store.add_wallet(name)
        except sqlite3.Error as error:
            raise StoreFailed(str(error)) from error
        self.wallets[name] = Keys(self.params, name)
        return self.wallets[name]

    def make_key(
        self, wallet: Keys, secret: bytes, kind: AddressType, label: str | None, now_s: int
    ) -> WalletKey:
        """A key with a new address, stored before it is returned."""
        key = wallet.make(secret, kind, label, now_s)
        try:
            self.store.add_key(wallet.name, key)
        except sqlite3.Error as error:
            raise StoreFailed(str(error)) from error
        wallet.add(key)
        return key

    def output_of(self, outpoint: OutPoint) -> TxOut | None:
        """An output that is unspent on the chain, or made in the mempool; spent there or not."""
        coin = self.mempool.made.get(outpoint) or self.chain.coins.get(outpoint)
        return coin.output if coin else None

    def block_of(self, txid: bytes) -> tuple[Entry, int] | None:
        """The main chain's block with a transaction, and its place in it."""
        located = self.store.located(txid)
        return (self.chain.entries[located[0]], located[1]) if located else None

    def depth_of(self, note: OwnTx, wallet: Keys) -> int:
        """Confirmations of a wallet's transaction; below 0 when a conflicting one has them."""
        found = self.block_of(note.txid)
        if found is not None:
            return self.chain.confirmations(found[0])
        blocks = [self.block_of(other) for other in wallet.conflicts(note)]
        depths = [self.chain.confirmations(block[0]) for block in blocks if block]
        return -max(depths) if depths else UNCONFIRMED

    def _finish(self, step: Step, now_s: int) -> None:
        """What follows a move of the chain: mempool, wallets, disk."""
        moved = step.chain
        if moved.connected or moved.disconnected:
            step.tip = self.chain.tip.hash
            back = [(tx, now_s) for _, block in moved.disconnected for tx in block.transactions[1:]]
            waited = set(self.mempool.waiting)
            step.went = self.mempool.settle(
                self.chain, back, lambda txid: moved.located.get(txid) is not None
            )
            step.came = [w for txid, w in self.mempool.waiting.items() if txid not in waited]
            for _, block, spends in moved.connected:
                self._note(step, block.coinbase, block.coinbase.txid(), (), now_s)
                for spend in spends:
                    spent = tuple(coin.output for coin in spend.coins)
                    self._note(step, spend.tx, spend.tx.txid(), spent, now_s)
        if moved.entries:
            self._commit(step)

    def _note(self, step: Step, tx: Tx, txid: bytes, spent: tuple[TxOut, ...], now_s: int) -> None:
        for wallet in self.wallets.values():
            note = wallet.note(tx, txid, spent, now_s)
            if note is not None:
                step.notes.append((wallet.name, note))

    def _commit(self, step: Step) -> None:
        try:
            self.store.commit(step)
        except sqlite3.Error as error:
            raise StoreFailed(str(error)) from error

    def _load(self) -> None:
        tip = self.store.tip()
        if tip is None:
            step = Step()
            self.chain.start(step.chain)
            step.tip = self.chain.tip.hash
            self._commit(step)
        else:
            self._load_chain(tip)
        for name in self.store.wallets():
            self._load_wallet(name)
        waiting = [(parse_tx(raw), time_s) for raw, time_s in self.store.waiting()]
        self.mempool.settle(self.chain, waiting, lambda _: False)
        went = [tx.txid() for tx, _ in waiting if tx.txid() not in self.mempool.waiting]
        if went:
            self._commit(Step(went=went))

    def _load_chain(self, tip: bytes) -> None:
        chain = self.chain
        for arrival, raw, tx_count, size, invalid in self.store.headers():
            header = parse_header(raw)
            parent = chain.entries.get(header.parent)
            entry = chain.add_entry(header, parent, tx_count, size, arrival=arrival)
            entry.invalid = invalid
        step: Entry | None = chain.entries[tip]
        while step is not None:
            chain.active.append(step)
            step = step.parent
        chain.active.reverse()
        chain.coins.update(self.store.coins())

    def _load_wallet(self, name: str) -> None:
        wallet = Keys(self.params, name)
        self.wallets[name] = wallet
        for address, secret, label, made_s in self.store.keys(name):
            kind: AddressType = "bech32" if address.startswith(self.params.bech32_hrp) else "legacy"
            wallet.add(wallet.make(secret, kind, label, made_s))
        for txid, raw, time_s, order, debit, fee in self.store.notes(name):
            wallet.remember(OwnTx(txid, raw, parse_tx(raw), time_s, order, debit, fee))
