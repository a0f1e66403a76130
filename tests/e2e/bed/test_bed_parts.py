"""The bed's own decisions, without a cluster."""

import ipaddress
from pathlib import Path

import pytest

from tests.e2e.bed import build
from tests.e2e.bed.addresses import BRIDGE_PREFIX, HOST, REGIONS
from tests.e2e.bed.assigner import Pool
from tests.e2e.bed.waiting import BedFailed, until

pytestmark = pytest.mark.gate

NETWORK = "192.0.2.0/29"
"""Six addresses."""


def test_services_have_addresses_of_their_own() -> None:
    pool = Pool(NETWORK)
    assert len({pool.take(f"uid-{number}", None) for number in range(6)}) == 6
    with pytest.raises(LookupError, match="taken"):
        pool.take("uid-6", None)


def test_service_keeps_its_address() -> None:
    pool = Pool(NETWORK)
    first = pool.take("a", None)
    assert pool.take("a", first) == first
    assert pool.take("a", None) == first


def test_address_in_a_status_is_kept_after_a_restart() -> None:
    pool = Pool(NETWORK)
    assert pool.take("a", "192.0.2.5") == "192.0.2.5"
    assert pool.take("b", "192.0.2.5") != "192.0.2.5"


def test_address_that_is_not_the_regions_is_replaced() -> None:
    assert Pool(NETWORK).take("a", "203.0.113.1") != "203.0.113.1"


def test_address_that_came_back_is_the_last_to_be_given_again() -> None:
    pool = Pool(NETWORK)
    first = pool.take("a", None)
    pool.give_back("a")
    others = [pool.take(f"uid-{number}", None) for number in range(6)]
    assert others[-1] == first


def test_services_that_are_gone_are_forgotten() -> None:
    pool = Pool(NETWORK)
    for number in range(6):
        pool.take(f"uid-{number}", None)
    pool.keep_only(["uid-0"])
    assert pool.take("new", None)


def test_networks_of_the_bed_do_not_meet() -> None:
    networks = [ipaddress.ip_network(f"{HOST}/{BRIDGE_PREFIX}", strict=False)]
    for region in REGIONS.values():
        assert ipaddress.ip_address(region.node) in networks[0]
        networks += map(ipaddress.ip_network, (region.pods, region.balancers, region.services))
    for index, network in enumerate(networks):
        assert not any(network.overlaps(other) for other in networks[index + 1 :])


def test_changed_recipe_is_kept_under_another_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pause").mkdir()
    main = tmp_path / "pause" / "main.go"
    monkeypatch.setattr(build, "RECIPES", tmp_path)
    main.write_text("package main")
    first = build.key("pause")
    main.write_text("package  main")
    assert build.key("pause") != first
    main.write_text("package main")
    assert build.key("pause") == first


def test_wait_that_fails_tells_what_was_seen_last() -> None:
    with pytest.raises(
        BedFailed, match=r"(?s)the tide: not within 0.* \(last: 0\).*wind from west"
    ):
        until("the tide", lambda: 0, limit_s=0, diagnose=lambda: "wind from west")
