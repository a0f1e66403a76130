import pytest

from pithead.log.share_log import LogRecord
from pithead.shares.relay.waiting import Backlog

pytestmark = pytest.mark.gate


def test_what_waits_is_estimated_from_what_was_read() -> None:
    backlog = Backlog(stored={("t", "0"): 100}, ends={("t", "0"): 400, ("t", "1"): 50})
    assert backlog.waiting(("t", "0")) == (300, 0), "nothing is known of its records"
    backlog.read("t", [LogRecord(0, 30, b"x" * 20), LogRecord(30, 60, b"x" * 22)])
    assert backlog.waiting(("t", "0")) == (10, 210)
    assert backlog.waiting(("t", "1")) == (2, 35)
    backlog.stored["t", "0"] = 400
    assert backlog.waiting(("t", "0")) == (0, 0)
    assert backlog.waiting(("t", "9")) == (0, 0)


def test_a_backlog_is_as_old_as_the_moment_when_there_was_none() -> None:
    backlog = Backlog(stored={("t", "0"): 5}, ends={("t", "0"): 9})
    backlog.measured("t", 100.0)
    backlog.measured("t", 130.0)
    assert backlog.behind_s("t", 130.0) == 30.0
    backlog.stored["t", "0"] = 9
    backlog.measured("t", 140.0)
    assert backlog.behind_s("t", 141.0) == 1.0
