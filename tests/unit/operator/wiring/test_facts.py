"""The ConfigMap of facts: what goes in comes back, damage is left out."""

import pytest

from pithead_operator.wiring.facts import Results, facts_object, read_facts
from tests.unit.operator.samples import hub_inputs

pytestmark = pytest.mark.gate

RESULTS: Results = {
    "pithead-wire-wallet-litecoin-0123456789": {"script": "0014ab"},
    "pithead-wire-schemes-0123456789": {"slots": {"mining.ltc": []}},
}


def test_what_is_stored_is_read_back() -> None:
    made = facts_object(hub_inputs(), RESULTS)
    assert made["metadata"]["name"] == "pithead-facts"
    assert read_facts(made) == RESULTS


def test_order_of_results_does_not_matter() -> None:
    turned = dict(reversed(list(RESULTS.items())))
    first, second = facts_object(hub_inputs(), RESULTS), facts_object(hub_inputs(), turned)
    assert list(first["data"].items()) == list(second["data"].items())


def test_nothing_stored_is_no_result() -> None:
    assert read_facts(None) == {}
    assert read_facts({"data": None}) == {}


def test_damaged_result_is_left_out_so_that_its_job_runs_again() -> None:
    assert read_facts({"data": {"a": "{", "b": "[]", "c": '{"script":"00"}'}}) == {
        "c": {"script": "00"}
    }
