"""Generates `pithead.contracts` from the protobuf files that lie in the service folders.

Run as `python tools/protos.py [OUTPUT_DIR]`; the drift test gives a directory of its own.
"""

import os
import sys
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "workloads" / "pithead"
HEADER = (
    '"""Generated protobuf modules: the contracts by which services meet. See tools/protos.py."""\n'
)


def generate(output: Path) -> None:
    """Write all generated modules below `output`/pithead/contracts."""
    # The mypy plugins lie beside the interpreter, which need not be on PATH.
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    target = output / "pithead" / "contracts"
    target.mkdir(parents=True, exist_ok=True)
    (target / "__init__.py").write_text(HEADER)
    for proto in sorted(PACKAGE.glob("*/*.proto")):
        plugins = ["--python_out", "--mypy_out"]
        if "service " in proto.read_text():
            plugins += ["--grpc_python_out", "--mypy_grpc_out"]
        arguments = [
            "protoc",
            f"-Ipithead/contracts={proto.parent}",
            *(f"{plugin}={output}" for plugin in plugins),
            f"pithead/contracts/{proto.name}",
        ]
        if protoc.main(arguments) != 0:
            sys.exit(f"protoc failed for {proto}")


if __name__ == "__main__":
    generate(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "workloads")
