"""Versions of the columnar schema, numbered; a version that was released never changes."""

from pithead.shares.analytics.ddl import v0001, v0002
from pithead.store.columnar.migrate import Version

VERSIONS: dict[int, Version] = {1: v0001.statements, 2: v0002.statements}

NEWEST = max(VERSIONS)
"""What the database must be of."""
