from pathlib import Path

import pytest

from pithead.config import (
    CoinSettings,
    LedgerSettings,
    NodeSettings,
    PayoutsSettings,
    SettingsError,
    from_json,
    load,
    store,
    to_json,
)

pytestmark = pytest.mark.gate

PAYOUTS = PayoutsSettings(
    database="sqlite+aiosqlite:////tmp/payouts.db",
    socket=Path("/tmp/payouts.sock"),
    coins=(
        CoinSettings(
            name="litecoin",
            coin="litecoin",
            network="regtest",
            nodes=(NodeSettings(name="main", url="http://n:1", user="u", password="secret"),),
        ),
    ),
    policies=(),
    shares_socket=Path("/tmp/shares.sock"),
    ledger_socket=Path("/tmp/ledger.sock"),
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
            '{"database": "x", "socket": "y", "colour": 1}', "unknown field `colour`", id="unknown"
        ),
        pytest.param('{"database": "x"}', "missing required field `socket`", id="half-given"),
        pytest.param('{"database": 5, "socket": "y"}', r"got `int` - at `\$.database`", id="type"),
        pytest.param('{"database": "x", "socket": 7}', r"for a path, got `int`", id="path"),
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
