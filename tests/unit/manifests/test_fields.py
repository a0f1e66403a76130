"""Texts of manifests: what each admits, on both sides of each bound."""

import re
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from pithead.manifests import fields
from pithead.manifests.fields import Text

pytestmark = pytest.mark.gate

GOOD: list[tuple[str, Any]] = [
    ("Name", "a"),
    ("Name", "a" * 40),
    ("Name", "eu-btc-2"),
    ("SecretName", "litecoind.rpc"),
    ("PoolId", "default.quickstart"),
    ("PoolId", "a" * 104),
    ("RegionId", "eu-west-1"),
    ("ListenerName", "a" * 15),
    ("ListenerName", "a-b-1"),
    ("ClusterName", "us-east"),
    ("Hostname", "eu.pool.example.org"),
    ("Hostname", "1.a-b.example"),
    ("HostPort", "kafka-0.kafka:9092"),
    ("HostPort", "192.0.2.1:65535"),
    ("HostPort", "[2001:db8::1]:9092"),
    ("ServerName", "postgres"),
    ("ServerName", "2001:db8::1"),
    ("DatabaseName", "pithead_1"),
    ("CronSchedule", "* * * * *"),
    ("CronSchedule", "0 * * * *"),
    ("CronSchedule", "*/15 0-23/2 1,15,31 1-12 0,6"),
    ("CronSchedule", "5/10 23 31 12 6"),
    ("AnnotationValue", "a: b\nc"),
    ("CoinName", "bitcoin-cash"),
    ("NetworkName", "testnet4"),
    ("WalletName", "Pool_1"),
    ("NodeUrl", "http://127.0.0.1:19332"),
    ("NodeUrl", "http://node.coins.svc.cluster.local:8332"),
    ("NodeUrl", "http://[::1]:8332"),
    ("Host", "0.0.0.0"),
    ("Host", "::1"),
    ("CoinAmount", "0.01"),
    ("CoinAmount", 1),
    ("CoinAmount", "0.000000000000000001"),
    ("Percent", 0),
    ("Percent", "0"),
    ("Percent", "99.9999"),
    ("Factor", "0.000001"),
    ("Factor", 9999),
    ("Weight", "9" * 38),
    ("Weight", 1),
    ("Difficulty", "0.000031"),
    ("Difficulty", 10**18 - 1),
]
BAD: list[tuple[str, Any]] = [
    ("Name", ""),
    ("Name", "a" * 41),
    ("Name", "Upper"),
    ("Name", "-a"),
    ("Name", "a-"),
    ("Name", "a\n"),
    ("Name", "1a"),
    ("Name", 5),
    ("Name", None),
    ("PoolId", "a/b"),
    ("PoolId", "../x"),
    ("PoolId", "a" * 105),
    ("ListenerName", "a" * 16),
    ("NodeUrl", "https://127.0.0.1:1"),
    ("NodeUrl", "http://127.0.0.1"),
    ("NodeUrl", "http://user:word@127.0.0.1:19332"),
    ("NodeUrl", "http://127.0.0.1:19332/wallet"),
    ("NodeUrl", "http://127.0.0.1:0"),
    ("NodeUrl", "http://127.0.0.1:65536"),
    ("ListenerName", "a--b"),
    ("ListenerName", "a-"),
    ("ClusterName", "US"),
    ("ClusterName", "a" * 41),
    ("Hostname", "localhost"),
    ("Hostname", "192.0.2.1"),
    ("Hostname", "*.example.org"),
    ("Hostname", "Eu.example.org"),
    ("Hostname", "eu..example.org"),
    ("Hostname", "a" * 64 + ".example.org"),
    ("Hostname", "eu.example.org."),
    ("HostPort", "kafka"),
    ("HostPort", "kafka:0"),
    ("HostPort", "kafka:65536"),
    ("HostPort", "SSL://kafka:9092"),
    ("ServerName", "postgres:5432"),
    ("DatabaseName", "Pithead"),
    ("DatabaseName", 'a"; drop'),
    ("CronSchedule", "@hourly"),
    ("CronSchedule", "* * * *"),
    ("CronSchedule", "* * * * * *"),
    ("CronSchedule", "60 * * * *"),
    ("CronSchedule", "* 24 * * *"),
    ("CronSchedule", "* * 0 * *"),
    ("CronSchedule", "* * 32 * *"),
    ("CronSchedule", "* * * 13 *"),
    ("CronSchedule", "* * * * 7"),
    ("CronSchedule", "*/0 * * * *"),
    ("CronSchedule", "0  * * * *"),
    ("CronSchedule", "TZ=UTC 0 * * * *"),
    ("AnnotationValue", "a" * 1025),
    ("Host", "localhost"),
    ("CoinAmount", "0"),
    ("CoinAmount", "0.0"),
    ("CoinAmount", 0),
    ("CoinAmount", -1),
    ("CoinAmount", 0.01),
    ("CoinAmount", True),
    ("CoinAmount", "1e3"),
    ("CoinAmount", "01"),
    ("CoinAmount", ".5"),
    ("CoinAmount", "5."),
    ("CoinAmount", "0.0000000000000000001"),
    ("CoinAmount", "\uff11"),
    ("Percent", "100"),
    ("Percent", 100),
    ("Percent", "1.00001"),
    ("Percent", "-1"),
    ("Factor", "0"),
    ("Factor", 10_000),
    ("Factor", "0.0000001"),
    ("Weight", "0"),
    ("Weight", "1.5"),
    ("Weight", "9" * 39),
    ("Difficulty", "0.000000"),
    ("Difficulty", 10**18),
]


@pytest.mark.parametrize(("name", "value"), GOOD, ids=str)
def test_allowed_value_is_read_as_its_text(name: str, value: Any) -> None:
    assert TypeAdapter(getattr(fields, name)).validate_python(value) == str(value)


@pytest.mark.parametrize(("name", "value"), BAD, ids=repr)
def test_other_value_is_refused(name: str, value: Any) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(getattr(fields, name)).validate_python(value)


def texts() -> dict[str, Text]:
    """Every Text that a type of the module carries."""
    found = {}
    for name, value in vars(fields).items():
        for metadata in getattr(value, "__metadata__", ()):
            if isinstance(metadata, Text):
                found[name] = metadata
    return found


@pytest.mark.parametrize("name", sorted(texts()))
def test_pattern_is_anchored_and_reads_alike_in_re2(name: str) -> None:
    pattern = texts()[name].pattern
    assert pattern.startswith("^")
    assert pattern.endswith("$")
    # RE2 knows no look-around and no back-references, and caps repeats at 1000.
    assert not re.search(r"\(\?|\\[1-9]", pattern)
    assert all(int(n) <= 1000 for n in re.findall(r"[{,]([0-9]+)(?=[,}])", pattern))


@given(st.decimals("0.000000000000000001", "999999999999", places=6, allow_nan=False))
def test_every_amount_above_zero_that_fits_is_allowed(amount: Decimal) -> None:
    written = f"{amount:f}"
    fits = amount > 0 and len(written) <= 20
    text = texts()["CoinAmount"]
    assert (re.fullmatch(text.pattern, written) is not None) == (amount > 0)
    if fits:
        assert text.check(written) == written
