"""The README's `make run` in a fresh clone, as a newcomer runs it."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

pytestmark = [pytest.mark.full, pytest.mark.needs("git"), pytest.mark.timeout(420)]

ROOT = Path(__file__).resolve().parents[2]
INSTALL_LIMIT_S = 240
PAYOUT_LIMIT_S = 60
"""From the first line of the pool: the README promises a payout within a minute."""


def clone(target: Path) -> None:
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(target)], check=True)


def test_newcomer_sees_a_confirmed_payout_within_a_minute(tmp_path: Path) -> None:
    checkout = tmp_path / "pithead"
    clone(checkout)
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PITHEAD_", "VIRTUAL_ENV", "PYTHON", "PYTEST"))
    }
    subprocess.run(
        ["make", "install"], cwd=checkout, env=environment, check=True, timeout=INSTALL_LIMIT_S
    )
    seen: list[str] = []
    with subprocess.Popen(
        ["make", "run"],
        cwd=checkout,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as run:
        assert run.stdout is not None
        os.set_blocking(run.stdout.fileno(), False)
        deadline = time.monotonic() + PAYOUT_LIMIT_S
        while time.monotonic() < deadline:
            seen += run.stdout.readlines()
            if any("payout" in line and "confirmed by" in line for line in seen):
                break
            time.sleep(0.2)
        os.killpg(run.pid, signal.SIGINT)
        os.set_blocking(run.stdout.fileno(), True)
        seen += run.stdout.readlines()
        run.wait(timeout=40)
    text = "".join(seen)
    for expected in ("shares accepted", "found by", "split:", "maturing", "sent", "confirmed by"):
        assert expected in text, f"{expected!r} was not shown:\n{text}"
    assert "stopped" in text
    left = subprocess.run(
        ["git", "status", "--porcelain"], cwd=checkout, capture_output=True, text=True, check=True
    )
    assert left.stdout == ""
