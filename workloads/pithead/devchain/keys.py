"""A wallet of the devchain: keys, what they own, and the transactions that concern them.

Follows the chain and the mempool from the moment a key is made; a key is handed out only after it
was stored. Secrets are kept in the clear: coins of this chain are worth nothing.

Pure; randomness comes in as a secret.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from pithead.coins.address import address_of_script
from pithead.coins.params import ChainParams
from pithead.coins.sign import Bip143Common, PrivateKey, SpendError, sign_input
from pithead.coins.tx import OutPoint, Tx, TxOut

AddressType = Literal["bech32", "legacy"]


@dataclass(frozen=True, slots=True)
class WalletKey:
    """A key with the one script that it was made for."""

    key: PrivateKey
    script: bytes
    address: str
    label: str | None
    """None: change."""
    made_s: int


@dataclass(frozen=True, slots=True)
class OwnTx:
    """A transaction that pays or spends coins of the wallet; `order` counts their coming."""

    txid: bytes
    raw: bytes
    tx: Tx
    time_s: int
    order: int
    debit: int
    """Base units of the wallet's coins that it spends."""
    fee: int | None
    """Known when all inputs are the wallet's."""


class Keys:
    """One wallet."""

    def __init__(self, params: ChainParams, name: str) -> None:
        self.params = params
        self.name = name
        self.by_script: dict[bytes, WalletKey] = {}
        self.by_address: dict[str, WalletKey] = {}
        self.transactions: dict[bytes, OwnTx] = {}
        self.spenders: dict[OutPoint, list[bytes]] = {}
        """Which of the wallet's transactions spend an output, in order of coming."""
        self.frozen: set[OutPoint] = set()

    def make(self, secret: bytes, kind: AddressType, label: str | None, now_s: int) -> WalletKey:
        """A key for a new address, not yet part of the wallet."""
        key = PrivateKey(secret)
        script = key.p2wpkh() if kind == "bech32" else key.p2pkh()
        address = address_of_script(self.params, script)
        if address is None:
            raise ValueError(f"{self.params.key} has no address for a {kind} script")
        return WalletKey(key, script, address, label, now_s)

    def add(self, key: WalletKey) -> None:
        """Take a key that is stored."""
        self.by_script[key.script] = key
        self.by_address[key.address] = key

    def concerns(self, tx: Tx, spent: Iterable[TxOut]) -> bool:
        """Whether `tx`, which spends `spent`, pays or spends the wallet's coins."""
        scripts = self.by_script
        return any(out.script in scripts for out in tx.outputs) or any(
            out.script in scripts for out in spent
        )

    def note(self, tx: Tx, txid: bytes, spent: tuple[TxOut, ...], now_s: int) -> OwnTx | None:
        """Remember a transaction that concerns the wallet; None when known or no concern."""
        if txid in self.transactions or not self.concerns(tx, spent):
            return None
        own = [out.value for out in spent if out.script in self.by_script]
        fee = None
        if spent and len(own) == len(spent):
            fee = sum(own) - sum(out.value for out in tx.outputs)
        note = OwnTx(txid, tx.serialize(), tx, now_s, len(self.transactions), sum(own), fee)
        self.remember(note)
        return note

    def remember(self, note: OwnTx) -> None:
        """Take a note that is stored."""
        self.transactions[note.txid] = note
        if note.tx.is_coinbase:
            # All coinbases name the same null output, which nobody spends.
            return
        for txin in note.tx.inputs:
            self.spenders.setdefault(txin.prevout, []).append(note.txid)

    def conflicts(self, note: OwnTx) -> list[bytes]:
        """Other transactions of the wallet that spend an input of `note`."""
        others = {
            other: None
            for txin in note.tx.inputs
            for other in self.spenders.get(txin.prevout, ())
            if other != note.txid
        }
        return list(others)

    def sign(self, tx: Tx, spent: list[TxOut | None]) -> tuple[Tx, list[tuple[int, str]]]:
        """`tx` with every input signed that can be, and the trouble of the others by index."""
        common = Bip143Common.of(tx)
        troubles = []
        signed = tx
        for index, coin in enumerate(spent):
            if coin is None:
                troubles.append((index, "Input not found or already spent"))
                continue
            own = self.by_script.get(coin.script)
            if own is None:
                troubles.append(
                    (index, "Unable to sign input, invalid stack size (possibly missing key)")
                )
                continue
            try:
                signed = sign_input(signed, index, coin, own.key, common)
            except SpendError as error:
                troubles.append((index, str(error)))
        return signed, troubles
