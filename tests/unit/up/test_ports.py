"""Ports that can not be opened are told in terms of the manifests."""

import socket
import threading

import pytest

from pithead.up.ports import WantedPort, unusable_ports, wanted_ports
from tests.unit.manifests import samples

pytestmark = pytest.mark.gate

FIELD = "spec.listeners[0].port of MiningPool/alpha"


def test_every_port_of_the_pools_and_of_the_built_in_node_is_looked_at() -> None:
    listeners = [samples.listener("a", 3333), samples.listener("b", 4444, host="::1")]
    manifests = samples.load(
        samples.endpoint(), samples.scheme(), samples.pool(listeners=listeners)
    )
    assert list(wanted_ports(manifests)) == [
        WantedPort("127.0.0.1", 19443, "spec.devchain.rpcPort of CoinEndpoint/dev"),
        WantedPort("0.0.0.0", 3333, FIELD),
        WantedPort("::1", 4444, "spec.listeners[1].port of MiningPool/alpha"),
    ]


def test_pool_without_an_active_region_and_a_foreign_node_need_no_port() -> None:
    manifests = samples.load(
        samples.secret(),
        samples.endpoint(coin="litecoin", nodes=[samples.node()]),
        samples.scheme(),
        samples.pool(regions=[{"id": "eu", "state": "Off"}]),
    )
    assert list(wanted_ports(manifests)) == []


def test_port_in_use_is_named_with_the_field_to_change() -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        assert unusable_ports([WantedPort("127.0.0.1", port, FIELD)]) == [
            f"port 127.0.0.1:{port} is in use by another program: stop that one, or change {FIELD}"
        ]
    assert unusable_ports([WantedPort("127.0.0.1", port, FIELD)]) == []


def test_port_that_a_killed_runtime_frees_in_a_moment_is_waited_for() -> None:
    holder = socket.create_server(("127.0.0.1", 0))
    port = holder.getsockname()[1]
    kernel = threading.Timer(0.3, holder.close)
    kernel.start()
    assert unusable_ports([WantedPort("127.0.0.1", port, FIELD)]) == []
    kernel.join()


def test_address_of_another_machine_is_told_as_the_host() -> None:
    assert unusable_ports([WantedPort("192.0.2.7", 3333, FIELD)]) == [
        (
            "192.0.2.7 is not an address of this machine: change "
            "spec.listeners[0].host of MiningPool/alpha"
        )
    ]
