"""Records of shares and their sums."""

import pytest

from pithead.miner.record import Answer, Tally, record_of, total
from pithead.miner.work import ALGORITHMS, Searcher
from tests.unit.miner.pool import SALT, SERIAL
from tests.unit.miner.test_work import work

pytestmark = pytest.mark.gate


def test_a_record_names_the_share_completely() -> None:
    searcher = Searcher(ALGORITHMS["sha256d"])
    searcher.set_work(work(1))
    (solution,) = searcher.search(1)
    record = record_of("a.b", solution, Answer.ERROR, 21, "stale")
    assert (record.login, record.salt, record.job) == ("a.b", SALT, f"{SERIAL:x}")
    assert record.extranonce1 == bytes([1, 0, 0, 0, 5])
    assert (record.extranonce2, record.nonce) == (bytes(8), 0)
    assert record.version == solution.version
    assert (record.answer, record.code, record.text) == (Answer.ERROR, 21, "stale")


def test_tallies_count_by_answer_and_code_and_add_up() -> None:
    searcher = Searcher(ALGORITHMS["sha256d"])
    searcher.set_work(work(1))
    (solution,) = searcher.search(1)
    tally = Tally(connections=1, hashes=10)
    for answer, code in [
        (Answer.TRUE, None),
        (Answer.TRUE, None),
        (Answer.FALSE, None),
        (Answer.ERROR, 21),
        (Answer.ERROR, 21),
        (Answer.NONE, None),
    ]:
        tally.count(record_of("a", solution, answer, code))
    both = total([tally, tally])
    assert (both.accepted, both.unanswered, both.submitted) == (4, 2, 12)
    assert both.rejected == {None: 2, 21: 4}
    assert (both.connections, both.hashes) == (2, 20)
