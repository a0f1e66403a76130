"""Open files: raised to what the settings need, connections bounded where that is not allowed."""

import resource
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from pithead.coins.node import NodeAddress
from pithead.config import LimitSettings
from pithead.stratum.descriptors import RESERVED, connections_possible, with_descriptors
from tests.support.edge import edge_settings
from tests.unit.stratum.support import DEVCHAIN

pytestmark = pytest.mark.gate

NODE = NodeAddress("n", "http://127.0.0.1:1", "u", "p")


@pytest.fixture
def low_limit() -> Iterator[tuple[int, int]]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    low = (512, before[1])
    resource.setrlimit(resource.RLIMIT_NOFILE, low)
    yield low
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_a_low_limit_is_raised_as_far_as_the_connections_need(
    tmp_path: Path, low_limit: tuple[int, int]
) -> None:
    settings = edge_settings(tmp_path, DEVCHAIN, NODE, limits=LimitSettings(connections_max=800))
    assert with_descriptors(settings) == settings
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (800 + RESERVED, low_limit[1])


def test_connections_are_bounded_below_the_hard_limit(
    tmp_path: Path, low_limit: tuple[int, int]
) -> None:
    hard = low_limit[1]
    if hard == resource.RLIM_INFINITY:
        assert connections_possible(hard, 5) == 5
        return
    limits = LimitSettings(connections_max=hard)
    settings = edge_settings(tmp_path, DEVCHAIN, NODE, limits=limits)
    bounded = with_descriptors(settings)
    assert bounded.limits.connections_max == hard - RESERVED
    assert msgspec.structs.replace(bounded, limits=limits) == settings


def test_at_least_one_connection_is_possible() -> None:
    assert connections_possible(64, 20_000) == 1
