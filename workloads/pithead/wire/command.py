"""Answers for `pithead wire`: each task with its settings and the time it may wait."""

from functools import partial
from pathlib import Path
from typing import Literal

from pithead.config import (
    WireAnalyticsSettings,
    WireDatabasesSettings,
    WireSchemesSettings,
    WireTopicsSettings,
    WireWalletSettings,
)
from pithead.process import run_task
from pithead.wire.analytics import make_analytics
from pithead.wire.databases import make_databases
from pithead.wire.schemes import tell_schemes
from pithead.wire.topics import make_topics
from pithead.wire.wallet import ask_wallet

Task = Literal["databases", "topics", "wallet", "schemes", "analytics"]


def run_wire(task: Task, config: Path, *, result: Path | None, within_s: float) -> int:
    """Do one task; return the exit code."""
    name = f"wire-{task}"
    match task:
        case "databases":
            databases = partial(make_databases, within_s=within_s)
            return run_task(name, config, WireDatabasesSettings, databases, result=result)
        case "topics":
            topics = partial(make_topics, within_s=within_s)
            return run_task(name, config, WireTopicsSettings, topics, result=result)
        case "wallet":
            wallet = partial(ask_wallet, within_s=within_s)
            return run_task(name, config, WireWalletSettings, wallet, result=result)
        case "analytics":
            analytics = partial(make_analytics, within_s=within_s)
            return run_task(name, config, WireAnalyticsSettings, analytics, result=result)
        case "schemes":
            schemes = partial(tell_schemes, within_s=within_s)
            return run_task(name, config, WireSchemesSettings, schemes, result=result)
