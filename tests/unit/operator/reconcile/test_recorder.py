"""What is written of status and Events, and what is not."""

from typing import Any

import pytest

from pithead_operator.reconcile.recorder import FIGURES_SECONDS, Recorder

pytestmark = pytest.mark.gate

Object = dict[str, Any]


class Store:
    """An API server that keeps what it is sent."""

    def __init__(self) -> None:
        self.statuses: list[Object] = []
        self.events: list[tuple[str, str, str]] = []

    async def apply(self, kind: Any, namespace: str, body: Object, **_: Any) -> Object:
        self.statuses.append(body["status"])
        return body

    async def create(self, kind: Any, namespace: str, body: Object) -> Object:
        self.events.append((body["type"], body["reason"], body["message"]))
        return body


def item(status: Object | None = None) -> Object:
    meta = {"name": "a", "namespace": "ns", "uid": "u", "resourceVersion": "1"}
    kind = {"apiVersion": "pithead.dev/v1alpha1", "kind": "MiningPool"}
    return kind | {"metadata": meta, "status": status or {}}


def status(*marks: tuple[str, str, str, str], **more: Any) -> Object:
    return {
        "conditions": [
            {"type": kind, "status": truth, "reason": reason, "message": text}
            for kind, truth, reason, text in marks
        ]
    } | more


def recorder() -> tuple[Recorder, Store, list[float]]:
    store, later = Store(), list[float]()
    api: Any = store
    return Recorder(api, "me", lambda _, seconds: later.append(seconds)), store, later


READY = ("Ready", "True", "AsWanted", "all is well")
STALLED = ("Stalled", "True", "SecretMissing", "there is no Secret x")
NOT_READY = ("Ready", "False", "SecretMissing", "there is no Secret x")


async def test_the_same_status_is_written_once() -> None:
    made, store, _ = recorder()
    for _ in range(3):
        await made.status(item(), status(READY))
    assert len(store.statuses) == 1


async def test_figures_alone_wait_and_are_asked_for_again() -> None:
    made, store, later = recorder()
    await made.status(item(), status(READY, connections=1))
    await made.status(item(), status(READY, connections=2))
    assert len(store.statuses) == 1
    assert 0 < later[0] <= FIGURES_SECONDS
    await made.status(item(), status(NOT_READY, connections=3))
    assert len(store.statuses) == 2


async def test_one_cause_is_one_event() -> None:
    made, store, _ = recorder()
    await made.status(item(), status(STALLED, NOT_READY))
    assert store.events == [("Warning", "SecretMissing", "there is no Secret x")]


async def test_what_is_still_so_is_no_news_and_its_end_is() -> None:
    made, store, _ = recorder()
    before = status(STALLED, NOT_READY)
    again = status(STALLED, NOT_READY, observedGeneration=2)
    await made.status(item(before), again)
    assert store.events == []
    mended = status(("Stalled", "False", "AsWanted", ""), READY)
    await made.status(item(again), mended)
    assert [each[:2] for each in store.events] == [("Normal", "Recovered"), ("Normal", "Ready")]


@pytest.mark.parametrize(
    "mark",
    [
        ("StreamReady", "True", "TopicsReady", "the topics are there"),
        ("StreamReady", "Unknown", "Progressing", ""),
        ("Ready", "False", "Progressing", "waits for edges"),
        ("Reconciling", "True", "Progressing", "waits for edges"),
    ],
    ids=["good", "unknown", "progress", "reconciling"],
)
async def test_a_beginning_is_no_news(mark: tuple[str, str, str, str]) -> None:
    made, store, _ = recorder()
    await made.status(item(status(("StreamReady", "Unknown", "Progressing", ""))), status(mark))
    assert store.events == []
