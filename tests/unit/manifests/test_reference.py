"""The documentation page is that of the models."""

from pathlib import Path

import pytest

from pithead.manifests.crds import KINDS
from pithead.manifests.reference import manifest_page, rows

pytestmark = pytest.mark.gate

ROOT = Path(__file__).resolve().parents[3]


def test_committed_page_is_that_of_the_models() -> None:
    page = (ROOT / "docs" / "manifests.md").read_text()
    assert page == manifest_page(), "run: python tools/manifests.py"


def test_every_field_is_in_the_page_with_its_meaning() -> None:
    page = manifest_page()
    for kind in KINDS:
        for row in rows(kind):
            assert row.meaning
            assert f"| `{row.path}` | {row.meaning} |" in page
