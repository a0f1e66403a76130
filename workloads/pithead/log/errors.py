"""What can go wrong with a log, one class for each thing that a caller can do about it.

Every message is one sentence with the place, what was found and the remedy;
the data stand in attributes too, so that nobody matches texts.
"""

from collections.abc import Sequence


class LogError(Exception):
    """Base of everything that a log raises for a reason outside the program."""


class LogBusy(LogError):
    """Raised when another live writer owns the partition: wait for it or stop it."""

    def __init__(self, path: str) -> None:
        super().__init__(
            f"{path}: another process writes this partition; stop it or use another partition"
        )
        self.path = path


class LogFull(LogError):
    """Raised when the disk or quota is full: nothing was kept, a later append may succeed."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path}: {reason}; free space, then appends work again by themselves")
        self.path = path
        self.reason = reason


class LogOverloaded(LogError):
    """Raised when more waits for the disk than the queue may hold: refuse work, try later."""

    def __init__(self, path: str, waiting_bytes: int, limit_bytes: int) -> None:
        super().__init__(
            f"{path}: {waiting_bytes} bytes wait to be written, the limit is {limit_bytes}; "
            "the log is too slow for this load, append less or give it faster disks"
        )
        self.path = path
        self.waiting_bytes = waiting_bytes
        self.limit_bytes = limit_bytes


class LogBroken(LogError):
    """Raised when the log failed a write that cannot be taken back: open the writer anew."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(
            f"{path}: {reason}; the last records are not confirmed, "
            "check the disk or broker and open the log again"
        )
        self.path = path
        self.reason = reason


class LogUnavailable(LogError):
    """Raised when brokers do not answer in time: a record may arrive all the same, repeat it."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(
            f"{path}: {reason}; the log goes on by itself when enough of its brokers answer"
        )
        self.path = path
        self.reason = reason


class LogNotAllowed(LogError):
    """Raised when brokers refuse this user, or their certificate cannot be trusted."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(
            f"{path}: {reason}; check user, password, rights and certificate authority"
        )
        self.path = path
        self.reason = reason


class LogTopicMissing(LogError):
    """Raised when brokers know no such topic: topics are made beforehand, never by use."""

    def __init__(self, path: str) -> None:
        super().__init__(
            f"{path}: the topic does not exist or this user may not see it; "
            "make it with `pithead wire topics`"
        )
        self.path = path


class LogPartitionUnknown(LogError):
    """Raised for a partition that the topic does not have."""

    def __init__(self, path: str, partition: str, partitions: int) -> None:
        super().__init__(
            f"{path}: there is no partition {partition!r}; use 0 to {partitions - 1}, "
            "or none and let the log choose"
        )
        self.path = path
        self.partition = partition
        self.partitions = partitions


class TopicsUnfit(LogError):
    """Raised when topics differ from what is wanted in a way that only their owner can mend."""

    def __init__(self, path: str, problems: Sequence[str]) -> None:
        super().__init__(f"{path}: {'; '.join(problems)}")
        self.path = path
        self.problems = tuple(problems)


class LogClosed(LogError):
    """Raised when a closed writer or reader is used."""

    def __init__(self, path: str) -> None:
        super().__init__(f"{path}: this writer or reader is closed; open a new one")
        self.path = path


class LogCorrupt(LogError):
    """Raised when bytes that were durable are wrong or missing; nothing is altered."""

    def __init__(self, path: str, position: int, problem: str) -> None:
        super().__init__(
            f"{path}: {problem} at position {position}; "
            "restore this file from a copy, the log goes no further without it"
        )
        self.path = path
        self.position = position
        self.problem = problem


class LogFormatUnknown(LogError):
    """Raised for a chunk file of a version that this program does not read."""

    def __init__(self, path: str, found: int, newest: int) -> None:
        super().__init__(
            f"{path}: chunk format {found}, this program reads up to {newest}; upgrade pithead"
        )
        self.path = path
        self.found = found
        self.newest = newest


class LogTruncated(LogError):
    """Raised when the position was deleted by retention; reading can go on from `earliest`."""

    def __init__(self, path: str, position: int, earliest: int) -> None:
        super().__init__(
            f"{path}: position {position} was deleted, the earliest is {earliest}; "
            "replay from there, records already seen are dropped by producer and sequence"
        )
        self.path = path
        self.position = position
        self.earliest = earliest


class LogPositionInvalid(LogError):
    """Raised when no record begins at the position, or it lies past the end of the log."""

    def __init__(self, path: str, position: int, end: int) -> None:
        super().__init__(
            f"{path}: no record begins at position {position} of a log that ends at {end}; "
            "it belongs to another or a newer copy of this log: replay from the earliest"
        )
        self.path = path
        self.position = position
        self.end = end


class RecordTooLarge(LogError):
    """Raised when a payload exceeds what one record may hold."""

    def __init__(self, path: str, size: int, limit: int) -> None:
        super().__init__(f"{path}: a record of {size} bytes exceeds the limit of {limit}; split it")
        self.path = path
        self.size = size
        self.limit = limit


class BadName(LogError):
    """Raised when a topic or partition name cannot be one."""

    def __init__(self, kind: str, name: str) -> None:
        super().__init__(
            f"{kind} {name!r}: use letters, digits, dot, underscore and hyphen, "
            "beginning with a letter or digit, at most 200 characters"
        )
        self.kind = kind
        self.name = name


WRITER_STAYS = (LogFull, LogOverloaded, LogUnavailable)
"""After these the same writer goes on; after any other error of a write it is opened anew."""
