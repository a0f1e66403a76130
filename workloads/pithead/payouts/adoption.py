"""Answers for outgoing transactions of the wallet that no payout made.

`pithead payouts adopt TXID` explains one: it is stored with its reason and what it
spends, for ever, and payouts go on. Its expense is booked once it is buried, so
that a transaction that never confirms costs nobody. What the wallet had sent before
the coin's first payout was no business of the book: it is recorded, once, as the
baseline, and never booked.
"""

import logging
from collections.abc import Callable, Sequence

from pithead.coins.tx import Tx, TxError, parse_tx
from pithead.coins.wallet import Wallet, WalletTx
from pithead.config import CoinSettings, PayoutPolicy
from pithead.payouts import postings
from pithead.payouts.errors import AdoptRefused
from pithead.payouts.neighbours import Book
from pithead.payouts.records import Adoption
from pithead.payouts.rows import Rows

logger = logging.getLogger(__name__)

REASON_CHARS_MAX = 300

BASELINE_REASON = "sent before the first payout of the coin"


class Adopter:
    """The foreign transactions of one coin's wallet."""

    def __init__(
        self,
        coin: CoinSettings,
        policy: PayoutPolicy,
        *,
        rows: Rows,
        wallet: Wallet,
        book: Book,
        now_ms: Callable[[], int],
    ) -> None:
        self._coin = coin
        self._policy = policy
        self._rows = rows
        self._wallet = wallet
        self._book = book
        self._now_ms = now_ms

    async def adopt(self, txid: str, reason: str) -> str:
        """Store a foreign transaction; return what became of it in a sentence.

        Raises AdoptRefused when it is no spend of this wallet, or without a reason.
        """
        identity = _identity(txid)
        reason = reason.strip()
        if not reason or len(reason) > REASON_CHARS_MAX or not reason.isprintable():
            raise AdoptRefused(
                f"a reason is one line of 1 to {REASON_CHARS_MAX} characters; it is kept for audit"
            )
        owner = await self._rows.attempt_owner(identity)
        if owner is not None:
            raise AdoptRefused(f"transaction {txid} is payout {owner}; nothing has to be adopted")
        seen = await self._wallet.transaction(identity)
        if seen is None:
            raise AdoptRefused(f"wallet {self._coin.wallet.name} knows no transaction {txid}")
        if seen.fee is None:
            raise AdoptRefused(
                f"transaction {txid} was not paid by wallet {self._coin.wallet.name}; "
                "only what left it can be adopted"
            )
        adoption = self._adoption(seen, reason)
        if not await self._rows.adopt(adoption, self._now_ms()):
            return f"transaction {txid} was adopted before"
        logger.warning("adopted %s: %s", txid, reason)
        return (
            f"adopted {txid}: {seen.sent} base units and a fee of {seen.fee} are booked to the "
            f"fee book of {self._policy.fee_book} once it has {self._coin.confirmations} "
            "confirmations"
        )

    async def take_baseline(self, txids: Sequence[bytes]) -> None:
        """Record what the wallet had spent before the coin's first payout, as no expense of ours.

        Only for a coin that has never paid anybody: these spends were none of its debts.
        """
        before = []
        for txid in txids:
            seen = await self._wallet.transaction(txid)
            if seen is not None:
                before.append(self._adoption(seen, BASELINE_REASON))
        await self._rows.keep_baseline(
            self._coin.key, self._coin.wallet.name, before, self._now_ms()
        )
        if before:
            logger.warning(
                "wallet %s of %s had sent %d transactions before its first payout; they are "
                "recorded as known, each later one must be a payout or be adopted",
                self._coin.wallet.name,
                self._coin.key,
                len(before),
            )

    async def spends_of(self, script: bytes, txids: Sequence[bytes]) -> bool:
        """Whether any of these transactions of the wallet spent a coin that `script` had."""
        for txid in txids:
            seen = await self._wallet.transaction(txid)
            for txin in _parsed(seen).inputs if seen is not None else ():
                source = await self._wallet.transaction(txin.prevout.txid)
                outputs = _parsed(source).outputs if source is not None else ()
                if any(out.script == script for out in outputs[txin.prevout.index :][:1]):
                    return True
        return False

    def _adoption(self, seen: WalletTx, reason: str) -> Adoption:
        return Adoption(
            coin=self._coin.key,
            txid=seen.txid,
            reason=reason,
            amount=seen.sent,
            fee=seen.fee or 0,
            fee_book=self._policy.fee_book,
            inputs=frozenset(txin.prevout for txin in _parsed(seen).inputs),
        )

    async def book_buried(self) -> None:
        """Book the expense of adopted transactions that are buried."""
        for adoption in await self._rows.adoptions(self._coin.key, unbooked=True):
            seen = await self._wallet.transaction(adoption.txid)
            if seen is None or seen.confirmations < self._coin.confirmations:
                continue
            entry = postings.adopt(adoption)
            if entry is not None:
                await self._book.post(entry)
            await self._rows.adoption_booked(adoption, self._now_ms())


def _parsed(seen: WalletTx) -> Tx:
    try:
        return parse_tx(seen.raw)
    except TxError as error:
        shown = seen.txid[::-1].hex()
        raise AdoptRefused(f"transaction {shown} cannot be read: {error}") from error


def _identity(txid: str) -> bytes:
    """Read a txid as explorers show it."""
    try:
        identity = bytes.fromhex(txid)[::-1]
    except ValueError as error:
        raise AdoptRefused(f"{txid[:80]!r} is no transaction id: it is not hexadecimal") from error
    if len(identity) != 32:
        raise AdoptRefused(f"{txid[:80]!r} is no transaction id: it needs 64 digits")
    return identity
