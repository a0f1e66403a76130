"""Resolves the dependencies of pyproject.toml into hash-locked files for every Python."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COMPILE = (
    "uv",
    "pip",
    "compile",
    "--universal",
    "--generate-hashes",
    "--no-header",
    "--no-annotate",
    "--python-version=3.11",
    "--upgrade",
    "--quiet",
)


def compile_lock(output: str, source: str, *arguments: str) -> None:
    """Write requirements/OUTPUT from SOURCE."""
    subprocess.run(
        [sys.executable, "-m", *COMPILE, *arguments, "-o", f"requirements/{output}", source],
        cwd=ROOT,
        check=True,
    )


if __name__ == "__main__":
    compile_lock("run.txt", "pyproject.toml")
    compile_lock("embedded.txt", "pyproject.toml", "--extra=embedded", "-c", "requirements/run.txt")
    compile_lock("build.txt", "requirements/build.in", "-c", "requirements/run.txt")
    compile_lock(
        "dev.txt",
        "pyproject.toml",
        "--extra=embedded",
        "--extra=dev",
        "-c",
        "requirements/run.txt",
        "-c",
        "requirements/build.txt",
    )
