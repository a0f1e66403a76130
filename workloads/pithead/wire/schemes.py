"""Tells rewards the schemes of pools and takes the slots that it gives them."""

import json
from collections.abc import Mapping, Sequence

import grpc
import grpc.aio
import msgspec

from pithead.config import PoolRegistration, SlotSettings, Unusable, WireSchemesSettings
from pithead.contracts import rewards_pb2, rewards_pb2_grpc
from pithead.process import RESULT_BYTES_MAX, Result, until_there
from pithead.rpc import REFUSALS, channel

CALL_LIMIT_S = 25.0
"""Above what rewards waits for a node, so that the answer names the node."""
KEPT_OF_SLOT = 2
"""Newest revisions of a slot that are always told: one may be announced and not count yet."""


async def tell_schemes(settings: WireSchemesSettings, *, within_s: float) -> Result:
    """Return the slots by poolId; raises TaskFailed, Unusable when rewards refuses a scheme."""
    slots = {}
    async with channel(settings.rewards) as opened:
        stub = rewards_pb2_grpc.RewardsStub(opened)
        for pool in settings.pools:
            request = schemes_request(pool)

            async def apply(
                request: rewards_pb2.ApplySchemesRequest = request,
            ) -> rewards_pb2.SchemeTable:
                return await stub.ApplySchemes(request, timeout=CALL_LIMIT_S)

            try:
                table = await until_there(apply, _away, within_s)
            except grpc.aio.AioRpcError as error:
                raise Unusable(f"pool {pool.pool}: {error.details()}") from error
            slots[pool.pool] = slots_of(table)
    return {"slots": {pool: _plain(table) for pool, table in told(slots).items()}}


def schemes_request(registration: PoolRegistration) -> rewards_pb2.ApplySchemesRequest:
    """Write the schemes of a pool as rewards' contract has them."""
    return rewards_pb2.ApplySchemesRequest(
        pool=registration.pool,
        coin=registration.coin,
        schemes=[
            rewards_pb2.SchemeSpec(
                name=scheme.name, method=scheme.method, parameters=scheme.parameters
            )
            for scheme in registration.schemes
        ],
    )


def slots_of(table: rewards_pb2.SchemeTable) -> tuple[SlotSettings, ...]:
    """Read the slots that rewards answered."""
    return tuple(
        SlotSettings(
            slot=each.slot,
            scheme=each.scheme,
            revision=each.revision,
            effective_height=each.effective_height,
        )
        for each in table.revisions
    )


def told(
    slots: Mapping[str, Sequence[SlotSettings]], bytes_max: int = RESULT_BYTES_MAX
) -> dict[str, list[SlotSettings]]:
    """Drop the oldest revisions until the result fits where Kubernetes keeps it.

    The share processor was told of them when they were new and never forgets one;
    the two newest of each slot stay.
    """
    kept = {pool: list(table) for pool, table in slots.items()}
    droppable = []
    for pool, table in kept.items():
        for slot in {each.slot for each in table}:
            of_slot = sorted(
                (each for each in table if each.slot == slot),
                key=lambda each: each.effective_height,
            )
            # Oldest first, over all pools: the one with most behind it goes before.
            later = len(of_slot)
            droppable += [
                (index - later, pool, each) for index, each in enumerate(of_slot[:-KEPT_OF_SLOT])
            ]
    for _, pool, each in sorted(droppable, key=lambda item: item[:2]):
        if _size(kept) <= bytes_max:
            break
        kept[pool].remove(each)
    return kept


def _size(slots: Mapping[str, Sequence[SlotSettings]]) -> int:
    told_text = {"slots": {pool: _plain(table) for pool, table in slots.items()}}
    return len(json.dumps(told_text, separators=(",", ":")))


def _plain(table: Sequence[SlotSettings]) -> list[object]:
    return [msgspec.to_builtins(each) for each in table]


def _away(error: Exception) -> str:
    if not isinstance(error, grpc.aio.AioRpcError) or error.code() in REFUSALS:
        return ""
    return f"rewards does not answer: {error.details() or error.code().name}"
