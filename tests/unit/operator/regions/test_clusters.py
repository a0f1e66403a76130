"""Which cluster a name means, and which names are refused."""

from typing import Any

import pytest

from pithead_operator.regions.clusters import BINDINGS, HUB, Clusters
from pithead_operator.regions.errors import NotFound

pytestmark = pytest.mark.gate

Object = dict[str, Any]


class Store:
    """An API server that holds one ConfigMap."""

    cluster = ""

    def __init__(self) -> None:
        self.data: dict[str, str] | None = None

    async def get(self, kind: Any, namespace: str, name: str) -> Object:
        assert name == BINDINGS
        if self.data is None:
            raise NotFound("", "GET", "not found")
        return {"data": dict(self.data)}

    async def create(self, kind: Any, namespace: str, body: Object) -> Object:
        self.data = dict(body["data"])
        return body

    async def merge(self, kind: Any, namespace: str, name: str, body: Object) -> Object:
        if self.data is None:
            raise NotFound("", "PATCH", "not found")
        for key, value in body["data"].items():
            if value is None:
                self.data.pop(key, None)
            else:
                self.data[key] = value
        return {"data": dict(self.data)}


def clusters(store: Store) -> Clusters:
    api: Any = store
    return Clusters(
        api,
        "uid-hub",
        "pithead-system",
        moved=lambda cluster: None,
        touched=lambda *_: None,
        probe_seconds=5,
    )


async def test_a_name_is_bound_at_first_contact_and_stays_bound() -> None:
    store = Store()
    assert await clusters(store)._bind("us", "uid-1") is None
    again = clusters(store)
    assert await again._bind("us", "uid-1") is None
    refusal = await again._bind("us", "uid-2")
    assert refusal is not None
    assert refusal.reason == "ClusterChanged"
    assert "bound to uid-1" in refusal.message
    assert store.data == {"us": "uid-1"}


async def test_a_name_that_a_person_took_out_is_bound_anew() -> None:
    store = Store()
    made = clusters(store)
    await made._bind("us", "uid-1")
    store.data = {}
    assert await made._bind("us", "uid-2") is None
    assert store.data == {"us": "uid-2"}


async def test_the_hubs_own_cluster_is_no_member() -> None:
    store = Store()
    made = clusters(store)
    refusal = await made._bind("us", "uid-hub")
    assert refusal is not None
    assert refusal.reason == "ClusterKnown"
    assert store.data is None
    assert await made._bind(HUB, "uid-hub") is None


async def test_namespaces_are_remembered_until_nothing_is_left_there() -> None:
    store = Store()
    made = clusters(store)
    await made._bind("us", "uid-1")
    await made.remember("us", "a")
    await made.remember("us", "b")
    await made.remember(HUB, "a")
    assert made.remembered("us") == {"a", "b"}
    assert made.remembered(HUB) == {"a"}
    await made.forget("us", "a")
    await made.forget("us", "b")
    assert made.remembered("us") == frozenset()
    assert store.data == {"us": "uid-1", ".namespaces": "a"}


async def test_a_cluster_that_nobody_named_is_told_so() -> None:
    made = clusters(Store())
    assert made.state("us", "a").status == "Connecting"
    assert made.member("us") is None
