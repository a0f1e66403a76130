"""The kopf side of the operator: what the hub tells goes to the controller.

Only `on.event` is used: it keeps no state in annotations and puts no finalizers.
What is done about an object, and when, is `reconcile`'s.
"""

from typing import Any

import kopf

from pithead.manifests import GROUP, VERSION

registry = kopf.OperatorRegistry()

REQUEST_SECONDS_MAX = 30.0
WATCH_SECONDS = 240
WORKERS_MAX = 16


@kopf.on.startup(registry=registry)
async def configure(settings: kopf.OperatorSettings, **_: Any) -> None:
    """Bound what kopf leaves open, and keep it from writing anything."""
    settings.posting.enabled = False
    settings.scanning.disabled = True
    settings.networking.request_timeout = REQUEST_SECONDS_MAX
    settings.networking.connect_timeout = REQUEST_SECONDS_MAX
    settings.watching.server_timeout = WATCH_SECONDS
    settings.watching.client_timeout = WATCH_SECONDS + REQUEST_SECONDS_MAX
    settings.watching.connect_timeout = REQUEST_SECONDS_MAX
    settings.queueing.worker_limit = WORKERS_MAX


@kopf.on.login(registry=registry)
async def login(memo: Any, **_: Any) -> kopf.ConnectionInfo:
    """Use the credential that the rest of the operator uses."""
    info: kopf.ConnectionInfo = memo.login()
    return info


@kopf.on.event(GROUP, VERSION, "miningpools", registry=registry)
@kopf.on.event(GROUP, VERSION, "coinendpoints", registry=registry)
@kopf.on.event(GROUP, VERSION, "rewardschemes", registry=registry)
async def observe(event: kopf.RawEvent, memo: Any, **_: Any) -> None:
    """Tell the controller that an object is there, changed, or is gone."""
    memo.controller.observe(dict(event["object"]), deleted=event["type"] == "DELETED")
