"""Answers for the ConfigMap that keeps what Jobs told, so that a Job may go once it was read.

data:
  pithead-wire-wallet-litecoin-0123456789: '{"script":"0014..."}'
  pithead-wire-schemes-0123456789: '{"slots":{...}}'
"""

import json
from collections.abc import Mapping
from typing import Any

from pithead_operator.desired import names
from pithead_operator.desired.inputs import HubInputs, Object
from pithead_operator.desired.names import FACTS
from pithead_operator.desired.objects import config_map

Results = Mapping[str, Mapping[str, Any]]
"""What Jobs told, by Job name."""


def facts_object(inputs: HubInputs, results: Results) -> Object:
    """The ConfigMap with exactly these results."""
    data = {
        name: json.dumps(result, sort_keys=True, separators=(",", ":"))
        for name, result in results.items()
    }
    return config_map(inputs.namespace, FACTS, names.hub_labels(inputs, "wiring"), data)


def read_facts(stored: Object | None) -> dict[str, Mapping[str, Any]]:
    """Results from the ConfigMap; what is not JSON is left out, so that its Job runs again."""
    found: dict[str, Mapping[str, Any]] = {}
    for name, text in ((stored or {}).get("data") or {}).items():
        try:
            result = json.loads(text)
        except ValueError:
            continue
        if isinstance(result, dict):
            found[name] = result
    return found
