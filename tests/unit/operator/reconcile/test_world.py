"""The three kinds as last read."""

from typing import Any

import pytest

from pithead_operator.reconcile.world import World
from pithead_operator.regions.kinds import MINING_POOL

pytestmark = pytest.mark.gate

Object = dict[str, Any]


def pool(version: int, *, generation: int = 1, uid: str = "u", name: str = "a") -> Object:
    return {
        "apiVersion": "pithead.dev/v1alpha1",
        "kind": "MiningPool",
        "metadata": {
            "name": name,
            "namespace": "ns",
            "uid": uid,
            "generation": generation,
            "resourceVersion": str(version),
            "managedFields": ["long"],
        },
        "spec": {},
    }


def test_a_new_object_and_a_new_spec_are_changes_and_a_new_status_is_none() -> None:
    world = World()
    assert world.put(pool(1))
    assert not world.put(pool(2) | {"status": {"x": 1}})
    assert world.put(pool(3, generation=2) | {"spec": {"x": 1}})
    found = world.get(MINING_POOL, "ns", "a")
    assert found is not None
    assert "managedFields" not in found["metadata"]


def test_a_late_event_changes_nothing() -> None:
    world = World()
    world.put(pool(5))
    assert not world.put(pool(4, generation=9))
    assert not world.drop(pool(9, uid="another"))
    assert world.drop(pool(6))
    assert world.of(MINING_POOL, "ns") == {}


def test_a_list_mends_what_events_missed() -> None:
    world = World()
    world.put(pool(1, name="gone"))
    world.put(pool(9, name="young"))
    listed = [{k: v for k, v in pool(5, name="new").items() if k not in ("apiVersion", "kind")}]
    assert world.replace(MINING_POOL, listed, "7") == {"ns"}
    # What came while the list was on its way is not in it, and stays.
    assert set(world.of(MINING_POOL, "ns")) == {"new", "young"}
    assert world.namespaces() == {"ns"}
