"""Addresses of pools, and the rule by which a miner lets itself be sent elsewhere."""

import pytest

from pithead.miner.endpoint import BadUrl, Endpoint, parse_url, reconnect_target

pytestmark = pytest.mark.gate


@pytest.mark.parametrize(
    ("url", "endpoint"),
    [
        ("stratum+tcp://eu.pool.example:3333", Endpoint("eu.pool.example", 3333)),
        ("tcp://127.0.0.1:1", Endpoint("127.0.0.1", 1)),
        ("stratum+ssl://Pool.example:443", Endpoint("pool.example", 443, tls=True)),
        ("stratum+tls://pool.example:443/", Endpoint("pool.example", 443, tls=True)),
        ("localhost:3333", Endpoint("localhost", 3333)),
        ("stratum+tcp://[::1]:3333", Endpoint("::1", 3333)),
    ],
)
def test_the_usual_addresses_are_understood(url: str, endpoint: Endpoint) -> None:
    assert parse_url(url) == endpoint


@pytest.mark.parametrize(
    "url",
    ["", "http://pool:80", "stratum+tcp://", "pool.example", "pool:0", "pool:x", "pool:70000"],
)
def test_other_addresses_are_refused_with_the_form(url: str) -> None:
    with pytest.raises(BadUrl, match=r"stratum\+tcp://HOST:PORT"):
        parse_url(url)


def test_an_endpoint_is_shown_as_it_is_dialled() -> None:
    assert str(Endpoint("::1", 5)) == "[::1]:5"
    assert str(Endpoint("pool", 5)) == "pool:5"


EU = Endpoint("eu.pool.tld", 3333, tls=True)


@pytest.mark.parametrize(
    ("current", "host", "port", "expected"),
    [
        (EU, "", 0, EU),
        (EU, "", 4444, Endpoint("eu.pool.tld", 4444, tls=True)),
        (EU, "EU.pool.tld", 0, EU),
        (EU, "us.pool.tld", 3334, Endpoint("us.pool.tld", 3334, tls=True)),
        (EU, "us.pool.evil", 0, None),
        (EU, "pool.tld", 0, None),
        (EU, "eu.pool.tld.evil.com", 0, None),
        (EU, "evil.com", 0, None),
        (EU, ".pool.tld", 0, None),
        (EU, "10.0.0.1", 0, None),
        (EU, "::1", 0, None),
        (EU, "", 70000, None),
        (Endpoint("127.0.0.1", 1), "", 2, Endpoint("127.0.0.1", 2)),
        (Endpoint("127.0.0.1", 1), "127.0.0.1", 2, Endpoint("127.0.0.1", 2)),
        (Endpoint("127.0.0.1", 1), "10.0.0.1", 2, None),
        (Endpoint("127.0.0.1", 1), "evil.0.0.1", 2, None),
        (Endpoint("localhost", 1), "otherhost", 2, None),
    ],
)
def test_a_miner_stays_with_its_pool(
    current: Endpoint, host: str, port: int, expected: Endpoint | None
) -> None:
    assert reconnect_target(current, host, port) == expected
