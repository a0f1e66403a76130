"""Runs the tiers of tests and ends with what was left out and why; behind `make test`.

A test that needs something of the machine says so with the `needs` marker; it
is left out where that is missing, unless its tier is named with --complete.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent

CHECKS = (
    ("style", ["ruff", "check", "."]),
    ("format", ["ruff", "format", "--check", "."]),
    ("types", ["mypy"]),
    ("layers", ["lint-imports"]),
)

NOTHING_SELECTED = 5
"""Exit code of pytest when no test of a folder belongs to the tier."""


def run(name: str, command: list[str], environment: dict[str, str]) -> bool:
    """Run one step, say how long it took, and tell whether it passed."""
    print(f"\n== {name}: {' '.join(command)}", flush=True)
    started = time.monotonic()
    arguments = [str(BIN / command[0]), *command[1:]]
    code = subprocess.run(arguments, cwd=ROOT, env=environment, check=False).returncode
    took = time.monotonic() - started
    if command[0] == "pytest" and code == NOTHING_SELECTED:
        print(f"== {name}: the tier has no test here", flush=True)
        return True
    print(f"== {name}: {'passed' if code == 0 else 'FAILED'} in {took:.0f} s", flush=True)
    return code == 0


def tier_steps(tier: str, extra: list[str]) -> list[tuple[str, list[str]]]:
    """Split a tier into what runs side by side and what wants the machine for itself."""
    if tier == "proof":
        return [("proof", ["pytest", "-m", "proof", *extra, "tests"])]
    beside = ["-n", "2", "--dist", "loadfile"]
    return [
        (f"{tier}, side by side", ["pytest", "-m", tier, *beside, *extra, "tests/unit"]),
        (
            f"{tier}, one at a time",
            ["pytest", "-m", tier, *extra, "tests/integration", "tests/e2e"],
        ),
    ]


def main() -> int:
    """Run what was asked for and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tier", action="append", choices=["gate", "full", "proof"])
    parser.add_argument(
        "--complete", default="", help="tiers, comma-separated, of which nothing may be left out"
    )
    options, extra = parser.parse_known_args()
    tiers = options.tier or ["gate", "full"]
    failed: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        left_out = Path(folder) / "left-out"
        environment = dict(
            os.environ,
            PITHEAD_COMPLETE_TIERS=options.complete,
            PITHEAD_LEFT_OUT=str(left_out),
        )
        steps = list(CHECKS) if "gate" in tiers else []
        for tier in tiers:
            steps += tier_steps(tier, extra)
        for name, command in steps:
            if not run(name, command, environment):
                failed.append(name)
        report(left_out, tiers)
    if failed:
        print(f"\nFailed: {', '.join(failed)}")
    return 1 if failed else 0


def report(left_out: Path, tiers: list[str]) -> None:
    """Print what did not run, each with its reason."""
    print("\nLeft out:")
    rows = left_out.read_text().splitlines() if left_out.exists() else []
    for row in sorted(set(rows)):
        entry = json.loads(row)
        print(f"  {entry['test']}: {entry['reason']}")
    if "proof" not in tiers:
        print("  the proof tier: runs on demand with `make proof`")
    elif not rows:
        print("  nothing")


if __name__ == "__main__":
    sys.exit(main())
