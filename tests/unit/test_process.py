"""Tasks as processes: results, sentences, exit codes, signals."""

import asyncio
import gc
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pithead import process
from pithead.config import LedgerSettings, Unusable, store
from pithead.process import Result, TaskFailed, run_service, run_task, until_there
from tests.support.doors import served

pytestmark = pytest.mark.gate

SETTINGS = LedgerSettings(database="sqlite+aiosqlite:////x", serve=served(Path("/s")))


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "settings.json"
    store(path, SETTINGS)
    return path


async def tells(settings: LedgerSettings) -> Result:
    return {"database": settings.database}


def test_a_service_looks_for_cycles_seldom(config: Path) -> None:
    seen = []

    async def serve(_settings: LedgerSettings, _stop: asyncio.Event) -> None:
        seen.append(gc.get_threshold())

    before = gc.get_threshold()
    try:
        assert run_service("test", config, LedgerSettings, serve, supervisor=None) == 0
    finally:
        gc.set_threshold(*before)
    assert seen == [process.COLLECTOR_THRESHOLDS]


def test_result_is_printed_and_left_in_the_file(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = tmp_path / "result"
    assert run_task("test", config, LedgerSettings, tells, result=result) == 0
    assert json.loads(result.read_text()) == {"database": SETTINGS.database}
    assert json.loads(capsys.readouterr().out) == {"database": SETTINGS.database}


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (TaskFailed("the node\nis away"), 1, "the node is away"),
        (Unusable("give another node"), 2, "give another node"),
        (KeyError("slip"), 1, "a fault of pithead, see the log: KeyError: 'slip'"),
    ],
    ids=["failed", "unusable", "fault"],
)
def test_failure_leaves_one_sentence_and_its_exit_code(
    config: Path, tmp_path: Path, error: Exception, code: int, said: str
) -> None:
    async def fails(_settings: LedgerSettings) -> Result:
        raise error

    result = tmp_path / "result"
    assert run_task("test", config, LedgerSettings, fails, result=result) == code
    assert result.read_text() == said


def test_bad_settings_are_told_too(tmp_path: Path) -> None:
    result = tmp_path / "result"
    assert run_task("test", tmp_path / "none.json", LedgerSettings, tells, result=result) == 2
    assert "none.json: no such settings file" in result.read_text()


def test_result_that_kubernetes_would_cut_is_a_failure(config: Path, tmp_path: Path) -> None:
    async def tells_much(_settings: LedgerSettings) -> Result:
        return {"much": "x" * 4096}

    result = tmp_path / "result"
    assert run_task("test", config, LedgerSettings, tells_much, result=result) == 2
    assert result.read_text() == "the result has 4107 bytes; 4096 can be told"


def test_termination_message_is_the_default_where_there_is_one(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = tmp_path / "termination-log"
    monkeypatch.setattr(process, "RESULT_FILE", there)
    assert run_task("test", config, LedgerSettings, tells, result=None) == 0
    assert not there.exists(), "outside of a pod nothing is written"
    there.touch()
    assert run_task("test", config, LedgerSettings, tells, result=None) == 0
    assert "database" in there.read_text()


SLOW = """
import asyncio, sys
from pathlib import Path
from pithead.config import LedgerSettings
from pithead.process import run_task

async def slow(_settings):
    print("working", flush=True)
    await asyncio.sleep(30)

sys.exit(run_task("slow", Path(sys.argv[1]), LedgerSettings, slow, result=Path(sys.argv[2])))
"""


def test_signal_ends_a_task_with_a_sentence(config: Path, tmp_path: Path) -> None:
    result = tmp_path / "result"
    arguments = [sys.executable, "-c", SLOW, str(config), str(result)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == b"working\n"
        began = time.monotonic()
        os.kill(running.pid, signal.SIGTERM)
        assert running.wait(10) == 1
        assert time.monotonic() - began < 5
    assert result.read_text() == "stopped by a signal before it was done"


class Away(Exception):
    """A neighbour that is away."""


def why(error: Exception) -> str:
    return str(error) if isinstance(error, Away) else ""


async def test_neighbour_that_comes_is_waited_for() -> None:
    tries = 0

    async def work() -> str:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise Away("it is away")
        return "there"

    assert await until_there(work, why, 10) == "there"


async def test_neighbour_that_stays_away_is_named_in_time() -> None:
    async def work() -> None:
        raise Away("the broker is away")

    began = asyncio.get_running_loop().time()
    with pytest.raises(TaskFailed, match="the broker is away"):
        await until_there(work, why, 0.8)
    assert asyncio.get_running_loop().time() - began < 2


async def test_error_that_no_repeat_helps_is_raised_at_once() -> None:
    async def work() -> None:
        raise ValueError("wrong for ever")

    with pytest.raises(ValueError, match="for ever"):
        await until_there(work, why, 60)
