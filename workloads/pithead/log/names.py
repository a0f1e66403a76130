"""Which topic and partition names are allowed: they become directories and Kafka topics. Pure."""

import re

from pithead.log.errors import BadName

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")


def is_name(name: str) -> bool:
    """Tell whether `name` can be a topic or partition."""
    return _NAME.fullmatch(name) is not None


def check_name(kind: str, name: str) -> str:
    """Return `name`, or raise `BadName`; `kind` says what it should name."""
    if not is_name(name):
        raise BadName(kind, name)
    return name
