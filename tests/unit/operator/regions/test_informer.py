"""What an informer keeps, whatever order lists, events and our own writes come in."""

from typing import Any

import pytest

from pithead_operator.regions.informer import Informer
from pithead_operator.regions.kinds import CONFIG_MAP
from pithead_operator.regions.seen import Seen

pytestmark = pytest.mark.gate

Object = dict[str, Any]


def item(version: int, *, name: str = "a", uid: str = "u1") -> Object:
    return {"metadata": {"name": name, "uid": uid, "resourceVersion": str(version)}}


class Scripted:
    """An API server that lists and streams what it is told to."""

    cluster = "scripted"

    def __init__(self, listed: list[Object], version: str = "10") -> None:
        self.listed = listed
        self.version = version

    async def list(self, *_: Any, **__: Any) -> tuple[list[Object], str]:
        return self.listed, self.version


def informer(listed: list[Object]) -> tuple[Informer, list[tuple[int | None, int | None]]]:
    told: list[tuple[int | None, int | None]] = []

    def changed(before: Seen | None, after: Seen | None) -> None:
        told.append(
            (int(before.version) if before else None, int(after.version) if after else None)
        )

    api: Any = Scripted(listed)
    return Informer(api, CONFIG_MAP, "ns", "", changed, metadata_only=True), told


async def test_a_list_is_told_once_and_absent_objects_are_gone() -> None:
    made, told = informer([item(5)])
    await made._list()
    assert made.synced.is_set()
    made._api.listed = []  # type: ignore[attr-defined]  # the scripted one
    await made._list()
    assert told == [(None, 5), (5, None)]


async def test_our_own_write_is_known_at_once_and_older_events_change_nothing() -> None:
    made, told = informer([item(5)])
    await made._list()
    made.assume(made.read(item(20)))
    made._take("MODIFIED", item(12))
    assert made.items["a"].version == "20"
    made._take("MODIFIED", item(21))
    assert told == [(None, 5), (5, 20), (20, 21)]


async def test_what_was_written_while_a_list_was_on_its_way_stays() -> None:
    made, _ = informer([])
    made.assume(made.read(item(11)))
    await made._list()
    assert "a" in made.items


async def test_a_deleted_object_does_not_come_back_by_a_late_event_but_another_may() -> None:
    made, _ = informer([item(5)])
    await made._list()
    made._take("DELETED", item(6))
    made._take("MODIFIED", item(7))
    assert made.items == {}
    made._take("ADDED", item(8, uid="u2"))
    assert made.items["a"].uid == "u2"
    made._take("DELETED", item(9, uid="u1"))
    assert made.items["a"].uid == "u2"
