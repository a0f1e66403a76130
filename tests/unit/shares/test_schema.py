"""The tables, as migrated."""

from pathlib import Path

import pytest
from pithead.shares.schema import METADATA, REVISION

from tests.support.schema import assert_schema_is_migrated

pytestmark = pytest.mark.gate


async def test_migrations_make_the_tables_that_the_code_describes(tmp_path: Path) -> None:
    await assert_schema_is_migrated(tmp_path, "pithead.shares", METADATA, REVISION)
