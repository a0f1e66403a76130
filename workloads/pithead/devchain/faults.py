"""Faults that a test or demo asks the node for, by the RPC `devchain_fault`.

Its one parameter is an object; every call replaces all faults, and `{}` ends them:

    {"seconds": 3, ...}                 all of it ends by itself after 3 s
    {"refuse": "getblocktemplate"}      these methods (a name, a list, or "*") answer error -1
    {"hang": "submitblock"}             these methods do not answer until the fault ends
    {"drop": "*"}                       the connection is cut instead of an answer
    {"garble": "getblocktemplate"}      half of the answer is sent
    {"swallow": "submitblock"}          answers null and does nothing: a node that lies
    {"delay_ms": 500}                   every answer comes so much later
    {"initialblockdownload": true}      the node is syncing: says so, and gives no templates
    {"disconnected": true}              the node has no peers: gives no templates

`devchain_fault` and `stop` always work. A fault is not kept over a restart.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

Methods = str | tuple[str, ...]

NEVER_MS = 1 << 62
EXEMPT = frozenset({"devchain_fault", "stop"})


class Plan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The object that `devchain_fault` takes."""

    seconds: float | None = None
    refuse: Methods = ()
    hang: Methods = ()
    drop: Methods = ()
    garble: Methods = ()
    swallow: Methods = ()
    delay_ms: int = 0
    initialblockdownload: bool = False
    disconnected: bool = False


class Faults:
    """The faults in force at a moment."""

    def __init__(self) -> None:
        self._plan = Plan()
        self._until_ms = NEVER_MS

    def replace(self, wanted: Mapping[str, Any], now_ms: int) -> None:
        """Put new faults in place of the old; raises ValueError that names what is wrong."""
        self._plan = msgspec.convert(wanted, Plan)
        seconds = self._plan.seconds
        self._until_ms = NEVER_MS if seconds is None else now_ms + int(seconds * 1000)

    def plan(self, now_ms: int) -> Plan:
        """What is in force."""
        return self._plan if now_ms < self._until_ms else Plan()


def hits(names: Methods, method: str) -> bool:
    """Whether a fault of these methods meets `method`."""
    if method in EXEMPT:
        return False
    return names in ("*", method) if isinstance(names, str) else method in names
