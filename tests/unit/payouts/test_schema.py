"""The tables in code and the tables in the migrations are the same."""

from pathlib import Path

import pytest

from pithead.payouts.schema import METADATA, REVISION
from tests.support.schema import assert_schema_is_migrated

pytestmark = pytest.mark.databases


async def test_metadata_and_migrations_describe_the_same_tables(tmp_path: Path) -> None:
    await assert_schema_is_migrated(tmp_path, "pithead.payouts", METADATA, REVISION)
