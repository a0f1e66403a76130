"""Metrics of connection pools, of all engines of a process together.

Pools are asked when the metrics are, so nothing is counted on anybody's way.
"""

from collections.abc import Callable
from weakref import WeakSet

from prometheus_client import Counter, Gauge
from sqlalchemy import Engine
from sqlalchemy.pool import QueuePool

MOST = Gauge("pithead_store_connections_max", "Connections that may be open to databases")
IN_USE = Gauge("pithead_store_connections_in_use", "Connections that a transaction has")
IDLE = Gauge("pithead_store_connections_idle", "Open connections that no transaction has")
WAITING = Gauge("pithead_store_transactions_waiting", "Transactions that wait for a connection")
WAITED_IN_VAIN = Counter(
    "pithead_store_waits_given_up_total", "Transactions that got no connection in time"
)

_ENGINES: WeakSet[Engine] = WeakSet()


def watch(engine: Engine) -> None:
    """Count the pool of an engine for as long as it is there."""
    _ENGINES.add(engine)


def _sum(look: Callable[[QueuePool], int]) -> float:
    pools = [engine.pool for engine in list(_ENGINES)]
    return sum(look(pool) for pool in pools if isinstance(pool, QueuePool))


def _most(pool: QueuePool) -> int:
    return pool.size() + pool._max_overflow


MOST.set_function(lambda: _sum(_most))
IN_USE.set_function(lambda: _sum(QueuePool.checkedout))
IDLE.set_function(lambda: _sum(QueuePool.checkedin))
