from pathlib import Path
from typing import Any

import msgspec
import pytest

from pithead.config import (
    ChecksSettings,
    CoinSettings,
    KafkaSettings,
    LedgerSettings,
    LogSettings,
    NodeSettings,
    PayoutsSettings,
    PeerSettings,
    RewardsSettings,
    ServeSettings,
    SettingsError,
    SharesSettings,
    TlsFiles,
    from_json,
    load,
    store,
    to_json,
)
from tests.support.doors import peer, served

pytestmark = pytest.mark.gate

SERVE = '{"address": "unix:/tmp/s"}'

PAYOUTS = PayoutsSettings(
    database="sqlite+aiosqlite:////tmp/payouts.db",
    serve=served(Path("/tmp/payouts.sock")),
    coins=(
        CoinSettings(
            name="litecoin",
            coin="litecoin",
            network="regtest",
            nodes=(NodeSettings(name="main", url="http://n:1", user="u", password="secret"),),
        ),
    ),
    policies=(),
    shares=peer(Path("/tmp/shares.sock")),
    ledger=peer(Path("/tmp/ledger.sock")),
)


def test_settings_come_back_as_they_were_stored(tmp_path: Path) -> None:
    store(tmp_path / "payouts.json", PAYOUTS)
    assert load(tmp_path / "payouts.json", PayoutsSettings) == PAYOUTS
    assert from_json(to_json(PAYOUTS), PayoutsSettings) == PAYOUTS


def test_stored_settings_are_private_even_over_an_open_file(tmp_path: Path) -> None:
    path = tmp_path / "payouts.json"
    path.touch(mode=0o644)
    store(path, PAYOUTS)
    assert path.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param(
            f'{{"database": "x", "serve": {SERVE}, "colour": 1}}',
            "unknown field `colour`",
            id="unknown",
        ),
        pytest.param('{"database": "x"}', "missing required field `serve`", id="half-given"),
        pytest.param(
            f'{{"database": 5, "serve": {SERVE}}}', r"got `int` - at `\$.database`", id="type"
        ),
        pytest.param(
            '{"database": "x", "serve": {"address": "a:1", "tls": {"certificate": 7, "key": "k"}}}',
            r"for a path, got `int`",
            id="path",
        ),
        pytest.param('{"database"', "truncated", id="cut"),
    ],
)
def test_bad_settings_are_refused_with_file_and_key(
    tmp_path: Path, text: str, message: str
) -> None:
    path = tmp_path / "ledger.json"
    path.write_text(text)
    with pytest.raises(SettingsError, match=rf"ledger\.json: .*{message}"):
        load(path, LedgerSettings)


def test_missing_settings_are_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"absent\.json: no such settings file"):
        load(tmp_path / "absent.json", LedgerSettings)


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "ledger.json"
    path.write_text(text)
    return path


def test_secret_comes_from_the_file_that_stands_for_it(tmp_path: Path) -> None:
    secret = tmp_path / "url"
    secret.write_text("  postgresql://secret\n")
    path = written(tmp_path, f'{{"database": "fromFile:{secret}", "serve": {SERVE}}}')
    assert load(path, LedgerSettings).database == "postgresql://secret"


def test_secrets_are_found_however_deep(tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("geheim")
    coin = msgspec.structs.replace(
        PAYOUTS.coins[0],
        nodes=(msgspec.structs.replace(PAYOUTS.coins[0].nodes[0], password=f"fromFile:{secret}"),),
    )
    store(tmp_path / "payouts.json", msgspec.structs.replace(PAYOUTS, coins=(coin,)))
    found = load(tmp_path / "payouts.json", PayoutsSettings)
    assert found.coins[0].nodes[0].password == "geheim"


@pytest.mark.parametrize(
    ("content", "value", "message"),
    [
        (None, "{}", r"url can not be read \(No such file or directory\): .*mounted"),
        (b" \n", "{}", "url is empty"),
        (b"\xff\xfe", "{}", "url is not UTF-8"),
        (b"x", "url", "the file url is not named by an absolute path"),
        (b"x", "", r"the file \(none\) is not named"),
    ],
    ids=["absent", "empty", "binary", "relative", "nameless"],
)
def test_unreadable_secret_is_told_with_file_and_key(
    tmp_path: Path, content: bytes | None, value: str, message: str
) -> None:
    secret = tmp_path / "url"
    if content is not None:
        secret.write_bytes(content)
    value = value.format(secret) if value == "{}" else value
    path = written(tmp_path, f'{{"database": "fromFile:{value}", "serve": {SERVE}}}')
    with pytest.raises(SettingsError, match=rf"ledger\.json: .*{message}.* at `\$\.database`"):
        load(path, LedgerSettings)


TLS = TlsFiles(certificate=Path("/c"), key=Path("/k"), ca=Path("/ca"))


@pytest.mark.parametrize("shape", [ServeSettings, PeerSettings])
@pytest.mark.parametrize(
    ("address", "tls", "message"),
    [
        ("0.0.0.0:9500", None, "needs `tls`, as other machines can reach it"),
        ("ledger:9500", None, "needs `tls`"),
        ("ledger", TLS, "`host:port`"),
        ("ledger:99999", TLS, "`host:port`"),
        (":9500", TLS, "`host:port`"),
        ("unix:/s", TLS, "a unix socket has no TLS"),
        ("ledger:9500", msgspec.structs.replace(TLS, ca=None), "needs a `ca`"),
    ],
)
def test_address_that_is_not_safe_is_refused(
    shape: type[ServeSettings | PeerSettings], address: str, tls: TlsFiles | None, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        shape(address=address, tls=tls)


@pytest.mark.parametrize("address", ["127.0.0.1:1", "[::1]:1", "localhost:1", "unix:/s"])
def test_address_of_this_machine_alone_needs_no_tls(address: str) -> None:
    assert ServeSettings(address=address).tls is None


def test_log_is_either_files_or_kafka() -> None:
    kafka = KafkaSettings(bootstrap_servers=("k:9092",))
    both: dict[str, Any] = {"directory": Path("/log"), "kafka": kafka}
    for both_or_none in ({}, both):
        with pytest.raises(ValueError, match="either `directory` or `kafka`"):
            LogSettings(**both_or_none)
    assert LogSettings(kafka=kafka).directory is None


def test_a_hub_twice_over_stays_below_a_servers_usual_hundred_connections() -> None:
    services = (LedgerSettings, PayoutsSettings, RewardsSettings, SharesSettings)
    sizes = [
        field.default.most
        for service in services
        for field in msgspec.structs.fields(service)
        if field.name == "connections"
    ]
    assert len(sizes) == len(services)
    # Three of the hundred are the superuser's.
    assert 2 * sum(sizes) <= 97


@pytest.mark.parametrize("wrong", ['{"most": 0}', '{"wait_s": 0}', '{"statement_s": -1.0}'])
def test_limits_that_leave_nothing_are_refused(wrong: str) -> None:
    text = f'{{"database": "x", "serve": {SERVE}, "connections": {wrong}}}'
    with pytest.raises(msgspec.ValidationError, match=r"`most` is at least 1.*connections"):
        from_json(text.encode(), LedgerSettings)


def test_percentages_of_checks_are_percentages() -> None:
    assert ChecksSettings(scrypt_percent=7).percent("scrypt") == 7
    assert ChecksSettings().percent("sha256d") == 100
    with pytest.raises(ValueError, match="scrypt_percent is 0 to 100"):
        ChecksSettings(scrypt_percent=101)
