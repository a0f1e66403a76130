"""Answers for what a wiring Job has told: from the Job and its pods to one state.

A process writes its result, or one sentence about its failure, as the
termination message of its container. A Job retries by itself what may pass;
`retryable` says whether making the same Job again could help once it gave up.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import msgspec

from pithead.config import SlotSettings
from pithead_operator.desired.inputs import Object
from pithead_operator.desired.pods import CONTAINER
from pithead_operator.wiring.jobs import EXIT_UNUSABLE

MESSAGE_MAX = 256
"""Characters of foreign text that a condition repeats."""
STUCK = frozenset(
    {
        "CreateContainerConfigError",
        "CreateContainerError",
        "ErrImagePull",
        "ImageInspectError",
        "ImagePullBackOff",
        "InvalidImageName",
        "RunContainerError",
    }
)
"""Reasons for which a container waits, and goes on waiting until somebody acts."""


class Phase(StrEnum):
    """Where a Job is."""

    PENDING = "pending"
    """It was not made, or no pod of it has started."""
    RUNNING = "running"
    """It works, or will try again by itself."""
    SUCCEEDED = "succeeded"
    FAILED = "failed"


class BadResult(Exception):
    """Raised when a Job succeeded but told something else than it should."""


@dataclass(frozen=True)
class JobState:
    """What is known of a Job."""

    phase: Phase
    result: Mapping[str, Any] = field(default_factory=dict)
    """What it told, when it succeeded."""
    message: str = ""
    """The newest sentence about what is wrong; also while it tries again."""
    retryable: bool = False
    """Failed: whether the same Job, made again, could succeed."""


def read_job(job: Object | None, pods: Sequence[Object]) -> JobState:
    """State of a Job, from the object and the pods that it controls (in any order)."""
    if job is None:
        return JobState(Phase.PENDING)
    ordered = sorted(pods, key=_age)
    conditions = {
        each["type"]: each
        for each in job.get("status", {}).get("conditions", ())
        if each.get("status") == "True"
    }
    if "Complete" in conditions:
        return _succeeded(ordered)
    if "Failed" in conditions:
        return _failed(conditions["Failed"], ordered)
    message = _trouble(ordered)
    started = any(pod.get("status", {}).get("phase") != "Pending" for pod in ordered)
    return JobState(Phase.RUNNING if started else Phase.PENDING, message=message)


def scripts_of(results: Mapping[str, Mapping[str, Any]]) -> dict[str, bytes]:
    """Scripts that coinbases pay, from results of wallet Jobs by CoinEndpoint; or BadResult."""
    scripts = {}
    for endpoint, result in results.items():
        try:
            scripts[endpoint] = bytes.fromhex(msgspec.convert(result, _Wallet).script)
        except (msgspec.ValidationError, ValueError) as error:
            raise BadResult(f"the wallet of {endpoint} told no script: {error}") from error
    return scripts


def slots_of(result: Mapping[str, Any]) -> dict[str, tuple[SlotSettings, ...]]:
    """Slots by poolId from the result of a schemes Job; raises BadResult."""
    try:
        return dict(msgspec.convert(result, _Schemes).slots)
    except msgspec.ValidationError as error:
        raise BadResult(f"the schemes have no slots: {error}") from error


class _Wallet(msgspec.Struct, frozen=True):
    script: str

    def __post_init__(self) -> None:
        if not self.script:
            raise ValueError("the script is empty")


class _Schemes(msgspec.Struct, frozen=True):
    slots: dict[str, tuple[SlotSettings, ...]]


def _age(pod: Object) -> tuple[str, str]:
    metadata = pod["metadata"]
    return metadata.get("creationTimestamp") or "", metadata["name"]


def _succeeded(pods: Sequence[Object]) -> JobState:
    for pod in reversed(pods):
        ended = _ended(pod)
        if ended is None or ended.get("exitCode") != 0:
            continue
        try:
            result = json.loads(ended.get("message") or "{}")
        except ValueError:
            result = None
        if isinstance(result, dict):
            return JobState(Phase.SUCCEEDED, result=result)
        return JobState(
            Phase.FAILED, message="the result of the Job can not be read", retryable=False
        )
    return JobState(
        Phase.FAILED,
        message="the pod that held the result of the Job is gone",
        retryable=True,
    )


def _failed(condition: Object, pods: Sequence[Object]) -> JobState:
    for pod in reversed(pods):
        ended = _ended(pod)
        if ended is not None and ended.get("exitCode") != 0:
            unusable = ended.get("exitCode") == EXIT_UNUSABLE
            return JobState(Phase.FAILED, message=_sentence(ended), retryable=not unusable)
    message = _trouble(pods) or _short(condition.get("message", "")) or "the Job failed"
    return JobState(
        Phase.FAILED, message=message, retryable=condition.get("reason") != "PodFailurePolicy"
    )


def _trouble(pods: Sequence[Object]) -> str:
    """The newest thing that keeps a Job from its end; empty when there is none."""
    for pod in reversed(pods):
        waiting = _container(pod).get("state", {}).get("waiting", {})
        if waiting.get("reason") in STUCK:
            return _short(f"{waiting['reason']}: {waiting.get('message', '')}")
        for condition in pod.get("status", {}).get("conditions", ()):
            if condition.get("reason") == "Unschedulable" and condition.get("status") == "False":
                return _short(f"no machine takes the pod: {condition.get('message', '')}")
        ended = _ended(pod)
        if ended is not None and ended.get("exitCode") != 0:
            return _sentence(ended)
    return ""


def _container(pod: Object) -> Object:
    for each in pod.get("status", {}).get("containerStatuses", ()):
        if each.get("name") == CONTAINER:
            return dict(each)
    return {}


def _ended(pod: Object) -> Object | None:
    ended = _container(pod).get("state", {}).get("terminated")
    return None if ended is None else dict(ended)


def _sentence(ended: Object) -> str:
    """The last line of what a process left: its sentence, or the end of a traceback."""
    lines = (ended.get("message") or "").strip().splitlines()
    if lines:
        return _short(lines[-1])
    return _short(f"{ended.get('reason', 'Error')}, exit code {ended.get('exitCode')}")


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= MESSAGE_MAX else text[: MESSAGE_MAX - 3] + "..."
