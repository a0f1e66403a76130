"""Tiers, time limits, and what a machine must have for a test to run."""

import importlib.util
import json
import os
import shutil
from pathlib import Path

import hypothesis
import pytest

from tests.e2e.bed.machine import no_cluster, no_containers
from tests.support.kafka import no_kafka
from tests.support.postgresql import postgresql_program

# A loaded machine must not fail a law for being slow; each test has its own time limit.
hypothesis.settings.register_profile("pithead", deadline=None, print_blob=True)
hypothesis.settings.load_profile("pithead")

TIERS = ("gate", "full", "proof")

pytest_plugins = [
    "tests.e2e.bed.fixtures",
    "tests.support.database_fixtures",
    "tests.support.columnar",
]

REMEDIES = {
    "litecoind": "the program litecoind is missing (Debian: apt-get install litecoind)",
    "promtool": "the program promtool is missing (Debian: apt-get install prometheus)",
    "git": "the program git is missing",
    "postgres": "PostgreSQL's server is missing (Debian: apt-get install postgresql)",
    "pgbouncer": "the program pgbouncer is missing (Debian: apt-get install pgbouncer)",
}


def no_chdb() -> str | None:
    """Why chdb cannot be had."""
    there = importlib.util.find_spec("chdb") is not None
    return None if there else "chdb is missing (pip install 'pithead[embedded]')"


def no_clickhouse() -> str | None:
    """Why ClickHouse's server cannot be had."""
    there = _has("clickhouse-server")
    return None if there else "clickhouse-server is missing (Debian: apt-get install it)"


ABILITIES = {
    "cluster": no_cluster,
    "containers": no_containers,
    "kafka": no_kafka,
    "chdb": no_chdb,
    "clickhouse": no_clickhouse,
}
"""What takes more than one program: each returns why it cannot be had, or None."""


def pytest_configure(config: pytest.Config) -> None:
    """Declare the markers that are not tiers."""
    config.addinivalue_line(
        "markers", "needs(*names): leave the test out where a program or an ability is missing"
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuse a test without a tier: it would never run."""
    for item in items:
        tiers = [tier for tier in TIERS if item.get_closest_marker(tier)]
        if len(tiers) != 1:
            raise pytest.UsageError(f"{item.nodeid} needs exactly one of the tiers {TIERS}")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Leave out, or in a complete tier fail, a test whose programs are missing."""
    marker = item.get_closest_marker("needs")
    reasons = [_lacking(name) for name in (marker.args if marker else ())]
    reason = "; ".join(text for text in reasons if text)
    if not reason:
        return
    complete = os.environ.get("PITHEAD_COMPLETE_TIERS", "").split(",")
    if any(item.get_closest_marker(tier) for tier in complete if tier):
        pytest.fail(f"nothing of this tier may be left out: {reason}", pytrace=False)
    pytest.skip(reason)


def _lacking(name: str) -> str | None:
    if name in ABILITIES:
        return ABILITIES[name]()
    return None if _has(name) else REMEDIES[name]


def _has(program: str) -> bool:
    """Whether a program is there; Debian keeps some where PATH does not lead."""
    if program == "postgres":
        return postgresql_program(program) is not None
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin") is not None


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Write down what was left out, for the list at the end of all tiers."""
    path = os.environ.get("PITHEAD_LEFT_OUT")
    if report.skipped and path and "PYTEST_XDIST_WORKER" not in os.environ:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        with Path(path).open("a") as file:
            file.write(json.dumps({"test": report.nodeid, "reason": reason}) + "\n")
