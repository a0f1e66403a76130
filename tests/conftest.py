"""Tiers, time limits, and what a machine must have for a test to run."""

import json
import os
import shutil
from pathlib import Path

import hypothesis
import pytest

# A loaded machine must not fail a law for being slow; each test has its own time limit.
hypothesis.settings.register_profile("pithead", deadline=None, print_blob=True)
hypothesis.settings.load_profile("pithead")

TIERS = ("gate", "full", "proof")

REMEDIES = {
    "litecoind": "the program litecoind is missing (Debian: apt-get install litecoind)",
    "git": "the program git is missing",
}


def pytest_configure(config: pytest.Config) -> None:
    """Declare the markers that are not tiers."""
    config.addinivalue_line(
        "markers", "needs(*programs): leave the test out where a program is missing"
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
    missing = [name for name in (marker.args if marker else ()) if shutil.which(name) is None]
    if not missing:
        return
    reason = "; ".join(REMEDIES[name] for name in missing)
    complete = os.environ.get("PITHEAD_COMPLETE_TIERS", "").split(",")
    if any(item.get_closest_marker(tier) for tier in complete if tier):
        pytest.fail(f"nothing of this tier may be left out: {reason}", pytrace=False)
    pytest.skip(reason)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Write down what was left out, for the list at the end of all tiers."""
    path = os.environ.get("PITHEAD_LEFT_OUT")
    if report.skipped and path and "PYTEST_XDIST_WORKER" not in os.environ:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        with Path(path).open("a") as file:
            file.write(json.dumps({"test": report.nodeid, "reason": reason}) + "\n")
