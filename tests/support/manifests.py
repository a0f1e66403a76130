"""Variants of the shipped examples: the same manifests on other ports and nodes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def variant(
    example: str, target: Path, change: Callable[[dict[str, dict[str, Any]]], None]
) -> Path:
    """Write an example with changes to a folder; `change` gets its objects by kind."""
    objects: dict[str, dict[str, Any]] = {}
    for file in sorted((EXAMPLES / example).glob("*.yaml")):
        for each in yaml.safe_load_all(file.read_text()):
            objects[each["kind"]] = each
    change(objects)
    target.mkdir(parents=True, exist_ok=True)
    (target / "pool.yaml").write_text(yaml.safe_dump_all(objects.values(), sort_keys=False))
    return target


def without_demo_miners(objects: dict[str, dict[str, Any]]) -> None:
    """Leave the mining to the test."""
    objects["MiningPool"]["metadata"].pop("annotations", None)
