"""Answers for text values `fromFile:/abs/path`, which stand for the content of a file."""

from pathlib import Path
from typing import Any

FROM_FILE = "fromFile:"
"""Begins a text value that stands for the content of a file."""


class UnreadableSecret(ValueError):
    """Raised for a `fromFile:` value whose file gives no text."""

    def __init__(self, file: str, reason: str, where: str) -> None:
        super().__init__(f"the file {file or '(none)'} {reason} - at `{where}`")


def with_files(value: Any, where: str = "$") -> Any:
    """Replace such texts in decoded JSON (hence Any); `where` is the path of `value` in it.

    Raises UnreadableSecret.
    """
    if isinstance(value, dict):
        return {key: with_files(each, f"{where}.{key}") for key, each in value.items()}
    if isinstance(value, list):
        return [with_files(each, f"{where}[{index}]") for index, each in enumerate(value)]
    if isinstance(value, str) and value.startswith(FROM_FILE):
        return _content(value.removeprefix(FROM_FILE), where)
    return value


def _content(file: str, where: str) -> str:
    if not file.startswith("/"):
        raise UnreadableSecret(file, "is not named by an absolute path", where)
    try:
        text = Path(file).read_text(encoding="utf-8").strip()
    except OSError as error:
        reason = f"can not be read ({error.strerror}): check what is mounted there"
        raise UnreadableSecret(file, reason, where) from error
    except UnicodeDecodeError as error:
        raise UnreadableSecret(file, "is not UTF-8 text", where) from error
    if not text:
        raise UnreadableSecret(file, "is empty", where)
    return text
