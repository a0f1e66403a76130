"""Answers for one coin's payouts: one cycle looks at what is, and takes the steps that follow.

A cycle is level-based: it reads the wallet's history, the stored payout and the
chain, and does what they call for, so that a run after a kill at any point goes on
where the last one stopped. The order inside is what OneSpend rests on:

1. reconcile: a spend of the wallet that is neither an attempt nor adopted stops all;
2. plan: rows first, and only when the wallet's mature coins reach;
3. hold: the ledger moves PAYABLE to HOLD under the payout's name;
4. sign: the transaction is checked and stored before anything can be sent;
5. broadcast: the stored bytes, again and again until they are on the chain; when
   their inputs are gone, a further attempt spends an output common to all earlier ones;
6. buried: the decision is stored, the ledger follows, the payout is closed.

The engine waits for nothing: what cannot be done now raises Standstill, and the
next cycle looks again. It knows no schedule but the policy's interval, and no gRPC.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from pithead.coins.address import script_of_address
from pithead.coins.node_errors import NodeError
from pithead.coins.params import ChainParams
from pithead.coins.wallet import Coin, Wallet, WalletError
from pithead.config import CoinSettings, PayoutPolicy
from pithead.contracts.ledger_pb2 import BOOK_HOLD, BOOK_PAYABLE
from pithead.payouts import postings
from pithead.payouts.adoption import Adopter
from pithead.payouts.errors import (
    BookRefused,
    OneSpendViolated,
    PayoutError,
    Standstill,
    UnknownOutgoing,
)
from pithead.payouts.metrics import ISOLATED, ONE_SPEND_STOPS, TRANSITIONS, TROUBLED
from pithead.payouts.neighbours import Accounts, Book
from pithead.payouts.plan import choose, payout_id, reach
from pithead.payouts.records import Payment, Payout, WalletRow
from pithead.payouts.rows import RowMoved, Rows
from pithead.payouts.sending import Sender
from pithead.payouts.states import Event, State

logger = logging.getLogger(__name__)

STEPS_MAX = 64
"""Steps of one cycle; a payout takes five, and one more for each payee that the wallet refuses."""

PLAN_RETRY_MS_MAX = 10_000
"""How soon a plan that found too little money is tried again."""

RELEASED_LOOKED_AT = 100
"""Newest payouts among which one with a late hold is looked for."""

RECEIVE_LABEL = "pithead-receive"


async def receive(rows: Rows, wallet: Wallet, coin: CoinSettings, params: ChainParams) -> WalletRow:
    """Return the wallet with its receive address, made once and then kept for ever.

    Safe when two ask at once: what was kept first stands.
    """
    row = await rows.wallet(coin.key, coin.wallet.name)
    if row.address is not None:
        return row
    await wallet.ensure()
    address = await wallet.receive_address(RECEIVE_LABEL)
    script = script_of_address(params, address)
    return await rows.keep_address(coin.key, coin.wallet.name, address, script)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a cycle came to, in a sentence; `troubled` when somebody should look."""

    text: str
    troubled: bool = False


class Engine:
    """One coin and its wallet."""

    def __init__(
        self,
        coin: CoinSettings,
        policy: PayoutPolicy,
        params: ChainParams,
        *,
        rows: Rows,
        wallet: Wallet,
        book: Book,
        accounts: Accounts,
        now_ms: Callable[[], int],
    ) -> None:
        self.coin = coin
        self.policy = policy
        self._params = params
        self._rows = rows
        self._wallet = wallet
        self._book = book
        self._accounts = accounts
        self._now_ms = now_ms
        self._sender = Sender(coin, policy, params, rows=rows, wallet=wallet, now_ms=now_ms)
        self._adopter = Adopter(coin, policy, rows=rows, wallet=wallet, book=book, now_ms=now_ms)
        self._lock = asyncio.Lock()
        self._plan_not_before_ms = 0

    async def receive(self) -> WalletRow:
        """Return the wallet with its receive address, made once and then kept for ever."""
        async with self._lock:
            return await receive(self._rows, self._wallet, self.coin, self._params)

    async def adopt(self, txid: str, reason: str) -> str:
        """Explain a foreign outgoing transaction; raise AdoptRefused when it cannot be one."""
        async with self._lock:
            await self._wallet.ensure()
            return await self._adopter.adopt(txid, reason)

    async def run(self, *, now: bool = False) -> Outcome:
        """Take one cycle; `now` plans whatever the schedule says.

        Trouble is an outcome, kept in the database until a cycle goes well.
        """
        async with self._lock:
            try:
                outcome = Outcome(await self._cycle(now=now))
            except RowMoved as moved:
                return Outcome(f"{moved}; it goes on with what is stored now")
            except (PayoutError, NodeError, WalletError) as error:
                if isinstance(error, OneSpendViolated):
                    ONE_SPEND_STOPS.labels(self.coin.key, error.cause).inc()
                outcome = Outcome(str(error), troubled=True)
            await self._keep_trouble(outcome)
            return outcome

    async def _cycle(self, *, now: bool) -> str:
        await self._wallet.ensure()
        unknown = await self._unknown()
        payout = await self._rows.open(self.coin.key)
        if payout is not None and payout.wallet != self.coin.wallet.name:
            raise Standstill(
                f"payout {payout.id} is being made from wallet {payout.wallet}; "
                f"name that wallet in CoinEndpoint {self.coin.name} until it is confirmed"
            )
        # What is on the chain may be recorded whatever else is wrong.
        if payout is not None and payout.state in {State.SIGNED, State.BROADCAST}:
            await self._sender.observe(payout)
        payout = await self._finished()
        if unknown:
            ONE_SPEND_STOPS.labels(self.coin.key, "unknown outgoing").inc()
            met = (await self._wallet_row()).baselined
            raise UnknownOutgoing(self.coin.key, self.coin.wallet.name, unknown, met=met)
        await self._adopter.book_buried()
        if payout is None:
            if self.policy.paused:
                return f"payouts of {self.coin.name} are paused"
            if not now and not await self._due():
                return "the next payout is not due yet"
            payout = await self._plan()
            if payout is None:
                return "nobody is due"
        return await self._advance(payout)

    async def _finished(self) -> Payout | None:
        """Return the open payout, after booking it when it is finished."""
        payout = await self._rows.open(self.coin.key)
        if payout is None or payout.state not in {State.BURIED, State.RELEASED}:
            return payout
        await self._finish(payout)
        return None

    async def _advance(self, payout: Payout) -> str:
        for _ in range(STEPS_MAX):
            if self.policy.paused and payout.state in {State.PLANNED, State.HELD}:
                return f"payout {payout.id} is {payout.state.value}; payouts are paused"
            await self._step(payout)
            after = await self._finished()
            if after is None:
                return f"payout {payout.id} is done"
            if after.version == payout.version:
                break
            payout = after
        depth = f"{payout.confirmations} of {self.coin.confirmations} confirmations"
        return f"payout {payout.id} is {payout.state.value}, {depth}"

    async def _step(self, payout: Payout) -> None:
        match payout.state:
            case State.PLANNED:
                await self._hold(payout)
            case State.HELD:
                await self._return_isolated(payout)
                await self._sender.sign(payout)
            case State.SIGNED | State.BROADCAST:
                await self._sender.send(payout)
            case State.BURIED | State.RELEASED:
                await self._finish(payout)

    # Reconcile

    async def _unknown(self) -> list[bytes]:
        """Return spends of the wallet that nobody here made or explained.

        The cursor moves only over a history that is known whole.
        """
        row = await self._wallet_row()
        txids, cursor = await self._wallet.outgoing_since(row.cursor)
        known = await self._rows.known(self.coin.key, txids)
        unknown = [txid for txid in txids if txid not in known]
        if not row.baselined and (not unknown or await self._is_first_start(unknown, row)):
            await self._adopter.take_baseline(unknown)
            unknown = []
        if not unknown and cursor is not None and cursor != row.cursor:
            await self._rows.keep_cursor(self.coin.key, self.coin.wallet.name, cursor)
        return unknown

    async def _is_first_start(self, unknown: Sequence[bytes], row: WalletRow) -> bool:
        """Whether the wallet spent nothing of the pool's yet, as far as anybody can tell.

        Books that are all lost, or another database, look like a first start; but the
        wallet gives the same receive address again, and what it spent of that can
        only have been payouts.
        """
        if not await self._never_paid():
            return False
        return row.script is None or not await self._adopter.spends_of(row.script, unknown)

    async def _never_paid(self) -> bool:
        """Whether neither these rows nor the ledger know of any payout of the coin.

        Rows alone do not tell a first start from a database that was lost; the
        ledger has a hold of every payout that could have been sent.
        """
        if await self._rows.last_number(self.coin.key) or await self._rows.adoptions(self.coin.key):
            return False
        return not (
            await self._book.has(self.coin.key, kind="hold")
            or await self._book.has(self.coin.key, kind="adopt")
        )

    # Plan

    async def _due(self) -> bool:
        now_ms = self._now_ms()
        row = await self._wallet_row()
        if now_ms < self._plan_not_before_ms:
            return False
        return now_ms >= row.planned_ms + self.policy.interval_s * 1000

    async def _plan(self) -> Payout | None:
        """Store a plan of whom the wallet's mature coins can pay; None when nobody is due."""
        now_ms = self._now_ms()
        retry_ms = min(self.policy.interval_s * 1000, PLAN_RETRY_MS_MAX)
        self._plan_not_before_ms = now_ms + retry_ms
        await self._check_no_holds()
        await self._check_wallet()
        least = max(self.policy.threshold, self._params.dust, 1)
        payable = await self._book.balances(self.coin.key, BOOK_PAYABLE, least)
        isolated = await self._rows.isolations(self.coin.key)
        choice = choose(
            self._params,
            payable,
            await self._accounts.accounts(payable) if payable else {},
            threshold=least,
            payments_max=self.policy.payments_max,
            last_paid=await self._rows.last_paid(self.coin.key) if payable else {},
            isolated=isolated,
        )
        for fault in choice.isolated:
            if fault.account not in isolated:
                logger.warning("account %d cannot be paid: %s", fault.account, fault.reason)
        ISOLATED.labels(self.coin.key).set(len(choice.isolated))
        await self._rows.keep_isolations(self.coin.key, choice.isolated, choice.cleared, now_ms)
        payments = choice.payments
        if payments:
            coins = await self._wallet.spendable()
            payments = self._within(payments, coins, least)
        await self._rows.keep_planned(self.coin.key, self.coin.wallet.name, now_ms)
        if not payments:
            return None
        number = await self._rows.last_number(self.coin.key) + 1
        payout = Payout(
            id=payout_id(self.coin.key, number, now_ms, payments),
            coin=self.coin.key,
            number=number,
            wallet=self.coin.wallet.name,
            state=State.PLANNED,
            fee_book=self.policy.fee_book,
            planned_ms=now_ms,
            payments=tuple(sorted(payments, key=lambda payment: payment.account)),
        )
        if not await self._rows.add(payout):
            raise RowMoved(payout.id)
        logger.info("payout %s planned: %d payees", payout.id, len(payments))
        return payout

    def _within(
        self, payments: tuple[Payment, ...], coins: Sequence[Coin], least: int
    ) -> tuple[Payment, ...]:
        """Those payments, from the first, that the wallet's coins can make in one transaction.

        When they do not reach for the first whole, it is paid in part: what miners are
        owed can be all that there is, and the network fee has to come from somewhere. Small
        parts are not paid for want of money: each would cost a fee of its own.
        """
        funds = reach(payments, coins, self.policy.fee_rate)
        if funds.payments:
            return payments[: funds.payments]
        first, wallet = payments[0], self.coin.wallet.name
        crowded = funds.have >= funds.need and funds.used < len(coins)
        if funds.most >= least and (crowded or 2 * funds.most >= first.amount):
            logger.warning(
                "account %d is paid %d of %d base units: one transaction of wallet %s reaches no "
                "further; the rest stays owed",
                first.account,
                funds.most,
                first.amount,
                wallet,
            )
            return (replace(first, amount=funds.most),)
        if crowded:
            raise Standstill(
                f"wallet {wallet} has {funds.have} mature base units in {len(coins)} coins, but a "
                f"transaction of the {funds.used} best pays {max(funds.most, 0)}, below the "
                f"threshold of {least}: join small coins into larger ones by sending them to the "
                "pool's address, or lower the fee rate"
            )
        raise Standstill(
            f"wallet {wallet} has {funds.have} mature base units in {len(coins)} coins and needs "
            f"{funds.need} for the first of {len(payments)} payees: wait until coins mature, "
            "or send coins to the pool's address"
        )

    async def _return_late_holds(self) -> None:
        """Give back holds of payouts that were released because the ledger refused the hold.

        A call that was cut off can be booked after another one was refused. Only
        payouts that never had a transaction, and only holds that the book has.
        """
        for payout in await self._rows.recent(self.coin.key, RELEASED_LOOKED_AT):
            entry = postings.release(payout)
            if payout.state is not State.RELEASED or payout.attempts or entry is None:
                continue
            hold = postings.hold(payout)
            if not await self._book.has(self.coin.key, entry_id=hold.id):
                continue
            if not await self._book.has(self.coin.key, entry_id=entry.id):
                await self._book.post(entry)
                logger.warning("payout %s: its late hold went back", payout.id)

    async def _check_no_holds(self) -> None:
        """Without an open payout nothing may be on hold: it would be a payout that we forgot."""
        held = await self._book.balances(self.coin.key, BOOK_HOLD, 1)
        if held:
            await self._return_late_holds()
            held = await self._book.balances(self.coin.key, BOOK_HOLD, 1)
        if held:
            ONE_SPEND_STOPS.labels(self.coin.key, "stray hold").inc()
            account = min(held)
            raise Standstill(
                f"the ledger holds {sum(held.values())} base units of {self.coin.key} for "
                f"{len(held)} accounts (first: {account}) though no payout is under way: "
                "was the payouts database restored from a backup? Nothing is paid; "
                "compare with `pithead audit`"
            )

    async def _check_wallet(self) -> None:
        """The wallet must have the key of what coinbases pay, also in a node that is new."""
        row = await self._wallet_row()
        if row.address is not None and not await self._wallet.owns(row.address):
            raise Standstill(
                f"wallet {row.wallet} of this node does not have the key of {row.address}, which "
                "the pool's blocks pay: restore the wallet there, or name the node that has it"
            )

    # Steps

    async def _hold(self, payout: Payout) -> None:
        try:
            await self._book.post(postings.hold(payout))
        except BookRefused as refusal:
            logger.warning("payout %s is not made: %s", payout.id, refusal)
            await self._move(payout, Event.REFUSE)
        else:
            await self._move(payout, Event.HOLD)

    async def _return_isolated(self, payout: Payout) -> None:
        for payment in payout.payments:
            if payment.isolated is not None and not payment.returned:
                await self._book.post(postings.isolate(payout, payment))
                await self._rows.returned(payout, payment.account)

    async def _finish(self, payout: Payout) -> None:
        """Let the ledger follow a decision that is stored, then close the payout."""
        await self._return_isolated(payout)
        attempt = next((item for item in payout.attempts if item.number == payout.buried), None)
        if attempt is not None:
            await self._book.post(postings.settle(payout, attempt))
        elif (entry := postings.release(payout)) is not None:
            await self._book.post(entry)
        await self._sender.let_go(payout, attempt)
        await self._rows.close(payout, self._now_ms())
        logger.info("payout %s is %s", payout.id, payout.state.value)

    async def _move(self, payout: Payout, event: Event) -> None:
        await self._rows.move(payout, event, self._now_ms())
        TRANSITIONS.labels(self.coin.key, event.value).inc()

    # Records

    async def _wallet_row(self) -> WalletRow:
        return await self._rows.wallet(self.coin.key, self.coin.wallet.name)

    async def _keep_trouble(self, outcome: Outcome) -> None:
        trouble = outcome.text if outcome.troubled else ""
        TROUBLED.labels(self.coin.key).set(outcome.troubled)
        before = (await self._wallet_row()).trouble
        if trouble == before:
            return
        if trouble:
            logger.warning("%s: %s", self.coin.name, trouble)
        else:
            logger.info("%s: payouts go on", self.coin.name)
        await self._rows.keep_trouble(self.coin.key, self.coin.wallet.name, trouble)
