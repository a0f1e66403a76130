"""Answers for a payout's transactions: signing, sending, watching, and letting go.

Nothing is sent that is not stored. All attempts of a payout spend a common output,
so at most one can confirm; whichever does is the payment. While none is on the
chain the newest is sent again, and when it is refused, the ones before it.

A further attempt is made in two cases only: an input of the newest is gone from the
chain while an output common to all is still there; or the policy's fee rate rose.
Inputs that are merely spent in the mempool are waited for.
"""

import logging
from collections.abc import Callable

from pithead.coins.params import ChainParams
from pithead.coins.tx import OutPoint
from pithead.coins.wallet import (
    BadDestination,
    BroadcastRefused,
    InputGone,
    InsufficientFunds,
    PaymentTooLarge,
    SignedTx,
    Wallet,
)
from pithead.config import CoinSettings, PayoutPolicy
from pithead.payouts.attempts import attempt_of, check_stored, common_inputs, is_dead, ordered
from pithead.payouts.errors import OneSpendViolated, Standstill
from pithead.payouts.metrics import ONE_SPEND_STOPS, TRANSITIONS
from pithead.payouts.records import Adoption, Attempt, Payout
from pithead.payouts.rows import Rows
from pithead.payouts.states import Event, State

logger = logging.getLogger(__name__)

ATTEMPTS_MAX = 100
"""Attempts of one payout: each needs a raised fee or a lost input, so this many means a fault."""

REBUILD_RETRY_MS = 10_000
"""Between tries to build a further attempt: each asks the node to sign."""


class Sender:
    """The transactions of one coin's payouts."""

    def __init__(
        self,
        coin: CoinSettings,
        policy: PayoutPolicy,
        params: ChainParams,
        *,
        rows: Rows,
        wallet: Wallet,
        now_ms: Callable[[], int],
    ) -> None:
        self._coin = coin
        self._policy = policy
        self._params = params
        self._rows = rows
        self._wallet = wallet
        self._now_ms = now_ms
        self._rebuild_not_before_ms = 0

    async def sign(self, payout: Payout) -> None:
        """Store the first attempt of a held payout, or give the payout up.

        A payee that the wallet refuses is isolated and the rest tried again.
        """
        if not payout.paid:
            await self._move(payout, Event.ABANDON)
            return
        try:
            signed = await self._build(payout, None)
        except BadDestination as refusal:
            await self._isolate(payout, refusal)
        except (InsufficientFunds, PaymentTooLarge) as error:
            # Another use of the wallet was quicker; the hold goes back, a new
            # plan is made of what there is.
            logger.warning("payout %s is not made: %s", payout.id, error)
            await self._move(payout, Event.ABANDON)
        else:
            await self._store(payout, signed)

    async def observe(self, payout: Payout) -> None:
        """Record how deep the payout is; decide when it is buried, or can never be."""
        depth = self._coin.confirmations
        found: dict[int, int] = {}
        for attempt in payout.attempts:
            seen = await self._wallet.transaction(attempt.txid)
            found[attempt.number] = seen.confirmations if seen is not None else 0
        on_chain = [item for item in payout.attempts if found[item.number] > 0]
        if len(on_chain) > 1:
            raise OneSpendViolated(
                payout.id,
                "two on chain",
                f"attempts {on_chain[0].shown} and {on_chain[1].shown} are both on the chain",
            )
        if on_chain:
            confirmations = found[on_chain[0].number]
            if confirmations >= depth:
                await self._rows.note(payout, trouble="", confirmations=confirmations)
                await self._move(payout, Event.BURY, buried=on_chain[0].number)
            elif confirmations != payout.confirmations:
                await self._rows.note(payout, trouble="", confirmations=confirmations)
            return
        buried = await self._buried_foreign(payout)
        if all(is_dead(item, found[item.number], buried, depth) for item in payout.attempts):
            logger.warning("payout %s can never confirm: its coins were spent", payout.id)
            await self._move(payout, Event.VOID)
        elif payout.confirmations:
            await self._rows.note(payout, trouble="", confirmations=0)

    async def send(self, payout: Payout) -> None:
        """Bring the payout to the network; nothing to do while it is on the chain.

        Raises Standstill when the network takes no attempt.
        """
        if payout.confirmations > 0:
            return
        for attempt in payout.attempts:
            check_stored(payout, attempt)
        if payout.state is State.SIGNED:
            await self._wallet.freeze(payout.attempts[-1].inputs, frozen=True)
        refusal = await self._send_any(payout)
        if refusal is not None:
            await self._answer_refusal(payout, refusal)
            return
        if payout.trouble:
            await self._rows.note(payout, trouble="", confirmations=0)
        if payout.state is State.SIGNED:
            await self._move(payout, Event.BROADCAST)
        elif self._policy.fee_rate > payout.attempts[-1].fee_rate:
            await self._bump(payout)

    async def let_go(self, payout: Payout, buried: Attempt | None) -> None:
        """Let the wallet spend again what the payout kept and did not use."""
        kept = {point for attempt in payout.attempts for point in attempt.inputs}
        if buried is not None:
            kept -= buried.inputs
        if kept:
            await self._wallet.freeze(ordered(frozenset(kept)), frozen=False)

    async def _send_any(self, payout: Payout) -> BroadcastRefused | None:
        """Send the newest attempt that the network takes; else return why not the newest."""
        first: BroadcastRefused | None = None
        for attempt in reversed(payout.attempts):
            try:
                await self._wallet.broadcast(attempt.raw)
            except BroadcastRefused as refusal:
                first = first or refusal
            else:
                return None
        return first

    async def _answer_refusal(self, payout: Payout, refusal: BroadcastRefused) -> None:
        newest = payout.attempts[-1]
        if self._policy.fee_rate > newest.fee_rate and not refusal.conflict:
            await self._bump(payout)
        elif refusal.conflict:
            ONE_SPEND_STOPS.labels(self._coin.key, "conflict").inc()
            await self._rebuild(payout, refusal)
        else:
            trouble = (
                f"payout {payout.id}: {refusal}; when it asks for a higher fee, "
                "raise the fee rate of the policy"
            )
            await self._rows.note(payout, trouble=trouble, confirmations=0)
            raise Standstill(trouble)

    async def _rebuild(self, payout: Payout, refusal: BroadcastRefused) -> None:
        """Replace lost inputs by another attempt that conflicts with all earlier ones.

        Only when an input is gone from the chain itself; raises Standstill else.
        """
        newest = payout.attempts[-1]
        common = common_inputs(payout.attempts)
        gone = 0
        anchored: SignedTx | None = None
        self._may_rebuild(payout, f"{refusal}")
        points = ordered(newest.inputs)
        await self._wallet.freeze(points, frozen=False)
        for point in points:
            try:
                signed = await self._build(payout, point)
            except InputGone:
                gone += 1
            except (InsufficientFunds, PaymentTooLarge) as error:
                await self._wait(payout, f"{refusal}; {error}")
            else:
                if point in common and anchored is None:
                    anchored = signed
            if gone and anchored is not None:
                await self._store(payout, anchored)
                return
        await self._wait(
            payout,
            f"{refusal}; transaction {newest.shown} waits until what spends its coins is "
            f"{self._coin.confirmations} blocks deep or gone",
        )

    async def _bump(self, payout: Payout) -> None:
        """Replace an unconfirmed attempt by one at the policy's higher rate, when that can be."""
        if self._now_ms() < self._rebuild_not_before_ms or len(payout.attempts) >= ATTEMPTS_MAX:
            return
        self._rebuild_not_before_ms = self._now_ms() + REBUILD_RETRY_MS
        for point in ordered(common_inputs(payout.attempts)):
            try:
                signed = await self._build(payout, point)
            except InputGone:
                continue
            except (InsufficientFunds, PaymentTooLarge) as error:
                logger.warning("payout %s keeps its fee: %s", payout.id, error)
                return
            # BIP125: a replacement pays more in total, not only per byte.
            if signed.fee > payout.attempts[-1].fee:
                await self._store(payout, signed)
            return

    def _may_rebuild(self, payout: Payout, why: str) -> None:
        now_ms = self._now_ms()
        if len(payout.attempts) >= ATTEMPTS_MAX:
            raise Standstill(f"payout {payout.id} has {ATTEMPTS_MAX} attempts; last: {why}")
        if now_ms < self._rebuild_not_before_ms:
            raise Standstill(payout.trouble or f"payout {payout.id}: {why}")
        self._rebuild_not_before_ms = now_ms + REBUILD_RETRY_MS

    async def _wait(self, payout: Payout, why: str) -> None:
        trouble = f"payout {payout.id}: {why}"
        await self._rows.note(payout, trouble=trouble, confirmations=0)
        raise Standstill(trouble)

    async def _build(self, payout: Payout, must_spend: OutPoint | None) -> SignedTx:
        outputs = [(payment.script, payment.amount) for payment in payout.paid]
        return await self._wallet.build_payment(outputs, self._policy.fee_rate, must_spend, ())

    async def _store(self, payout: Payout, signed: SignedTx) -> None:
        now_ms = self._now_ms()
        attempt = attempt_of(self._params, payout, signed, self._policy.fee_rate, now_ms)
        await self._rows.add_attempt(payout, attempt, now_ms)
        event = Event.REBUILD if payout.attempts else Event.SIGN
        TRANSITIONS.labels(self._coin.key, event.value).inc()
        logger.info("payout %s: attempt %d is %s", payout.id, attempt.number, attempt.shown)

    async def _isolate(self, payout: Payout, refusal: BadDestination) -> None:
        refused = [item for item in payout.paid if item.script == refusal.script]
        if not refused:
            raise OneSpendViolated(
                payout.id, "outputs", f"the wallet refuses a script that is not paid: {refusal}"
            )
        logger.warning("account %d cannot be paid: %s", refused[0].account, refusal)
        await self._rows.isolate(payout, refused[0].account, str(refusal), self._now_ms())

    async def _buried_foreign(self, payout: Payout) -> list[Adoption]:
        """Return adopted transactions at depth that spend an input of this payout."""
        spent = {point for attempt in payout.attempts for point in attempt.inputs}
        buried = []
        for adoption in await self._rows.adoptions(self._coin.key):
            if adoption.inputs & spent:
                seen = await self._wallet.transaction(adoption.txid)
                if seen is not None and seen.confirmations >= self._coin.confirmations:
                    buried.append(adoption)
        return buried

    async def _move(self, payout: Payout, event: Event, *, buried: int | None = None) -> None:
        await self._rows.move(payout, event, self._now_ms(), buried=buried)
        TRANSITIONS.labels(self._coin.key, event.value).inc()
