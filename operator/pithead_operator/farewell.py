"""Answers for what is done once, beside the operator: before the chart is removed.

Without an operator nobody takes its finalizer off a MiningPool, and a delete
would wait for ever. So the chart's pre-delete hook does it while there is still
somebody with the right to. It takes the Lease first: an operator that still
worked would put the finalizer back.
"""

import asyncio
import logging
from datetime import UTC, datetime

from kubernetes.aio.client import ApiClient

from pithead_operator.lease import NAME, RENEW_SECONDS
from pithead_operator.process import EXIT_FAILED, hub_configuration
from pithead_operator.reconcile.pool import set_finalizer
from pithead_operator.regions.api import ClusterApi, Object
from pithead_operator.regions.errors import ClusterError, Conflict, NotFound
from pithead_operator.regions.kinds import LEASE, MINING_POOL
from pithead_operator.settings import OperatorSettings

log = logging.getLogger(__name__)

SECONDS_MAX = 60.0
HOLDER = "farewell"
HOLD_SECONDS = 60
"""For so long no operator begins to work: the chart is gone by then."""
AGAIN_SECONDS = 0.2


async def say_farewell(settings: OperatorSettings) -> int:
    """Do both at the hub; returns an exit code. Raises Unusable when the hub is not known."""
    api = ClusterApi(ApiClient(await hub_configuration(settings)), "")
    try:
        async with asyncio.timeout(SECONDS_MAX):
            await silence(api, settings.namespace)
            found, _ = await api.list(MINING_POOL, "")
            for item in found:
                await release_pool(api, item)
    except (ClusterError, TimeoutError) as error:
        log.error("not all pools were let go: %s", str(error) or "it took too long")
        return EXIT_FAILED
    finally:
        await api.close()
    return 0


async def silence(api: ClusterApi, namespace: str) -> None:
    """Take the Lease from whoever works, and wait until it has noticed; raises ClusterError."""
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    # Without a version: the holder renews it all the time, and must lose.
    body: Object = {
        "spec": {
            "holderIdentity": HOLDER,
            "acquireTime": now,
            "renewTime": now,
            "leaseDurationSeconds": HOLD_SECONDS,
        }
    }
    try:
        await api.merge(LEASE, namespace, NAME, body)
    except NotFound:
        return
    await asyncio.sleep(2 * RENEW_SECONDS)


async def release_pool(api: ClusterApi, item: Object) -> None:
    """Take our finalizer off a pool, however often others change it; raises ClusterError."""
    while True:
        try:
            await set_finalizer(api, item, held=False)
            return
        except Conflict:
            await asyncio.sleep(AGAIN_SECONDS)
        meta = item["metadata"]
        try:
            item = await api.get(MINING_POOL, meta["namespace"], meta["name"])
        except NotFound:
            return
