"""mining.get_transactions: what is in a job, for miners who want to see it."""

from pithead.stratum import encoding
from pithead.stratum.errors import Code
from pithead.stratum.messages import TransactionsAsked
from pithead.stratum.miner import Miner

TRANSACTIONS_BYTES_MAX = 1_000_000
"""The answer is no longer than this; larger jobs get error 20."""


def show_transactions(miner: Miner, event: TransactionsAsked, _now_ms: int) -> None:
    """Answer with the transactions of a job that the miner has, but not of the same one twice.

    A short question with a long answer would else keep the process from all others.
    """
    sent = miner.session.sent.get(event.job)
    if sent is None:
        miner.write(encoding.error(event.id, Code.JOB_NOT_FOUND, "job not found"))
        return
    template = sent.variant.job.template
    if 2 * template.size > TRANSACTIONS_BYTES_MAX:
        text = f"the job's transactions exceed {TRANSACTIONS_BYTES_MAX} characters"
        miner.write(encoding.error(event.id, Code.OTHER, text))
        return
    if miner.shown_transactions == event.job:
        text = "the job's transactions were sent before"
        miner.write(encoding.error(event.id, Code.OTHER, text))
        return
    miner.shown_transactions = event.job
    data = [transaction.data.hex() for transaction in template.transactions]
    miner.write(encoding.answer(event.id, data))
