"""Answers for how settings are read from a JSON file and written into one."""

from pathlib import Path
from typing import Any, TypeVar

import msgspec

from pithead.config.from_file import UnreadableSecret, with_files


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of all groups: frozen, and strict about unknown keys."""


SettingsT = TypeVar("SettingsT", bound=Settings)
StructT = TypeVar("StructT", bound=msgspec.Struct)


class Unusable(Exception):
    """Raised by a process that can not start as it is configured; the text says what to change.

    Its supervisor does not start it again: nothing but another configuration helps.
    """


class SettingsError(Unusable):
    """Raised when a settings file, or a file that it names, is missing or not of its shape."""


def _path_to_text(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")


def _text_to_path(shape: type, value: Any) -> Any:
    if issubclass(shape, Path) and isinstance(value, str):
        return Path(value)
    raise ValueError(f"expected `str` for a path, got `{type(value).__name__}`")


def to_json(value: msgspec.Struct) -> bytes:
    """Encode settings, or another struct with paths, as indented JSON."""
    return msgspec.json.format(msgspec.json.encode(value, enc_hook=_path_to_text), indent=2)


def from_json(text: bytes, shape: type[StructT]) -> StructT:
    """Decode what `to_json` wrote; raises msgspec.DecodeError with the path of what is wrong."""
    return msgspec.json.decode(text, type=shape, dec_hook=_text_to_path)


def load(path: Path, shape: type[SettingsT]) -> SettingsT:
    """Read settings of `shape` from a JSON file, with `fromFile:` values read in.

    The error names file, key and what is allowed.
    """
    try:
        value = with_files(msgspec.json.decode(path.read_bytes()))
        return msgspec.convert(value, shape, dec_hook=_text_to_path)
    except FileNotFoundError as error:
        raise SettingsError(f"{path}: no such settings file") from error
    except OSError as error:
        raise SettingsError(f"{path}: can not be read: {error.strerror}") from error
    except (msgspec.DecodeError, UnreadableSecret) as error:
        raise SettingsError(f"{path}: {error}") from error


def store(path: Path, settings: Settings) -> None:
    """Write settings where only their owner may read them: they can hold node passwords."""
    path.touch(mode=0o600)
    path.chmod(0o600)
    path.write_bytes(to_json(settings))
