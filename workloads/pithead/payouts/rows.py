"""Answers for the payouts' records: every method is one transaction.

Changes of state compare before they set: a row that another process moved
meanwhile is refused with RowMoved, so that of two racing runs one wins and the
other starts again from what is stored. Only stored attempts are ever sent.
"""

from collections.abc import Iterable

from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from pithead.coins.tx import OutPoint
from pithead.payouts.loading import load
from pithead.payouts.records import (
    Adoption,
    Attempt,
    Isolation,
    Payout,
    Totals,
    WalletRow,
)
from pithead.payouts.schema import (
    ADOPTED,
    ADOPTED_INPUTS,
    ATTEMPT_INPUTS,
    ATTEMPTS,
    ISOLATED,
    PAYMENTS,
    PAYOUTS,
    WALLETS,
)
from pithead.payouts.states import Event, State, advance
from pithead.store import insert_into, reading, transaction


class RowMoved(Exception):
    """Raised when another run changed the payout first; read it again."""

    def __init__(self, payout: str) -> None:
        super().__init__(f"payout {payout} was moved by another run")
        self.payout = payout


class Rows:
    """The payouts' database."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    # Wallets

    async def wallet(self, coin: str, wallet: str) -> WalletRow:
        """Return what is remembered of a wallet; an unknown one has defaults."""
        where = (WALLETS.c.coin == coin, WALLETS.c.wallet == wallet)
        async with reading(self._engine) as connection:
            row = (await connection.execute(select(WALLETS).where(*where))).one_or_none()
        if row is None:
            return WalletRow(coin, wallet)
        return WalletRow(
            coin,
            wallet,
            row.address,
            row.script,
            row.cursor,
            row.planned_ms,
            row.trouble,
            row.baseline_ms is not None,
        )

    async def keep_address(self, coin: str, wallet: str, address: str, script: bytes) -> WalletRow:
        """Keep the receive address unless one is kept already; return what stands."""
        async with transaction(self._engine) as connection:
            await _ensure_wallet(connection, coin, wallet)
            await connection.execute(
                update(WALLETS)
                .where(
                    WALLETS.c.coin == coin,
                    WALLETS.c.wallet == wallet,
                    WALLETS.c.address.is_(None),
                )
                .values(address=address, script=script)
            )
        return await self.wallet(coin, wallet)

    async def keep_cursor(self, coin: str, wallet: str, cursor: bytes) -> None:
        """Remember up to where the wallet's history is known."""
        await self._set_wallet(coin, wallet, cursor=cursor)

    async def keep_baseline(
        self, coin: str, wallet: str, before: Iterable[Adoption], now_ms: int
    ) -> None:
        """Record once what the wallet had spent before; nothing of it is booked."""
        async with transaction(self._engine) as connection:
            await _ensure_wallet(connection, coin, wallet)
            taken = await connection.execute(
                update(WALLETS)
                .where(
                    WALLETS.c.coin == coin,
                    WALLETS.c.wallet == wallet,
                    WALLETS.c.baseline_ms.is_(None),
                )
                .values(baseline_ms=now_ms)
            )
            # Of two runs that see a wallet for the first time, one takes its baseline.
            for adoption in before if taken.rowcount else ():
                await _adopt(connection, adoption, now_ms, booked_ms=now_ms)

    async def keep_trouble(self, coin: str, wallet: str, trouble: str) -> None:
        """Remember why the coin's payouts stand still; empty when they do not."""
        await self._set_wallet(coin, wallet, trouble=trouble)

    async def keep_planned(self, coin: str, wallet: str, now_ms: int) -> None:
        """Remember when the last plan was made or found nothing to pay."""
        await self._set_wallet(coin, wallet, planned_ms=now_ms)

    async def _set_wallet(self, coin: str, wallet: str, **values: str | int | bytes) -> None:
        async with transaction(self._engine) as connection:
            await _ensure_wallet(connection, coin, wallet)
            await connection.execute(
                update(WALLETS)
                .where(WALLETS.c.coin == coin, WALLETS.c.wallet == wallet)
                .values(**values)
            )

    # Payouts

    async def add(self, payout: Payout) -> bool:
        """Store a new plan; False when the coin has an open payout already."""
        try:
            async with transaction(self._engine) as connection:
                await connection.execute(
                    insert(PAYOUTS).values(
                        id=payout.id,
                        coin=payout.coin,
                        number=payout.number,
                        wallet=payout.wallet,
                        state=State.PLANNED.value,
                        fee_book=payout.fee_book,
                        planned_ms=payout.planned_ms,
                        changed_ms=payout.planned_ms,
                    )
                )
                await connection.execute(
                    insert(PAYMENTS),
                    [
                        {
                            "payout": payout.id,
                            "account": payment.account,
                            "login": payment.login,
                            "script": payment.script,
                            "amount": payment.amount,
                        }
                        for payment in payout.payments
                    ],
                )
        except IntegrityError:
            if await self.open(payout.coin) is None:
                raise
            return False
        return True

    async def open(self, coin: str) -> Payout | None:
        """Return the coin's payout that is under way or not yet booked, if any."""
        query = select(PAYOUTS).where(PAYOUTS.c.coin == coin, PAYOUTS.c.booked_ms.is_(None))
        async with reading(self._engine) as connection:
            found = await load(connection, query)
        return found[0] if found else None

    async def last_number(self, coin: str) -> int:
        """Return the number of the coin's newest payout, 0 when there was none."""
        query = select(func.max(PAYOUTS.c.number)).where(PAYOUTS.c.coin == coin)
        async with reading(self._engine) as connection:
            return (await connection.execute(query)).scalar() or 0

    async def recent(self, coin: str, limit: int) -> list[Payout]:
        """Return payouts with their payments, newest first; an empty coin means all."""
        query = select(PAYOUTS).order_by(PAYOUTS.c.planned_ms.desc(), PAYOUTS.c.number.desc())
        if coin:
            query = query.where(PAYOUTS.c.coin == coin)
        async with reading(self._engine) as connection:
            return await load(connection, query.limit(limit))

    async def last_paid(self, coin: str) -> dict[int, int]:
        """Return when each account was last planned into a payout that was not released, in ms."""
        query = (
            select(PAYMENTS.c.account, func.max(PAYOUTS.c.planned_ms))
            .join(PAYOUTS, PAYMENTS.c.payout == PAYOUTS.c.id)
            .where(PAYOUTS.c.coin == coin, PAYOUTS.c.state != State.RELEASED.value)
            .group_by(PAYMENTS.c.account)
        )
        async with reading(self._engine) as connection:
            return {row[0]: row[1] for row in await connection.execute(query)}

    async def totals(self, coin: str) -> Totals:
        """Count payments under way and paid; an empty coin means all."""
        paid = (PAYOUTS.c.state == State.BURIED.value) & PAYOUTS.c.booked_ms.is_not(None)
        query = (
            select(paid, func.count(), func.sum(PAYMENTS.c.amount))
            .join(PAYOUTS, PAYMENTS.c.payout == PAYOUTS.c.id)
            .where(PAYMENTS.c.isolated.is_(None), PAYOUTS.c.state != State.RELEASED.value)
            .group_by(paid)
        )
        if coin:
            query = query.where(PAYOUTS.c.coin == coin)
        pending = confirmed = amount = 0
        async with reading(self._engine) as connection:
            for is_paid, count, total in await connection.execute(query):
                if is_paid:
                    # A sum is numeric in PostgreSQL.
                    confirmed, amount = count, int(total)
                else:
                    pending = count
        return Totals(pending, confirmed, amount)

    async def move(
        self, payout: Payout, event: Event, now_ms: int, *, buried: int | None = None
    ) -> None:
        """Take the step that `event` names.

        Raises TransitionRefused when the table has no such step, RowMoved when
        the stored payout is not as `payout` says.
        """
        state = advance(payout.id, payout.state, event)
        values: dict[str, object] = {"state": state.value, "changed_ms": now_ms, "trouble": ""}
        if buried is not None:
            values["buried"] = buried
        if event is Event.REFUSE:
            # Nothing was held, so the ledger has nothing to hear.
            values["booked_ms"] = now_ms
        async with transaction(self._engine) as connection:
            await _move(connection, payout, values)

    async def add_attempt(self, payout: Payout, attempt: Attempt, now_ms: int) -> None:
        """Store a signed transaction and the step to SIGNED together, before anything is sent."""
        event = Event.REBUILD if payout.attempts else Event.SIGN
        state = advance(payout.id, payout.state, event)
        async with transaction(self._engine) as connection:
            await _move(
                connection,
                payout,
                {"state": state.value, "changed_ms": now_ms, "trouble": "", "confirmations": 0},
            )
            try:
                await connection.execute(
                    insert(ATTEMPTS).values(
                        payout=payout.id,
                        number=attempt.number,
                        txid=attempt.txid,
                        raw=attempt.raw,
                        fee=attempt.fee,
                        fee_rate=attempt.fee_rate,
                        made_ms=attempt.made_ms,
                    )
                )
            except IntegrityError as error:
                raise RowMoved(payout.id) from error
            await connection.execute(
                insert(ATTEMPT_INPUTS),
                [
                    {
                        "payout": payout.id,
                        "number": attempt.number,
                        "txid": spent.txid,
                        "output": spent.index,
                    }
                    for spent in sorted(attempt.inputs, key=lambda spent: (spent.txid, spent.index))
                ],
            )

    async def close(self, payout: Payout, now_ms: int) -> None:
        """Record that the ledger has all of a finished payout."""
        async with transaction(self._engine) as connection:
            await _move(connection, payout, {"booked_ms": now_ms, "trouble": ""})

    async def note(self, payout: Payout, *, trouble: str, confirmations: int) -> None:
        """Record why a payout does not move on, and how deep it is."""
        async with transaction(self._engine) as connection:
            await connection.execute(
                update(PAYOUTS)
                .where(PAYOUTS.c.id == payout.id, PAYOUTS.c.version == payout.version)
                .values(trouble=trouble, confirmations=confirmations)
            )

    # Payees

    async def isolate(self, payout: Payout, account: int, reason: str, now_ms: int) -> None:
        """Leave a payee that the wallet refuses out of a held payout, and of later plans."""
        script = next(item.script for item in payout.payments if item.account == account)
        async with transaction(self._engine) as connection:
            await _move(connection, payout, {"changed_ms": now_ms})
            await connection.execute(
                update(PAYMENTS)
                .where(PAYMENTS.c.payout == payout.id, PAYMENTS.c.account == account)
                .values(isolated=reason)
            )
            await _isolate(
                connection,
                payout.coin,
                Isolation(account, script, reason, by_wallet=True),
                now_ms,
            )

    async def returned(self, payout: Payout, account: int) -> None:
        """Record that an isolated payee's hold is back in PAYABLE."""
        async with transaction(self._engine) as connection:
            await connection.execute(
                update(PAYMENTS)
                .where(PAYMENTS.c.payout == payout.id, PAYMENTS.c.account == account)
                .values(returned=True)
            )

    async def isolations(self, coin: str) -> dict[int, Isolation]:
        """Return the payees that cannot be paid now, by account."""
        query = select(ISOLATED).where(ISOLATED.c.coin == coin)
        async with reading(self._engine) as connection:
            return {
                row.account: Isolation(row.account, row.script, row.reason, row.by_wallet)
                for row in await connection.execute(query)
            }

    async def keep_isolations(
        self, coin: str, kept: Iterable[Isolation], cleared: Iterable[int], now_ms: int
    ) -> None:
        """Remember payees that a plan left out, and forget those that can be paid again."""
        async with transaction(self._engine) as connection:
            # By account, so that two runs at once wait for one another in one order.
            for isolation in sorted(kept, key=lambda one: one.account):
                await _isolate(connection, coin, isolation, now_ms)
            for account in sorted(cleared):
                await connection.execute(
                    delete(ISOLATED).where(ISOLATED.c.coin == coin, ISOLATED.c.account == account)
                )

    # Transactions

    async def known(self, coin: str, txids: Iterable[bytes]) -> frozenset[bytes]:
        """Return those of `txids` that are attempts or adopted."""
        asked = list(txids)
        known: set[bytes] = set()
        async with reading(self._engine) as connection:
            for start in range(0, len(asked), 500):
                chunk = asked[start : start + 500]
                attempts = select(ATTEMPTS.c.txid).where(ATTEMPTS.c.txid.in_(chunk))
                adopted = select(ADOPTED.c.txid).where(
                    ADOPTED.c.coin == coin, ADOPTED.c.txid.in_(chunk)
                )
                for query in (attempts, adopted):
                    known.update((await connection.execute(query)).scalars())
        return frozenset(known)

    async def attempt_owner(self, txid: bytes) -> str | None:
        """Return the payout that made a transaction, if one did."""
        query = select(ATTEMPTS.c.payout).where(ATTEMPTS.c.txid == txid)
        async with reading(self._engine) as connection:
            return (await connection.execute(query)).scalar_one_or_none()

    async def adopt(self, adoption: Adoption, now_ms: int) -> bool:
        """Store an adoption with what it spends; False when the transaction is adopted already."""
        try:
            async with transaction(self._engine) as connection:
                await _adopt(connection, adoption, now_ms, booked_ms=None)
        except IntegrityError:
            if adoption.txid not in await self.known(adoption.coin, [adoption.txid]):
                raise
            return False
        return True

    async def adoptions(self, coin: str, *, unbooked: bool = False) -> list[Adoption]:
        """Return the coin's adopted transactions, or those still to be booked, oldest first."""
        query = select(ADOPTED).where(ADOPTED.c.coin == coin).order_by(ADOPTED.c.adopted_ms)
        if unbooked:
            query = query.where(ADOPTED.c.booked_ms.is_(None))
        inputs_query = select(ADOPTED_INPUTS).where(ADOPTED_INPUTS.c.coin == coin)
        inputs: dict[bytes, set[OutPoint]] = {}
        async with reading(self._engine) as connection:
            rows = (await connection.execute(query)).all()
            for row in await connection.execute(inputs_query) if rows else ():
                inputs.setdefault(row.spender, set()).add(OutPoint(row.txid, row.output))
        return [
            Adoption(
                coin,
                row.txid,
                row.reason,
                row.amount,
                row.fee,
                row.fee_book,
                frozenset(inputs.get(row.txid, ())),
                booked=row.booked_ms is not None,
            )
            for row in rows
        ]

    async def adoption_booked(self, adoption: Adoption, now_ms: int) -> None:
        """Record that the ledger has the expense."""
        async with transaction(self._engine) as connection:
            await connection.execute(
                update(ADOPTED)
                .where(ADOPTED.c.coin == adoption.coin, ADOPTED.c.txid == adoption.txid)
                .values(booked_ms=now_ms)
            )


async def _adopt(
    connection: AsyncConnection, adoption: Adoption, now_ms: int, *, booked_ms: int | None
) -> None:
    await connection.execute(
        insert(ADOPTED).values(
            coin=adoption.coin,
            txid=adoption.txid,
            reason=adoption.reason,
            amount=adoption.amount,
            fee=adoption.fee,
            fee_book=adoption.fee_book,
            adopted_ms=now_ms,
            booked_ms=booked_ms,
        )
    )
    spent = [
        {
            "coin": adoption.coin,
            "spender": adoption.txid,
            "txid": point.txid,
            "output": point.index,
        }
        for point in adoption.inputs
    ]
    if spent:
        await connection.execute(insert(ADOPTED_INPUTS), spent)


async def _move(connection: AsyncConnection, payout: Payout, values: dict[str, object]) -> None:
    result = await connection.execute(
        update(PAYOUTS)
        .where(
            PAYOUTS.c.id == payout.id,
            PAYOUTS.c.version == payout.version,
            PAYOUTS.c.booked_ms.is_(None),
        )
        .values(version=payout.version + 1, **values)
    )
    if result.rowcount != 1:
        raise RowMoved(payout.id)


async def _ensure_wallet(connection: AsyncConnection, coin: str, wallet: str) -> None:
    await connection.execute(
        insert_into(connection, WALLETS)
        .values(coin=coin, wallet=wallet, trouble="")
        .on_conflict_do_nothing()
    )


async def _isolate(
    connection: AsyncConnection, coin: str, isolation: Isolation, now_ms: int
) -> None:
    values = {
        "script": isolation.script,
        "reason": isolation.reason,
        "by_wallet": isolation.by_wallet,
    }
    await connection.execute(
        insert_into(connection, ISOLATED)
        .values(coin=coin, account=isolation.account, since_ms=now_ms, **values)
        .on_conflict_do_update(index_elements=["coin", "account"], set_=values)
    )
