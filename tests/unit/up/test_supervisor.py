import asyncio
from pathlib import Path

import pytest

from pithead.up.supervisor import Supervisor

pytestmark = pytest.mark.gate


async def test_process_that_can_not_run_as_configured_ends_the_run_with_its_sentence(
    tmp_path: Path,
) -> None:
    supervisor = Supervisor(tmp_path, print)
    supervisor.start("ledger", "ledger", "--config", str(tmp_path / "absent.json"))
    async with asyncio.timeout(20):
        assert supervisor.failed is not None
        sentence = await supervisor.failed
    assert sentence.startswith("ledger: ")
    assert "absent.json: no such settings file" in sentence
    await supervisor.stop()
    assert "no such settings file" in (tmp_path / "ledger.log").read_text()


async def test_process_that_is_not_needed_stays_off_with_its_sentence(tmp_path: Path) -> None:
    said: list[str] = []
    supervisor = Supervisor(tmp_path, said.append)
    arguments = ("ledger", "--config", str(tmp_path / "absent.json"))
    supervisor.start("charts", *arguments, needed=False)
    async with asyncio.timeout(20):
        while not said:
            await asyncio.sleep(0.05)
    assert supervisor.failed is not None
    assert not supervisor.failed.done()
    await supervisor.stop()
    assert said == [f"charts stays off: {tmp_path}/absent.json: no such settings file"]


async def test_process_that_fails_is_started_again_and_that_is_said_once(tmp_path: Path) -> None:
    said: list[str] = []
    supervisor = Supervisor(tmp_path, said.append)
    process = supervisor.start("status", "status", "--data", str(tmp_path / "absent"))
    async with asyncio.timeout(20):
        while process.restarts < 2:
            await asyncio.sleep(0.05)
    assert supervisor.failed is not None
    assert not supervisor.failed.done()
    await supervisor.stop()
    assert said == ["status ended, with exit code 1; it is started again"]
    assert process.pid is None
