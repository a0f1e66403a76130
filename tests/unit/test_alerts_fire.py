"""Alerts fire when they should and rest when they should, judged by Prometheus' own tool."""

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.alerts import FILES, alerts, named_in

pytestmark = [pytest.mark.full, pytest.mark.needs("promtool")]

QUIET, FIRING = 0, 1
HOURS = 2
RESTS_AT: dict[str, str] = {
    "PitheadNoNode": "1x240",
    "PitheadRelayAway": "1x240",
    "PitheadRegionSilent": "0+30x240",
}
"""Series at which an alert rests, where that is not 0."""
FIRES_AT: dict[str, str] = {
    "PitheadAccountingBehind": "301x240",
    "PitheadLogAway": "31x240",
    "PitheadArchiveBehind": "51x240",
    "PitheadNoNode": "0x240",
    "PitheadRelayAway": "0x240",
    "PitheadRelayBehind": "301x240",
    "PitheadAnalyticsBehind": "901x240",
}
"""Series at which an alert fires, where that is not 1 or, of a counter, growth."""


def series(alert: dict[str, Any], *, firing: bool) -> list[dict[str, str]]:
    """What is scraped each 30 s for two hours, for all metrics that an alert asks for."""
    found = []
    for metric in sorted(named_in(alert["expr"])):
        if not firing:
            values = RESTS_AT.get(alert["alert"], "0x240")
        elif alert["alert"] in FIRES_AT:
            values = FIRES_AT[alert["alert"]]
        else:
            values = "0+1x240" if metric.endswith("_total") else "1x240"
        labels = '{namespace="pithead",pod="a",pool="p",coin="c",region="us",partition="0"}'
        found.append({"series": f"{metric}{labels}", "values": values})
    return found


@pytest.mark.parametrize("firing", [True, False], ids=["fires", "rests"])
def test_alert_fires_and_rests(tmp_path: Path, firing: bool) -> None:
    tests = []
    for alert in alerts():
        name = alert["alert"]
        fired = f'count(ALERTS{{alertname="{name}",alertstate="firing"}}) or vector(0)'
        tests.append(
            {
                "name": name,
                "interval": "30s",
                "input_series": series(alert, firing=firing),
                "promql_expr_test": [
                    {
                        "expr": fired,
                        "eval_time": f"{HOURS}h",
                        "exp_samples": [{"labels": "{}", "value": int(firing)}],
                    }
                ],
            }
        )
    case = {
        "rule_files": [str(file) for file in FILES],
        "evaluation_interval": "30s",
        "tests": tests,
    }
    path = tmp_path / "cases.yaml"
    path.write_text(yaml.safe_dump(case, sort_keys=False))
    done = subprocess.run(
        ["promtool", "test", "rules", str(path)], check=False, capture_output=True, text=True,
        timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_rules_are_good_for_prometheus() -> None:
    done = subprocess.run(
        ["promtool", "check", "rules", "--lint=all", "--lint-fatal", *map(str, FILES)],
        check=False, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
