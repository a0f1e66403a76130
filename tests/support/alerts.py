"""The alert rules as Prometheus reads them, and the metrics that the code has."""

import importlib
import pkgutil
import re
from pathlib import Path
from typing import Any

import yaml
from prometheus_client import REGISTRY

import pithead
import pithead_operator

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / "alerts").glob("*.yaml"))


def alerts() -> list[dict[str, Any]]:
    """Every rule of every file."""
    found = []
    for file in FILES:
        for group in yaml.safe_load(file.read_text())["groups"]:
            found += group["rules"]
    return found


def named_in(expression: str) -> set[str]:
    """The metrics that an expression asks for."""
    return set(re.findall(r"\bpithead_[a-z0-9_]+", expression))


def metrics_of_code() -> set[str]:
    """Names of all series that our modules declare, as they are scraped."""
    for package in (pithead, pithead_operator):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if module.name.rpartition(".")[2] == "metrics":
                importlib.import_module(module.name)
    return {
        name
        for metric in REGISTRY.collect()
        for name in (metric.name, f"{metric.name}_total", f"{metric.name}_bucket")
    }
