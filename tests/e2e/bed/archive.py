"""Packs a few files of this machine into a container image, for containers that need no Python."""

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Mapping
from pathlib import Path


def pack(
    target: Path,
    reference: str,
    files: Mapping[str, Path | bytes],
    entrypoint: list[str],
    links: Mapping[str, str] | None = None,
) -> Path:
    """Write a docker-archive with one layer and return it.

    `files` maps paths in the image to files or contents, all made executable; `links` maps paths
    to what they point to. `reference` is the full name with a tag.
    """
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        for name, source in files.items():
            content = source if isinstance(source, bytes) else source.read_bytes()
            _add(tar, name, content, 0o755)
        for name, pointed in (links or {}).items():
            member = tarfile.TarInfo(name)
            member.type, member.linkname = tarfile.SYMTYPE, pointed
            tar.addfile(member)
    digest = hashlib.sha256(layer.getvalue()).hexdigest()
    configuration = {
        "architecture": {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine],
        "os": "linux",
        "config": {"Entrypoint": entrypoint, "Env": ["PATH=/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
    }
    manifest = [{"Config": "config.json", "RepoTags": [reference], "Layers": ["layer.tar"]}]
    target.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(target, "w") as tar:
        _add(tar, "config.json", json.dumps(configuration).encode(), 0o644)
        _add(tar, "layer.tar", layer.getvalue(), 0o644)
        _add(tar, "manifest.json", json.dumps(manifest).encode(), 0o644)
    return target


def _add(tar: tarfile.TarFile, name: str, content: bytes, mode: int) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(content), mode
    tar.addfile(member, io.BytesIO(content))
