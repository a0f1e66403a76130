"""File descriptors: every connection needs one, and the log and the nodes must never go without."""

import logging
import resource

import msgspec

from pithead.config import StratumSettings

RESERVED = 256
"""For everything but miners: log files, node connections, status calls, libraries."""

logger = logging.getLogger(__name__)


def connections_possible(limit: int, wanted: int) -> int:
    """Return how many of the wanted connections fit under a limit of open files; at least 1."""
    if limit == resource.RLIM_INFINITY:
        return wanted
    return max(1, min(wanted, limit - RESERVED))


def with_descriptors(settings: StratumSettings) -> StratumSettings:
    """Raise this process's limit of open files to what the settings need, or lower the settings.

    Shells and supervisors start processes with 1024 as a rule. Above the hard limit
    only an administrator can go: connections are bounded below it then.
    """
    wanted = settings.limits.connections_max
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if connections_possible(soft, wanted) < wanted:
        soft = hard if hard != resource.RLIM_INFINITY else wanted + RESERVED
        soft = min(soft, wanted + RESERVED)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    possible = connections_possible(soft, wanted)
    if possible == wanted:
        return settings
    logger.info(
        "only %d of %d connections: this process may open no more than %d files; "
        "raise its hard limit (LimitNOFILE, ulimit -Hn)",
        possible,
        wanted,
        soft,
    )
    limits = msgspec.structs.replace(settings.limits, connections_max=possible)
    return msgspec.structs.replace(settings, limits=limits)
