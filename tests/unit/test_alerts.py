"""Alert rules: they ask for metrics that exist, and tell a person what to do."""

import re
from typing import Any

import pytest

from tests.support.alerts import alerts, metrics_of_code, named_in

pytestmark = pytest.mark.gate

ALERTS = alerts()
IDS = [each["alert"] for each in ALERTS]


@pytest.fixture(scope="module")
def metrics() -> set[str]:
    return metrics_of_code()


@pytest.mark.parametrize("alert", ALERTS, ids=IDS)
def test_alert_asks_for_metrics_that_the_code_has(alert: dict[str, Any], metrics: set[str]) -> None:
    wanted = named_in(alert["expr"])
    assert wanted
    assert wanted <= metrics


@pytest.mark.parametrize("alert", ALERTS, ids=IDS)
def test_alert_says_how_bad_it_is_and_what_to_do(alert: dict[str, Any]) -> None:
    assert re.fullmatch(r"Pithead[A-Z][A-Za-z]+", alert["alert"])
    assert alert["labels"]["severity"] in {"critical", "warning"}
    assert alert["annotations"].keys() == {"summary", "description"}
    assert len(alert["annotations"]["description"]) > 30


def test_alerts_have_names_of_their_own() -> None:
    assert len(IDS) == len(set(IDS))
