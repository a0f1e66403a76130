"""Errors say where, what and the remedy, and carry their data."""

import pytest

from pithead.log import errors
from pithead.log.errors import LogError

pytestmark = pytest.mark.gate

SAMPLES: list[tuple[LogError, dict[str, object], str]] = [
    (errors.LogBusy("/l/p"), {"path": "/l/p"}, "stop it"),
    (errors.LogFull("/l/p", "No space"), {"path": "/l/p", "reason": "No space"}, "free space"),
    (errors.LogOverloaded("/l/p", 5, 4), {"waiting_bytes": 5, "limit_bytes": 4}, "append less"),
    (errors.LogBroken("/l/p", "sync failed"), {"reason": "sync failed"}, "open the log again"),
    (errors.LogClosed("/l/p"), {"path": "/l/p"}, "open a new one"),
    (errors.LogCorrupt("/l/p", 7, "bad"), {"position": 7, "problem": "bad"}, "restore this file"),
    (errors.LogFormatUnknown("/l/p", 9, 1), {"found": 9, "newest": 1}, "upgrade"),
    (errors.LogTruncated("/l/p", 1, 5), {"position": 1, "earliest": 5}, "replay from there"),
    (errors.LogPositionInvalid("/l/p", 9, 5), {"position": 9, "end": 5}, "replay from the earl"),
    (errors.LogUnavailable("/l/p", "no answer"), {"reason": "no answer"}, "goes on by itself"),
    (errors.LogNotAllowed("/l/p", "no"), {"path": "/l/p", "reason": "no"}, "check user, password"),
    (errors.LogTopicMissing("/l/p"), {"path": "/l/p"}, "pithead wire topics"),
    (errors.LogPartitionUnknown("/l/p", "x", 8), {"partition": "x", "partitions": 8}, "use 0 to 7"),
    (errors.TopicsUnfit("/l/p", ["ask for fewer"]), {"problems": ("ask for fewer",)}, "ask for"),
    (errors.RecordTooLarge("/l/p", 9, 5), {"size": 9, "limit": 5}, "split it"),
    (errors.BadName("topic", "a/b"), {"kind": "topic", "name": "a/b"}, "use letters"),
]


@pytest.mark.parametrize(
    ("error", "data", "remedy"), SAMPLES, ids=[type(sample[0]).__name__ for sample in SAMPLES]
)
def test_an_error_has_place_data_and_remedy(
    error: LogError, data: dict[str, object], remedy: str
) -> None:
    for name, value in data.items():
        assert getattr(error, name) == value
    assert remedy in str(error)
    assert str(error).startswith("/l/p: " if not isinstance(error, errors.BadName) else "topic ")


def test_every_error_has_a_sample() -> None:
    kinds = {kind for kind in vars(errors).values() if isinstance(kind, type)} - {LogError}
    kinds = {kind for kind in kinds if issubclass(kind, LogError)}
    assert kinds == {type(error) for error, _, _ in SAMPLES}
