"""Faults on request."""

import pytest

from pithead.devchain.faults import Faults, hits

pytestmark = pytest.mark.gate


def test_a_fault_ends_after_its_seconds() -> None:
    faults = Faults()
    faults.replace({"refuse": ["getblock"], "seconds": 2.5}, 1000)
    assert faults.plan(3499).refuse == ("getblock",)
    assert faults.plan(3500).refuse == ()


def test_a_fault_without_seconds_ends_with_the_next_call() -> None:
    faults = Faults()
    faults.replace({"delay_ms": 5}, 1000)
    assert faults.plan(1 << 60).delay_ms == 5
    faults.replace({}, 2000)
    assert faults.plan(2000).delay_ms == 0


def test_unknown_faults_are_refused() -> None:
    with pytest.raises(ValueError, match="explode"):
        Faults().replace({"explode": True}, 0)


def test_names_lists_and_the_star_hit_and_the_way_out_never() -> None:
    assert hits("a", "a")
    assert not hits("a", "b")
    assert hits(("a", "b"), "b")
    assert hits("*", "anything")
    assert not hits("*", "devchain_fault")
    assert not hits("*", "stop")
    assert not hits((), "a")
