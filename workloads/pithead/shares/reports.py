"""What the contract answers for people who look for trouble: the chain, checks, withholding.

NOT_FOUND: a pool or coin that accounting was not told of. INVALID_ARGUMENT: heights
that cannot be. UNAVAILABLE: the database cannot be asked now; ask again.
"""

from collections.abc import Mapping

import grpc
import grpc.aio
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from pithead.coins.params import ChainParams
from pithead.contracts import accounting_pb2, accounting_pb2_grpc
from pithead.shares.answering import away
from pithead.shares.chain_query import read_chain_facts
from pithead.shares.query import UnknownName
from pithead.shares.suspects import read_checks, read_records
from pithead.shares.withholding import Suspicion, suspicions
from pithead.store import reading


class ReportAnswers(accounting_pb2_grpc.AccountingServicer):
    """The calls of this kind; `coins` are the chains by key (`litecoin/regtest`)."""

    def __init__(self, engine: AsyncEngine, coins: Mapping[str, ChainParams]) -> None:
        self._engine = engine
        self._coins = coins

    async def ChainFacts(  # noqa: N802 - the contract's name
        self,
        request: accounting_pb2.ChainFactsRequest,
        context: grpc.aio.ServicerContext[
            accounting_pb2.ChainFactsRequest, accounting_pb2.ChainFactsReply
        ],
    ) -> accounting_pb2.ChainFactsReply:
        """Hash, bits, subsidy, fees and fee index of heights of the main chain."""
        params = self._coins.get(request.coin)
        if params is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"no coin {request.coin} here")
        try:
            async with reading(self._engine) as connection:
                facts = await read_chain_facts(
                    connection, params, request.first_height, request.last_height
                )
        except ValueError as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        except DBAPIError as error:
            await away(context, error)
        return accounting_pb2.ChainFactsReply(
            blocks=[
                accounting_pb2.ChainBlock(
                    height=block.height,
                    hash=block.hash,
                    bits=block.bits,
                    subsidy=block.subsidy,
                    fees=block.fees,
                    fee_index=block.fee_index,
                    settled=block.settled,
                )
                for block in facts
            ]
        )

    async def Checks(  # noqa: N802 - the contract's name
        self,
        request: accounting_pb2.ChecksRequest,
        context: grpc.aio.ServicerContext[accounting_pb2.ChecksRequest, accounting_pb2.ChecksReply],
    ) -> accounting_pb2.ChecksReply:
        """What came of checking samples again, and the failures that nobody has seen."""
        try:
            async with reading(self._engine) as connection:
                checks = await read_checks(connection, request.pool)
        except UnknownName as error:
            await context.abort(grpc.StatusCode.NOT_FOUND, str(error))
        except DBAPIError as error:
            await away(context, error)
        return accounting_pb2.ChecksReply(
            producers=[
                accounting_pb2.CheckedProducer(
                    producer=row.producer,
                    region=row.region,
                    batches=row.batches,
                    checked=row.checked,
                    failed=row.failed,
                    open=row.state == "open",
                )
                for row in checks.producers
            ],
            failures=[
                accounting_pb2.CheckFailure(
                    producer=row.producer,
                    sequence=row.sequence,
                    region=row.region,
                    share=row.share,
                    fault=row.fault,
                    detail=row.detail,
                    header=row.header,
                    at_ms=row.at_ms,
                )
                for row in checks.failures
            ],
            doubted=[
                accounting_pb2.DoubtedValue(
                    segment=row.id, height=row.height, value=row.value, doubt=row.doubt
                )
                for row in checks.doubted
            ],
        )

    async def Withholding(  # noqa: N802 - the contract's name
        self,
        request: accounting_pb2.WithholdingRequest,
        context: grpc.aio.ServicerContext[
            accounting_pb2.WithholdingRequest, accounting_pb2.WithholdingReply
        ],
    ) -> accounting_pb2.WithholdingReply:
        """Blocks found against blocks expected, by account."""
        try:
            async with reading(self._engine) as connection:
                first, coin, records = await read_records(
                    connection, request.pool, request.from_height
                )
        except UnknownName as error:
            await context.abort(grpc.StatusCode.NOT_FOUND, str(error))
        except DBAPIError as error:
            await away(context, error)
        params = self._coins.get(coin)
        if params is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"no coin {coin} here")
        report = suspicions(records, params.shift)
        return accounting_pb2.WithholdingReply(
            from_height=first, accounts=len(report), rows=[_row(one) for one in report[:ROWS_MAX]]
        )


ROWS_MAX = 1000
"""The most suspicious accounts; the rest is luck by any measure."""


def _row(one: Suspicion) -> accounting_pb2.WithholdingRow:
    return accounting_pb2.WithholdingRow(
        account=one.record.account,
        login=one.record.login,
        shares=one.shares,
        weight=str(one.weight),
        found=one.record.found,
        expected=float(one.expected),
        probability=one.probability,
        adjusted=one.adjusted,
    )
