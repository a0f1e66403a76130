"""The bed as pytest fixtures; `tests/conftest.py` loads them for every test.

`control_planes` is the quick form: real API servers of three regions without nodes, up in some
seconds, shared by the whole test run. `bed` is the full form, with pods. Each test makes a
namespace of its own (`own_namespace`), since the clusters are shared.
"""

import os
import secrets
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.e2e.bed.machine import no_cluster, no_containers, on_kind

# A test run that asks for no cluster shall not pay for importing what makes one.
if TYPE_CHECKING:
    from tests.e2e.bed.bed import Bed
    from tests.e2e.bed.quick import QuickBed

QUICK_REGIONS = ("eu", "us", "asia")


def pytest_collection_finish(session: pytest.Session) -> None:
    """Compile what is not kept yet before the first test: its time limit does not allow for it."""
    wanted = {
        name
        for item in session.items
        for marker in item.iter_markers("needs")
        for name in marker.args
    }
    planes = "cluster" in wanted and not no_cluster()
    nodes = "containers" in wanted and not no_containers() and not on_kind()
    if session.config.option.collectonly or not (planes or nodes):
        return
    from tests.e2e.bed import build

    missing = [name for name in build.RECIPE_OF if not build.built(name)]
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if missing and reporter:
        reporter.write_line(f"compiling {', '.join(missing)} for the test bed: minutes, once")
    try:
        build.build()
    except build.BuildFailed as error:
        # The tests concerned try again and fail with it; the others can run.
        if reporter:
            reporter.write_line(str(error))


@pytest.fixture(scope="session")
def control_planes() -> "Iterator[QuickBed]":
    """Control planes of three regions, the first being the hub; without pods, without CRDs."""
    from tests.e2e.bed.quick import QuickBed

    with QuickBed(QUICK_REGIONS) as bed:
        yield bed


@pytest.fixture
def own_namespace() -> str:
    """A name for a namespace that no other test has; the test creates and deletes it."""
    return f"t-{os.getpid()}-{secrets.token_hex(3)}"


@pytest.fixture(scope="session")
def bed() -> "Iterator[Bed]":
    """The full form; a bed that ran before the tests still runs after them."""
    from tests.e2e.bed.bed import full_bed

    bed = full_bed()
    ours = bed.up()
    yield bed
    if ours and not os.environ.get("PITHEAD_BED_KEEP"):
        bed.down()
