"""Shows what checks of samples found, and who finds fewer blocks than expected.

Behind `pithead shares checks|withholding|seen`. The share processor counts and
judges; here its answers are printed.
"""

from collections.abc import Sequence
from typing import Any

import click
import msgspec

from pithead.contracts import accounting_pb2
from pithead.up.decisions import LIMIT_S, Where, ask_shares, decide

TEXT_ROWS_MAX = 20
"""Lines of a pool in a report for people; JSON has them all."""


def print_checks(where: Where, pool: str | None, *, as_json: bool) -> int:
    """Print what came of checking samples, of one pool or all."""

    async def ask(stub: Any, pools: Sequence[str]) -> str:
        documents = []
        for name in [pool] if pool else pools:
            reply = await stub.Checks(accounting_pb2.ChecksRequest(pool=name), timeout=LIMIT_S)
            documents.append(checks_document(name, reply))
        if as_json:
            return _json(documents)
        return "\n".join(line for document in documents for line in check_lines(document))

    return ask_shares("checks", where, ask)


def print_withholding(where: Where, pool: str | None, from_height: int, *, as_json: bool) -> int:
    """Print blocks found against blocks expected, of one pool or all."""

    async def ask(stub: Any, pools: Sequence[str]) -> str:
        documents = []
        for name in [pool] if pool else pools:
            request = accounting_pb2.WithholdingRequest(pool=name, from_height=from_height)
            documents.append(
                withholding_document(name, await stub.Withholding(request, timeout=LIMIT_S))
            )
        if as_json:
            return _json(documents)
        return "\n".join(line for document in documents for line in withholding_lines(document))

    return ask_shares("withholding", where, ask)


def see_checks(where: Where, producer: str, reason: str) -> int:
    """Keep that a person has judged a producer's failed checks."""
    try:
        identity = bytes.fromhex(producer)
    except ValueError:
        raise click.UsageError(f"{producer!r} is no producer: it has 32 hex digits") from None
    request = accounting_pb2.DecideRequest(
        decision=accounting_pb2.DECISION_CHECKS_SEEN, producer=identity, reason=reason
    )
    return decide("seen", where, request)


def _json(documents: list[dict[str, Any]]) -> str:
    return msgspec.json.format(msgspec.json.encode(documents), indent=2).decode()


def checks_document(pool: str, reply: accounting_pb2.ChecksReply) -> dict[str, Any]:
    """A reply about checks as JSON has it."""
    return {
        "pool": pool,
        "producers": [
            {
                "producer": row.producer.hex(),
                "region": row.region,
                "batches": row.batches,
                "checked": row.checked,
                "failed": row.failed,
                "open": row.open,
            }
            for row in reply.producers
        ],
        "failures": [
            {
                "producer": row.producer.hex(),
                "sequence": row.sequence,
                "region": row.region,
                "share": row.share,
                "fault": row.fault,
                "detail": row.detail,
                "header": row.header.hex(),
                "atMs": row.at_ms,
            }
            for row in reply.failures
        ],
        "doubtedValues": [
            {
                "segment": row.segment,
                "height": row.height,
                "value": row.value,
                "doubt": row.doubt,
            }
            for row in reply.doubted
        ],
    }


def check_lines(document: dict[str, Any]) -> list[str]:
    """The same for people: regions, then who and what failed."""
    regions: dict[str, list[int]] = {}
    for row in document["producers"]:
        sums = regions.setdefault(row["region"], [0, 0, 0])
        for index, name in enumerate(("batches", "checked", "failed")):
            sums[index] += row[name]
    failures = document["failures"]
    return [
        f"{document['pool']}:",
        *(
            f"  region {region}: {batches} batches, {checked} checked, {failed} failed"
            for region, (batches, checked, failed) in sorted(regions.items())
        ),
        *(
            f"  producer {row['producer']} in {row['region']}: {row['failed']} of "
            f"{row['checked']} failed{', it is still open' if row['open'] else ''}"
            for row in document["producers"]
            if row["failed"]
        ),
        *(
            f"  batch {row['sequence']} of {row['producer']}: {row['fault']}: {row['detail']}"
            for row in failures[:TEXT_ROWS_MAX]
        ),
        *_more(failures),
        *(
            f"  segment {row['segment']} at height {row['height']}: {row['doubt']}"
            for row in document["doubtedValues"][:TEXT_ROWS_MAX]
        ),
    ]


def withholding_document(pool: str, reply: accounting_pb2.WithholdingReply) -> dict[str, Any]:
    """A reply about withholding as JSON has it."""
    return {
        "pool": pool,
        "fromHeight": reply.from_height,
        "accounts": reply.accounts,
        "rows": [
            {
                "account": row.account,
                "login": row.login,
                "shares": row.shares,
                "weight": row.weight,
                "found": row.found,
                "expected": row.expected,
                "probability": row.probability,
                "adjusted": row.adjusted,
            }
            for row in reply.rows
        ],
    }


def withholding_lines(document: dict[str, Any]) -> list[str]:
    """The same for people, with what such a table cannot say."""
    rows = document["rows"]
    head = (
        f"{document['pool']}: {document['accounts']} accounts from height "
        f"{document['fromHeight']} on; of so many, some are unlucky: "
        '"of all" bounds the chance that any of them looks so by luck alone'
    )
    return [
        head,
        *(
            f"  {row['login']}: found {row['found']}, expected {row['expected']:.2f}; "
            f"chance {row['probability']:.2g}, of all {row['adjusted']:.2g}"
            for row in rows[:TEXT_ROWS_MAX]
        ),
        *_more(rows),
    ]


def _more(rows: list[Any]) -> list[str]:
    left = len(rows) - TEXT_ROWS_MAX
    return [f"  and {left} more: -o json lists them"] if left > 0 else []
