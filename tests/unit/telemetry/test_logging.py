"""What a log line is."""

import logging
import sys

import pytest

from pithead.telemetry import OneLine

pytestmark = pytest.mark.gate


def test_foreign_text_can_not_pass_for_another_record() -> None:
    foreign = "miner\n2026-01-01 ERROR ledger: all is lost\r\x1b[2J\u2028\x9b"
    record = logging.LogRecord("n", logging.INFO, "f", 1, "hello %s", (foreign,), None)
    line = OneLine("%(levelname)s %(message)s").format(record)
    assert line == (r"INFO hello miner\n2026-01-01 ERROR ledger: all is lost\r\x1b[2J\u2028\x9b")


def test_a_traceback_keeps_its_lines() -> None:
    try:
        raise ValueError("wrong")
    except ValueError:
        record = logging.LogRecord("n", logging.ERROR, "f", 1, "it failed", (), sys.exc_info())
    lines = OneLine("%(message)s").format(record).splitlines()
    assert (lines[0], lines[1], lines[-1]) == (
        "it failed",
        "Traceback (most recent call last):",
        "ValueError: wrong",
    )
