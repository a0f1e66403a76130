"""Answers for reading stored payouts whole: rows of three tables become one value."""

from typing import Any

from sqlalchemy import Select, select
from sqlalchemy.ext.asyncio import AsyncConnection

from pithead.coins.tx import OutPoint
from pithead.payouts.records import Attempt, Payment, Payout
from pithead.payouts.schema import ATTEMPT_INPUTS, ATTEMPTS, PAYMENTS
from pithead.payouts.states import State


async def load(connection: AsyncConnection, query: Select[Any]) -> list[Payout]:
    """Return the payouts that `query` selects, with their payments and attempts."""
    rows = (await connection.execute(query)).all()
    payouts = []
    for row in rows:
        payments = await connection.execute(
            select(PAYMENTS).where(PAYMENTS.c.payout == row.id).order_by(PAYMENTS.c.account)
        )
        attempts = (
            await connection.execute(
                select(ATTEMPTS).where(ATTEMPTS.c.payout == row.id).order_by(ATTEMPTS.c.number)
            )
        ).all()
        inputs: dict[int, set[OutPoint]] = {}
        for spent in await connection.execute(
            select(ATTEMPT_INPUTS).where(ATTEMPT_INPUTS.c.payout == row.id)
        ):
            inputs.setdefault(spent.number, set()).add(OutPoint(spent.txid, spent.output))
        payouts.append(
            Payout(
                id=row.id,
                coin=row.coin,
                number=row.number,
                wallet=row.wallet,
                state=State(row.state),
                fee_book=row.fee_book,
                planned_ms=row.planned_ms,
                payments=tuple(
                    Payment(
                        payment.account,
                        payment.login,
                        payment.script,
                        payment.amount,
                        payment.isolated,
                        payment.returned,
                    )
                    for payment in payments
                ),
                attempts=tuple(
                    Attempt(
                        attempt.number,
                        attempt.txid,
                        attempt.raw,
                        attempt.fee,
                        attempt.fee_rate,
                        frozenset(inputs.get(attempt.number, ())),
                        attempt.made_ms,
                    )
                    for attempt in attempts
                ),
                buried=row.buried,
                confirmations=row.confirmations,
                trouble=row.trouble,
                booked=row.booked_ms is not None,
                version=row.version,
            )
        )
    return payouts
