"""Makes the project's container image from packages, without a container engine.

The file system is the same as the Containerfile's in what matters: Python of
Debian 12, the locked packages, the project. Three layers, from what changes
seldom to what changes often, each kept in the cache under the hash of its
recipe, so that an edit of the project costs about a second.
"""

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
PYTHON = "3.11"
"""Python of Debian 12; the Containerfile names the same."""
USER = 10001
PACKAGES = (
    f"python{PYTHON}-minimal",
    f"libpython{PYTHON}-stdlib",
    "libgcc-s1",
    "libstdc++6",
    "ca-certificates",
    "busybox-static",
    "tzdata",
)
NOT_NEEDED = ("cdebconf", "debconf", "dpkg", "install-info", "libdb5", "libdebian-installer",
              "libgdbm", "libgssapi", "libk5crypto", "libkeyutils", "libkrb5", "libnewt", "libnsl",
              "libperl", "libslang", "libtextwrap", "libtirpc", "mailcap", "media-types",
              "mime-support", "openssl", "perl", "readline-common", "tar")  # fmt: skip
"""Packages of the closure that only maintainer scripts or unused modules want."""
SHELL_TOOLS = ("sh", "cat", "ls", "env", "sleep", "wget", "nc", "tail", "ps", "kill")
EPOCH = 0
"""Time of every file in a layer: the same input gives the same bytes."""
STEP_LIMIT_S = 600
SITE = "app/site"


@dataclass(frozen=True)
class Image:
    """One image as a docker-archive, ready for `ctr images import` or `kind load`."""

    reference: str
    archive: Path
    layer_bytes: tuple[int, ...]
    """Plain size of each layer."""

    @property
    def size(self) -> int:
        """Bytes of the unpacked file system."""
        return sum(self.layer_bytes)


def build(reference: str, cache: Path) -> Image:
    """Make the image from this checkout; `reference` is its full name with a tag."""
    cache.mkdir(parents=True, exist_ok=True)
    layers = [
        _layer(cache, "base", _base_recipe(), _make_base),
        _layer(cache, "packages", _packages_recipe(), _make_packages),
        _layer(cache, "project", _project_recipe(), _make_project),
    ]
    _forget_old(cache, "project", keep=3)
    archive = cache / f"image-{_digest(reference, *(layer.stem for layer in layers))}.tar"
    if not archive.exists():
        _write_archive(archive, reference, layers)
        _forget_old(cache, "image", keep=2)
    return Image(reference, archive, tuple(layer.stat().st_size for layer in layers))


def project_tag() -> str:
    """A tag that changes with every byte that goes into the image."""
    return _digest(_base_recipe(), _packages_recipe(), _project_recipe())


def _digest(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _base_recipe() -> str:
    return _digest(*PACKAGES, *NOT_NEEDED, *SHELL_TOOLS, str(USER), "3")


def _packages_recipe() -> str:
    return _digest((ROOT / "requirements/run.txt").read_text(), PYTHON, "3")


def _project_recipe() -> str:
    digest = hashlib.sha256()
    for path in _project_files():
        digest.update(str(path.relative_to(ROOT)).encode() + b"\0" + path.read_bytes())
    digest.update((ROOT / "pyproject.toml").read_bytes())
    return digest.hexdigest()[:16]


def _project_files() -> Iterator[Path]:
    for folder in ("operator", "workloads"):
        for path in sorted((ROOT / folder).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                yield path


def _layer(cache: Path, name: str, recipe: str, make: Callable[[Path], None]) -> Path:
    """Return the layer's tar, made once for its recipe even when two ask at the same time."""
    path = cache / f"{name}-{recipe}.tar"
    with _locked(cache / f"{name}.lock"):
        if not path.exists():
            with tempfile.TemporaryDirectory(dir=cache) as scratch:
                root = Path(scratch) / "root"
                root.mkdir()
                make(root)
                unfinished = Path(scratch) / "layer.tar"
                _pack(root, unfinished)
                unfinished.replace(path)
    os.utime(path)
    return path


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _forget_old(cache: Path, name: str, *, keep: int) -> None:
    found = sorted(cache.glob(f"{name}-*.tar"), key=lambda path: path.stat().st_mtime)
    for path in found[:-keep]:
        path.unlink(missing_ok=True)


def _run(command: list[str], cwd: Path | None = None) -> str:
    done = subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, timeout=STEP_LIMIT_S, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[:4])} ... failed: {done.stderr[-2000:]}")
    return done.stdout


def _make_base(root: Path) -> None:
    """Unpack the packages that Python needs; maintainer scripts do not run."""
    downloads = root.parent / "debs"
    downloads.mkdir()
    if not any(Path("/var/lib/apt/lists").glob("*Packages*")):
        _run(["apt-get", "update"])
    closure = _run(
        ["apt-cache", "depends", "--recurse", "--no-recommends", "--no-suggests",
         "--no-conflicts", "--no-breaks", "--no-replaces", "--no-enhances", *PACKAGES]
    )  # fmt: skip
    names = {line for line in closure.splitlines() if line[:1].isalnum()}
    wanted = sorted(name for name in names if not name.startswith(NOT_NEEDED))
    # apt drops its rights to a user of its own, who may not write here.
    download = ["apt-get", "-o", "APT::Sandbox::User=root", "download", *wanted]
    try:
        _run(download, cwd=downloads)
    except RuntimeError:
        # Old lists name versions that the archive has dropped.
        _run(["apt-get", "update"])
        _run(download, cwd=downloads)
    for package in sorted(downloads.glob("*.deb")):
        _run(["dpkg-deb", "-x", str(package), str(root)])
    for path in ("usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/lintian"):
        shutil.rmtree(root / path, ignore_errors=True)
    for path, mode in (("tmp", 0o1777), ("proc", 0o755), ("sys", 0o755), ("dev", 0o755),
                       ("etc/ssl/certs", 0o755), ("run", 0o755), ("bin", 0o755),
                       ("usr/bin", 0o755)):  # fmt: skip
        (root / path).mkdir(parents=True, exist_ok=True)
        (root / path).chmod(mode)
    (root / "usr/bin/python3").symlink_to(f"python{PYTHON}")
    for tool in SHELL_TOOLS:
        if not (root / "bin" / tool).exists():
            (root / "bin" / tool).symlink_to("busybox")
    (root / "etc/passwd").write_text(
        f"root:x:0:0:root:/root:/bin/sh\npithead:x:{USER}:{USER}:pithead:/tmp:/bin/sh\n"
    )
    (root / "etc/group").write_text(f"root:x:0:\npithead:x:{USER}:\n")
    _compile(root / f"usr/lib/python{PYTHON}")
    certificates = sorted((root / "usr/share/ca-certificates/mozilla").glob("*.crt"))
    bundle = "".join(path.read_text() for path in certificates)
    (root / "etc/ssl/certs/ca-certificates.crt").write_text(bundle)


def _make_packages(root: Path) -> None:
    _run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
         "--require-hashes", "--only-binary=:all:", "--python-version", PYTHON,
         "--no-compile", "--target", str(root / SITE), "-r", str(ROOT / "requirements/run.txt")]
    )  # fmt: skip
    for folder in list((root / SITE).rglob("tests")):
        shutil.rmtree(folder, ignore_errors=True)
    _compile(root / SITE)


def _make_project(root: Path) -> None:
    site = root / SITE
    for path in _project_files():
        target = site / path.relative_to(ROOT / path.relative_to(ROOT).parts[0])
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    _compile(site)
    _write_metadata(site)
    command = root / "usr/bin/pithead"
    command.parent.mkdir(parents=True)
    command.write_text(
        f"#!/usr/bin/python{PYTHON}\nimport sys\nfrom pithead.cli import main\nsys.exit(main())\n"
    )
    command.chmod(0o755)


def _compile(folder: Path) -> None:
    """Write bytecode: a read-only root can not keep it, and each start would compile anew.

    Only the same Python makes usable bytecode; with another one the image works, starting slower.
    """
    if f"{sys.version_info.major}.{sys.version_info.minor}" == PYTHON:
        # The files' times do not survive the layer, so nothing is compared at the import.
        _run(
            [sys.executable, "-m", "compileall", "-q", "-j", "2", "-s", str(folder), "-p", "/",
             "--invalidation-mode", "unchecked-hash", str(folder)]
        )  # fmt: skip


def _write_metadata(site: Path) -> None:
    """Entry points are found by a distribution's metadata: take the wheel's own."""
    with tempfile.TemporaryDirectory() as scratch:
        _run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", scratch], cwd=ROOT)
        (wheel,) = Path(scratch).glob("*.whl")
        shutil.unpack_archive(wheel, Path(scratch) / "wheel", format="zip")
        (info,) = (Path(scratch) / "wheel").glob("*.dist-info")
        shutil.copytree(info, site / info.name)


def _pack(root: Path, target: Path) -> None:
    """Write a layer whose bytes depend on the files alone."""

    def plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
        member.uid = member.gid = 0
        member.uname = member.gname = ""
        member.mtime = EPOCH
        return member

    with tarfile.open(target, "w") as layer:
        for path in sorted(root.rglob("*")):
            layer.add(path, arcname=str(path.relative_to(root)), recursive=False, filter=plain)


def _write_archive(archive: Path, reference: str, layers: list[Path]) -> None:
    """Write a docker-archive: a manifest, a configuration and the layers."""
    digests = [_file_digest(layer) for layer in layers]
    configuration = {
        "architecture": "amd64",
        "os": "linux",
        "config": {
            "User": f"{USER}:{USER}",
            "Entrypoint": ["pithead"],
            "WorkingDir": "/tmp",
            "Env": [
                "PATH=/usr/local/bin:/usr/bin:/bin",
                f"PYTHONPATH=/{SITE}",
                "PYTHONUNBUFFERED=1",
                "PYTHONDONTWRITEBYTECODE=1",
            ],
        },
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}" for digest in digests]},
        "history": [{"created_by": layer.stem} for layer in layers],
    }
    manifest = [
        {
            "Config": "config.json",
            "RepoTags": [reference],
            "Layers": [f"{digest}.tar" for digest in digests],
        }
    ]
    with tempfile.TemporaryDirectory(dir=archive.parent) as scratch:
        folder = Path(scratch)
        (folder / "config.json").write_text(json.dumps(configuration))
        (folder / "manifest.json").write_text(json.dumps(manifest))
        unfinished = folder / "image.tar"
        with tarfile.open(unfinished, "w") as whole:
            whole.add(folder / "config.json", "config.json")
            for layer, digest in zip(layers, digests, strict=True):
                whole.add(layer, f"{digest}.tar")
            whole.add(folder / "manifest.json", "manifest.json")
        unfinished.replace(archive)


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
