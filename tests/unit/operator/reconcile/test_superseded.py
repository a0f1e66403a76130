"""Results of Jobs that a later one undoes: kept as facts, and done no more."""

import pytest

from pithead_operator.reconcile.superseded import Results, without_earlier
from pithead_operator.wiring.jobs import databases_job, schemes_job, topics_job, wallet_jobs
from tests.unit.operator.samples import hub_inputs

pytestmark = pytest.mark.gate

HUB = hub_inputs()
SCHEMES = "pithead-wire-schemes-"


def test_what_an_earlier_job_told_is_no_result_any_more() -> None:
    results: Results = {f"{SCHEMES}0123456789": {"slots": {"a": []}}, "other": {}}
    found = without_earlier(results, schemes_job(HUB))
    assert found == {f"{SCHEMES}earlier": {"slots": {"a": []}}, "other": {}}


def test_a_fact_stays_until_a_later_job_told_more() -> None:
    job = schemes_job(HUB)
    fact: Results = {f"{SCHEMES}earlier": {"slots": {}}}
    assert without_earlier(fact, job) == fact
    later: Results = {f"{SCHEMES}0123456789": {"slots": {"b": []}}}
    assert without_earlier(fact | later, job) == {f"{SCHEMES}earlier": {"slots": {"b": []}}}


def test_the_result_of_the_job_itself_stays() -> None:
    job = databases_job(HUB)
    results: Results = {job.name: {"revisions": {}}}
    assert without_earlier(results, job) == results


def test_jobs_that_only_ask_or_add_are_done_once_and_for_all() -> None:
    for job in (topics_job(HUB), *wallet_jobs(HUB)):
        results: Results = {f"{job.name[:-10]}0123456789": {"script": "00"}}
        assert without_earlier(results, job) == results
