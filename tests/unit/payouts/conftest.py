"""Databases that are migrated once for all tests of the package."""

import asyncio
from pathlib import Path

import pytest

from tests.unit.payouts.world import make_templates


@pytest.fixture(scope="session")
def templates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return asyncio.run(make_templates(tmp_path_factory.mktemp("templates")))
