"""Writes what is generated from the manifest models: crds/ and docs/manifests.md.

Run as `python tools/manifests.py`; a drift test compares the committed files.
"""

from pathlib import Path

from pithead.manifests.crds import crd_documents
from pithead.manifests.reference import manifest_page

ROOT = Path(__file__).resolve().parent.parent


def generate(root: Path) -> None:
    """Write all generated files below `root`."""
    for folder in ("crds", "docs"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for name, text in crd_documents().items():
        (root / "crds" / name).write_text(text)
    (root / "docs" / "manifests.md").write_text(manifest_page())


if __name__ == "__main__":
    generate(ROOT)
