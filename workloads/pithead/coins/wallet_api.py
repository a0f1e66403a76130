"""What payouts ask of any wallet, and the values that it answers with."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from pithead.coins.payment import Coin
from pithead.coins.tx import OutPoint


@dataclass(frozen=True, slots=True)
class SignedTx:
    """A payment ready to be stored and then broadcast. Amounts in base units."""

    raw: bytes = field(repr=False)
    txid: bytes
    """Internal order."""
    fee: int
    inputs: tuple[OutPoint, ...]
    change: int
    """Amount that comes back to the wallet, 0 when it went to the fee."""
    vsize: int


@dataclass(frozen=True, slots=True)
class WalletTx:
    """A transaction as its wallet sees it.

    `confirmations` is 0 in the mempool or nowhere, and below 0 when a transaction that conflicts
    with it has that many. `conflicts` are other transactions of the wallet that spend its inputs.
    """

    txid: bytes
    confirmations: int
    block_hash: bytes | None
    conflicts: tuple[bytes, ...]
    fee: int | None
    """Base units when the wallet paid for it."""
    raw: bytes = field(repr=False)
    sent: int = 0
    """Base units that left the wallet for others, without the fee."""


class Wallet(Protocol):
    """What pays. Each method raises NodeError or WalletError."""

    async def ensure(self) -> None:
        """Load the wallet, making it when there is none. May be called again at any time."""

    async def receive_address(self, label: str) -> str:
        """An address of the wallet for `label`: the same one as long as there is one."""

    async def owns(self, address: str) -> bool:
        """Whether the wallet has the key of an address."""

    async def spendable(self) -> list[Coin]:
        """Confirmed, mature outputs that are not frozen."""

    async def build_payment(
        self,
        outputs: Sequence[tuple[bytes, int]],
        fee_rate: int,
        must_spend: OutPoint | None,
        exclude: Collection[OutPoint],
    ) -> SignedTx:
        """A signed payment of (script, base units), not broadcast."""

    async def broadcast(self, raw: bytes) -> None:
        """Hand a payment to the network; one that is there already is fine."""

    async def transaction(self, txid: bytes) -> WalletTx | None:
        """What the wallet knows of a transaction, or None."""

    async def outgoing_since(self, block_hash: bytes | None) -> tuple[list[bytes], bytes | None]:
        """Transactions by which the wallet spent, since `block_hash`; and the next such hash."""

    async def freeze(self, outpoints: Collection[OutPoint], *, frozen: bool) -> None:
        """Keep outputs from being spent otherwise, or let them go."""
