"""Names of topics and versions of records."""

import pytest

from pithead.log import topics
from pithead.log.topics import FORMAT, accepts, blocks_topic, shares_topic

pytestmark = pytest.mark.gate


def test_topics_carry_the_pool_id() -> None:
    assert shares_topic("default.example") == "shares.default.example"
    assert blocks_topic("default.example") == "blocks.default.example"


def test_the_own_version_is_accepted_and_a_newer_or_absurd_one_is_not() -> None:
    assert accepts(FORMAT)
    assert not accepts(FORMAT + 1)
    assert not accepts(0)


def test_two_versions_back_are_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topics, "FORMAT", 7)
    assert [version for version in range(10) if accepts(version)] == [5, 6, 7]
