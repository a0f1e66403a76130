"""Results of Jobs: every state that Kubernetes can show, and what the text says."""

import json
from typing import Any

import pytest

from pithead.config import SlotSettings
from pithead_operator.desired.inputs import Object
from pithead_operator.wiring.results import (
    BadResult,
    JobState,
    Phase,
    read_job,
    scripts_of,
    slots_of,
)

pytestmark = pytest.mark.gate


def job(*conditions: Object, **status: Any) -> Object:
    return {"metadata": {"name": "j"}, "status": {"conditions": list(conditions), **status}}


COMPLETE = {"type": "Complete", "status": "True"}
POLICY = {"type": "Failed", "status": "True", "reason": "PodFailurePolicy", "message": "policy"}
BACKOFF = {"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded", "message": "often"}
DEADLINE = {"type": "Failed", "status": "True", "reason": "DeadlineExceeded", "message": "too long"}


def pod(state: Object, phase: str = "Running", second: int = 0, **status: Any) -> Object:
    return {
        "metadata": {"name": f"p{second}", "creationTimestamp": f"2026-01-01T00:00:{second:02}Z"},
        "status": {
            "phase": phase,
            "containerStatuses": [{"name": "pithead", "state": state}],
            **status,
        },
    }


def ended(code: int, message: str = "", second: int = 0) -> Object:
    phase = "Failed" if code else "Succeeded"
    state = {"terminated": {"exitCode": code, "message": message, "reason": "Error"}}
    return pod(state, phase, second)


def test_job_that_was_not_made_is_pending() -> None:
    assert read_job(None, []) == JobState(Phase.PENDING)
    assert read_job({"metadata": {"name": "j"}}, []) == JobState(Phase.PENDING)


def test_job_whose_pod_works_is_running() -> None:
    assert read_job(job(active=1), [pod({"running": {}})]) == JobState(Phase.RUNNING)


def test_result_of_a_job_is_what_its_pod_told() -> None:
    pods = [ended(0, '{"script":"00"}', second=5), ended(1, "the node is away", second=1)]
    assert read_job(job(COMPLETE), pods) == JobState(Phase.SUCCEEDED, {"script": "00"})


def test_job_without_a_message_has_an_empty_result() -> None:
    assert read_job(job(COMPLETE), [ended(0)]) == JobState(Phase.SUCCEEDED, {})


def test_result_that_is_gone_is_asked_for_again() -> None:
    state = read_job(job(COMPLETE), [])
    assert (state.phase, state.retryable) == (Phase.FAILED, True)


@pytest.mark.parametrize("text", ["{", "[]", "ready"], ids=["cut off", "a list", "a word"])
def test_result_that_can_not_be_read_is_a_failure(text: str) -> None:
    state = read_job(job(COMPLETE), [ended(0, text)])
    assert (state.phase, state.retryable) == (Phase.FAILED, False)


def test_job_that_tries_again_says_what_was_wrong() -> None:
    pods = [ended(1, "postgres.example: no answer", second=1), ended(1, "older", second=0)]
    assert read_job(job(active=0), pods) == JobState(
        Phase.RUNNING, message="postgres.example: no answer"
    )


def test_job_that_gave_up_can_be_made_again() -> None:
    state = read_job(job(BACKOFF), [ended(1, "postgres.example: no answer")])
    assert state == JobState(Phase.FAILED, {}, "postgres.example: no answer", retryable=True)


def test_job_that_is_wrongly_configured_is_not_made_again() -> None:
    state = read_job(job(POLICY), [ended(2, "the user may not create roles: grant it")])
    assert state == JobState(
        Phase.FAILED, {}, "the user may not create roles: grant it", retryable=False
    )


def test_failure_without_pods_says_what_kubernetes_says() -> None:
    assert read_job(job(DEADLINE), []) == JobState(Phase.FAILED, {}, "too long", retryable=True)
    assert not read_job(job(POLICY), []).retryable


def test_image_that_can_not_be_pulled_is_told() -> None:
    waiting = {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}
    state = read_job(job(active=1), [pod(waiting, "Pending")])
    assert state == JobState(Phase.PENDING, message="ImagePullBackOff: no such image")


def test_container_that_is_only_starting_is_no_trouble() -> None:
    waiting = {"waiting": {"reason": "ContainerCreating"}}
    assert read_job(job(active=1), [pod(waiting, "Pending")]) == JobState(Phase.PENDING)


def test_pod_that_no_machine_takes_is_told() -> None:
    condition = {
        "type": "PodScheduled",
        "status": "False",
        "reason": "Unschedulable",
        "message": "0/3 nodes are available",
    }
    state = read_job(job(active=1), [pod({}, "Pending", conditions=[condition])])
    assert state.message == "no machine takes the pod: 0/3 nodes are available"


def test_crash_is_told_by_its_last_line_and_cut() -> None:
    traceback = "Traceback (most recent call last):\n  File x\nValueError: " + "x" * 500
    message = read_job(job(BACKOFF), [ended(1, traceback)]).message
    assert message.startswith("ValueError: x")
    assert len(message) == 256


def test_kill_without_a_word_is_told_by_its_code() -> None:
    assert read_job(job(BACKOFF), [ended(137)]).message == "Error, exit code 137"


def test_scripts_and_slots_are_read_from_results() -> None:
    assert scripts_of({"litecoin": {"script": "0014ab"}}) == {"litecoin": b"\x00\x14\xab"}
    slot = {"slot": 1, "scheme": "pplns", "revision": "ab", "effective_height": 7}
    assert slots_of({"slots": {"mining.ltc": [slot]}}) == {
        "mining.ltc": (SlotSettings(slot=1, scheme="pplns", revision="ab", effective_height=7),)
    }


@pytest.mark.parametrize("result", [{}, {"script": ""}, {"script": "xyz"}, {"script": 7}], ids=str)
def test_wallet_without_a_script_is_refused(result: Object) -> None:
    with pytest.raises(BadResult, match="litecoin"):
        scripts_of({"litecoin": result})


@pytest.mark.parametrize(
    "result", [{}, {"slots": []}, {"slots": {"p": [{"slot": "x"}]}}], ids=json.dumps
)
def test_schemes_without_slots_are_refused(result: Object) -> None:
    with pytest.raises(BadResult):
        slots_of(result)
