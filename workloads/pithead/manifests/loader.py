"""Answers for reading manifests from files: paths in, valid objects or every problem out.

Files are read in the order given, directories by file name (not their
subdirectories). Each document is validated by the models, then all together by
`checks`; nothing is raised before everything was looked at, so one run shows
all that is wrong. Reads files and nothing else of the outside.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

from pithead.manifests.base import API_VERSION
from pithead.manifests.checks import check
from pithead.manifests.errors import ManifestErrors, Problem
from pithead.manifests.objects import Manifests, Objects
from pithead.manifests.source import FILE_BYTES_MAX, Document, read_documents
from pithead.manifests.validation import read_object

FILES_MAX = 1000
"""Bounds a directory that was given by mistake."""

SUFFIXES = (".yaml", ".yml")


def load_manifests(paths: Sequence[Path]) -> Manifests:
    """Read and check the manifests in files and directories; raises ManifestErrors."""
    problems: list[Problem] = []
    documents: list[Document] = []
    for file in _files(paths, problems):
        content = _content(file, problems)
        if content is not None:
            found, wrong = read_documents(content, str(file))
            documents += found
            problems += wrong
    return _manifests(documents, problems)


def parse_manifests(content: bytes, name: str) -> Manifests:
    """Read and check the manifests of one text; `name` stands for its file in errors."""
    documents, problems = read_documents(content, name)
    return _manifests(documents, problems)


def _manifests(documents: list[Document], problems: list[Problem]) -> Manifests:
    order = {document.file: index for index, document in enumerate(documents)}
    objects = Objects()
    for document in documents:
        read_object(document, objects, problems)
    if not documents and not problems:
        what = f"no manifest is given; expected MiningPool and more of {API_VERSION}"
        problems.append(Problem("manifests", 0, "", "", what))
    problems += check(objects, complete=not problems)
    if problems:
        unique = dict.fromkeys(problems)
        raise ManifestErrors(sorted(unique, key=lambda p: (order.get(p.file, -1), p.file, p.line)))
    return objects.manifests(objects.pools[0].namespace)


def _files(paths: Sequence[Path], problems: list[Problem]) -> list[Path]:
    found: dict[Path, Path] = {}
    for path in paths:
        if path.is_dir():
            inside = sorted(p for p in path.iterdir() if p.suffix in SUFFIXES and p.is_file())
            if not inside:
                what = "the directory holds no file that ends in .yaml or .yml"
                problems.append(Problem(str(path), 0, "", "", what))
            _add(found, inside)
        elif path.exists():
            _add(found, [path])
        else:
            problems.append(Problem(str(path), 0, "", "", "no such file or directory"))
    files = list(found.values())
    if len(files) > FILES_MAX:
        what = f"{len(files)} files are given; at most {FILES_MAX} are read"
        problems.append(Problem(str(paths[0]), 0, "", "", what))
    return files[:FILES_MAX]


def _add(found: dict[Path, Path], paths: Iterable[Path]) -> None:
    # A file that is given by name and again by its directory is read once.
    for path in paths:
        found.setdefault(path.resolve(), path)


def _content(file: Path, problems: list[Problem]) -> bytes | None:
    try:
        with file.open("rb") as stream:
            return stream.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        what = f"cannot be read: {error.strerror}; check the path and its permissions"
        problems.append(Problem(str(file), 0, "", "", what))
        return None
