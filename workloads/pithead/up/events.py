"""What happened between two snapshots of a pool, as sentences; pure.

The plain output prints these; the live view shows the newest of them.
"""

from collections.abc import Iterator
from decimal import Decimal

from pithead.contracts import ledger_pb2, payouts_pb2, rewards_pb2
from pithead.status import PoolSnapshot

SHARE_MARKS = (1, 10, 100)
"""Accepted shares that are worth a line; beyond, every thousand."""


def amount_text(amount: int, decimals: int, symbol: str) -> str:
    """Write base units as coins: exact, at least two decimals, never in exponent form."""
    coins = Decimal(amount).scaleb(-decimals)
    text = f"{coins:,.{decimals}f}"
    whole, _, fraction = text.partition(".")
    return f"{whole}.{fraction.rstrip('0').ljust(2, '0')} {symbol}"


def rate_text(hashes_per_s: float) -> str:
    """Write a hash rate with the unit that miners read: `12.3 kH/s`."""
    for unit in ("H/s", "kH/s", "MH/s", "GH/s", "TH/s", "PH/s"):
        if hashes_per_s < 1000:
            return f"{hashes_per_s:.3g} {unit}"
        hashes_per_s /= 1000
    return f"{hashes_per_s:.3g} EH/s"


def short(login: str) -> str:
    """Shorten a long address in the middle, keeping the worker name."""
    account, dot, worker = login.partition(".")
    if len(account) > 20:
        account = f"{account[:9]}…{account[-6:]}"
    return f"{account}{dot}{worker}"


class Teller:
    """Remembers what was told and yields a sentence for each thing that is new."""

    def __init__(self) -> None:
        self._ready = False
        self._shares = -1
        self._blocks: dict[bytes, int] = {}
        self._splits: set[bytes] = set()
        self._payouts: dict[str, int] = {}
        self._payable = 0
        self._troubles: set[str] = set()
        self._fresh = True

    def tell(self, pool: PoolSnapshot) -> Iterator[str]:
        """Yield what is new in this snapshot, oldest first."""
        if pool.ready and not self._ready:
            hosts = ", ".join(
                f"stratum+tcp://{listener.host}:{listener.port}"
                for listener in pool.runtime.listeners
            )
            yield f"ready for miners at {hosts}"
        self._ready = pool.ready
        yield from self._tell_troubles(pool)
        yield from self._tell_shares(pool)
        yield from self._tell_blocks(pool)
        yield from self._tell_split(pool)
        yield from self._tell_payouts(pool)
        self._fresh = False

    def _tell_troubles(self, pool: PoolSnapshot) -> Iterator[str]:
        troubles = set(pool.troubles)
        for trouble in pool.troubles:
            if trouble not in self._troubles:
                yield f"trouble: {trouble}"
        # One that only goes on for another reason is not over.
        lasting = {trouble.partition(": ")[0] for trouble in troubles}
        for trouble in sorted(self._troubles - troubles):
            if trouble.partition(": ")[0] not in lasting:
                yield f"over: {trouble}"
        self._troubles = troubles

    def _tell_shares(self, pool: PoolSnapshot) -> Iterator[str]:
        if pool.counters is None:
            return
        accepted = pool.counters.accepted
        if self._shares >= 0:
            passed = [mark for mark in SHARE_MARKS if self._shares < mark <= accepted]
            if accepted // 1000 > self._shares // 1000:
                passed.append(accepted // 1000 * 1000)
            if passed:
                rejected = pool.counters.stale + pool.counters.duplicate + pool.counters.low
                rate = sum(r.status.hashrate for r in pool.regions if r.status is not None)
                yield f"{accepted:,} shares accepted, {rejected:,} rejected, {rate_text(rate)}"
        self._shares = accepted

    def _tell_blocks(self, pool: PoolSnapshot) -> Iterator[str]:
        if pool.blocks is None:
            return
        for block in reversed(pool.blocks.blocks):
            before = self._blocks.get(block.hash)
            self._blocks[block.hash] = block.state
            if before == block.state or self._fresh:
                continue
            name = f"block {block.height} ({block.hash[::-1].hex()[:16]}…)"
            value = amount_text(block.value, pool.runtime.decimals, pool.runtime.symbol)
            if before is None:
                finder = short(block.finder) or "an unknown worker"
                yield f"{name} found by {finder}, worth {value}"
            if block.state == rewards_pb2.BLOCK_MATURE:
                yield f"{name} is mature: its credits are payable"
            if block.state == rewards_pb2.BLOCK_ORPHANED:
                yield f"{name} was orphaned: its credits are taken back"

    def _tell_split(self, pool: PoolSnapshot) -> Iterator[str]:
        block, split = pool.split_block, pool.split
        if block is None or split is None or not split.final or block.hash in self._splits:
            return
        self._splits.add(block.hash)
        if self._fresh:
            return

        def text(amount: int) -> str:
            return amount_text(amount, pool.runtime.decimals, pool.runtime.symbol)

        shares = sorted(split.shares, key=lambda share: -share.amount)
        parts = ", ".join(f"{short(s.login)} {text(s.amount)}" for s in shares[:4])
        more = f" and {len(shares) - 4} more" if len(shares) > 4 else ""
        immature = pool.balance(ledger_pb2.BOOK_IMMATURE)
        # The ledger hears of a split a moment after it is made.
        maturing = f"; {text(immature)} maturing in all" if immature else ""
        yield f"block {block.height} split: {parts}{more}, fee {text(split.fee)}{maturing}"

    def _tell_payouts(self, pool: PoolSnapshot) -> Iterator[str]:
        if pool.payouts is None:
            return
        for payout in reversed(pool.payouts.payouts):
            before = self._payouts.get(payout.id)
            self._payouts[payout.id] = payout.state
            if before == payout.state or self._fresh:
                continue
            value = amount_text(payout.amount, pool.runtime.decimals, pool.runtime.symbol)
            what = f"payout {payout.txid[:16]}… of {value} to {len(payout.payments)} miners"
            if payout.state == payouts_pb2.PAYOUT_BROADCAST:
                yield f"{what} sent"
            if payout.state == payouts_pb2.PAYOUT_BURIED:
                yield f"{what} confirmed by {payout.confirmations} blocks"
