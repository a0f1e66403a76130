"""Records to bytes and back, believing nothing that is read. Pure.

A reader may meet a batch of a newer or older version, of a broken edge, or of a
region that lies; what passes here has columns of one length, indices inside
their dictionaries and numbers inside their ranges, so that accounting need not
look again. What a value means (a known login, a plausible weight) is not judged.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from google.protobuf.message import DecodeError

from pithead.contracts.share_log_pb2 import BlockRecord, Login, Segment, ShareBatch
from pithead.log.topics import FORMAT, FORMATS_BACK, accepts

PRODUCER_BYTES = 16
HASH_BYTES = 32
EXTRANONCE1_BYTES = 5
SLOT_MAX = 255
"""A slot is the first byte of extranonce1."""

WEIGHT_MAX = (1 << 63) - 1
"""Weights are summed in signed 64-bit columns; one share above it is an error by itself."""

TIME_MS_MAX = (1 << 53) - 1
"""Exact in every language and column type that will ever show it."""

NAME_CHARS_MAX = 256
"""Accounts are addresses, workers and pools are names: longer is garbage."""

NUL = "\0"
"""The one character that PostgreSQL's text cannot hold."""

HEADER_BYTES_MIN = 80
"""A block begins with a header of the Bitcoin family or a longer one."""

HEADER_BYTES_MAX = 4096
"""The longest header in use (Equihash with its solution) has 1487 bytes."""

SHARE_COLUMNS = ("segment", "weight", "time_offset_ms", "serial", "flags")
"""Columns with one entry a share, as `login` has."""


class Logins(NamedTuple):
    """The logins of a batch of any format, columns of equal length."""

    accounts: Sequence[str]
    workers: Sequence[str]
    slots: Sequence[int]
    best: Sequence[int]
    """Zeros in format 1, which knew no best share."""


class Extents(NamedTuple):
    """Greatest numbers of columns, and the least weight; zeros of empty ones."""

    login: int
    segment: int
    weight_min: int
    weight: int
    slot: int
    best: int


class BatchError(Exception):
    """Raised for a record that cannot be booked: keep it aside, alarm, go on with the next."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field
        self.problem = problem


class NewerFormat(BatchError):
    """Raised for a record of a version that a later release writes: an upgrade reads it, so wait.

    One that is further ahead than readers look back is taken for garbage.
    """


class _Identified(Protocol):
    @property
    def format(self) -> int: ...
    @property
    def producer(self) -> bytes: ...
    @property
    def pool(self) -> str: ...
    @property
    def coin(self) -> str: ...
    @property
    def region(self) -> str: ...


def encode_batch(batch: ShareBatch) -> bytes:
    """Return the bytes of a batch; stamps `format`. `BatchError` for one no reader would take."""
    batch.format = FORMAT
    check_batch(batch)
    return batch.SerializeToString()


def decode_batch(payload: bytes) -> ShareBatch:
    """Return the batch in `payload`; `BatchError` says what is wrong with it."""
    batch = parse_batch(payload)
    check_batch(batch)
    return batch


def parse_batch(payload: bytes) -> ShareBatch:
    """Return the batch in `payload` before any check; `BatchError` when it is no message."""
    batch = ShareBatch()
    _parse(batch, payload)
    return batch


def encode_block(record: BlockRecord) -> bytes:
    """Return the bytes of a block record; stamps `format`. `BatchError` as for reading."""
    record.format = FORMAT
    check_block(record)
    return record.SerializeToString()


def decode_block(payload: bytes) -> BlockRecord:
    """Return the block record in `payload`; `BatchError` says what is wrong with it."""
    record = BlockRecord()
    _parse(record, payload)
    check_block(record)
    return record


def logins_of(batch: ShareBatch) -> Logins:
    """Return the logins that shares, rejects and sessions of a batch point to."""
    if batch.format == 1:
        return Logins(
            [login.account for login in batch.logins],
            [login.worker for login in batch.logins],
            [login.slot for login in batch.logins],
            [0] * len(batch.logins),
        )
    return Logins(list(batch.account), list(batch.worker), batch.slot, batch.best)


def check_batch(batch: ShareBatch) -> None:
    """Raise `BatchError` for the first thing by which `batch` breaks the format."""
    logins = logins_of(batch)
    # A list is read twice faster than protobuf's container.
    weights = list(batch.weight)
    extents = Extents(
        login=max(list(batch.login), default=0),
        segment=max(list(batch.segment), default=0),
        weight_min=min(weights, default=0),
        weight=max(weights, default=0),
        slot=max(list(logins.slots), default=0),
        best=max(list(logins.best), default=0),
    )
    check_parts(batch, logins, extents)


def check_parts(batch: ShareBatch, logins: Logins, extents: Extents) -> None:
    """Check a batch whose logins and extents are at hand already."""
    _check_identity(batch)
    _at_most("time_base_ms", batch.time_base_ms, TIME_MS_MAX)
    _check_logins(batch, logins, extents)
    for index, segment in enumerate(batch.segments):
        _check_segment(f"segments[{index}]", segment)
    _check_shares(batch, len(logins.accounts), extents)
    for index, reject in enumerate(batch.rejects):
        _below(f"rejects[{index}].login", reject.login, len(logins.accounts), "logins")
    for index, session in enumerate(batch.sessions):
        path = f"sessions[{index}]"
        _length(f"{path}.extranonce1", session.extranonce1, EXTRANONCE1_BYTES)
        _below(f"{path}.login", session.login, len(logins.accounts), "logins")
        _name(f"{path}.agent", session.agent, may_be_empty=True)
    for index, sample in enumerate(batch.samples):
        path = f"samples[{index}]"
        _below(f"{path}.share", sample.share, len(batch.login), "shares")
        if not HEADER_BYTES_MIN <= len(sample.header) <= HEADER_BYTES_MAX:
            raise BatchError(f"{path}.header", f"{len(sample.header)} bytes are no header")


def check_block(record: BlockRecord) -> None:
    """Raise `BatchError` for the first thing by which `record` breaks the format."""
    _check_identity(record)
    _length("hash", record.hash, HASH_BYTES)
    _length("parent", record.parent, HASH_BYTES)
    _length("extranonce1", record.extranonce1, EXTRANONCE1_BYTES)
    if len(record.block) < HEADER_BYTES_MIN:
        raise BatchError("block", f"{len(record.block)} bytes are no block")
    _check_login("login", record.login)
    _at_most("weight", record.weight, WEIGHT_MAX)
    _at_most("value", record.value, WEIGHT_MAX)
    _at_most("found_ms", record.found_ms, TIME_MS_MAX)


def _parse(message: ShareBatch | BlockRecord, payload: bytes) -> None:
    try:
        message.ParseFromString(payload)
    except DecodeError as error:
        raise BatchError("record", f"{len(payload)} bytes are no {type(message).__name__}") from (
            error
        )


def _check_identity(record: _Identified) -> None:
    if not accepts(record.format):
        oldest = max(1, FORMAT - FORMATS_BACK)
        newer = FORMAT < record.format <= FORMAT + FORMATS_BACK
        raise (NewerFormat if newer else BatchError)(
            "format",
            f"version {record.format}, this program reads {oldest} to {FORMAT}; "
            "upgrade the hub before the regions",
        )
    _length("producer", record.producer, PRODUCER_BYTES)
    _name("pool", record.pool)
    _name("coin", record.coin)
    _name("region", record.region)


def _check_login(path: str, login: Login) -> None:
    _name(f"{path}.account", login.account)
    _name(f"{path}.worker", login.worker, may_be_empty=True)
    _at_most(f"{path}.slot", login.slot, SLOT_MAX)


def _check_logins(batch: ShareBatch, logins: Logins, extents: Extents) -> None:
    if batch.format == 1:
        for name in ("account", "worker", "slot", "best", "samples"):
            if len(getattr(batch, name)):
                raise BatchError(name, "format 1 has no such column")
    elif len(batch.logins):
        raise BatchError("logins", f"format {batch.format} has columns in their place")
    for name, column in zip(("worker", "slot", "best"), logins[1:], strict=True):
        if len(column) != len(logins.accounts):
            raise BatchError(
                name, f"{len(column)} entries where account has {len(logins.accounts)}"
            )
    _names("account", logins.accounts)
    _names("worker", logins.workers, may_be_empty=True)
    _at_most("slot", extents.slot, SLOT_MAX)
    _at_most("best", extents.best, WEIGHT_MAX)


def _check_segment(path: str, segment: Segment) -> None:
    _length(f"{path}.parent", segment.parent, HASH_BYTES)
    _at_most(f"{path}.value", segment.value, WEIGHT_MAX)
    for index, aux in enumerate(segment.aux):
        _length(f"{path}.aux[{index}].parent", aux.parent, HASH_BYTES)


def _check_shares(batch: ShareBatch, logins: int, extents: Extents) -> None:
    shares = len(batch.login)
    columns = (batch.segment, batch.weight, batch.time_offset_ms, batch.serial, batch.flags)
    for name, column in zip(SHARE_COLUMNS, columns, strict=True):
        if len(column) != shares:
            raise BatchError(name, f"{len(column)} entries where login has {shares}")
    if not shares:
        return
    _below("login", extents.login, logins, "logins")
    _below("segment", extents.segment, len(batch.segments), "segments")
    if extents.weight_min < 1:
        raise BatchError("weight", "a share without weight")
    _at_most("weight", extents.weight, WEIGHT_MAX)


def _length(path: str, value: bytes, expected: int) -> None:
    if len(value) != expected:
        raise BatchError(path, f"expected {expected} bytes, got {len(value)}")


def _name(path: str, value: str, *, may_be_empty: bool = False) -> None:
    if not value and not may_be_empty:
        raise BatchError(path, "empty")
    if len(value) > NAME_CHARS_MAX:
        raise BatchError(path, f"{len(value)} characters, at most {NAME_CHARS_MAX} are allowed")
    if NUL in value:
        raise BatchError(path, "holds NUL, which is no text")


def _names(column: str, names: Sequence[str], *, may_be_empty: bool = False) -> None:
    """Check hundreds of names in a few microseconds; only a bad one is looked for by itself."""
    if not names:
        return
    good = len(max(names, key=len)) <= NAME_CHARS_MAX and NUL not in "".join(names)
    if not good or not (may_be_empty or all(names)):
        for index, name in enumerate(names):
            _name(f"{column}[{index}]", name, may_be_empty=may_be_empty)


def _below(path: str, index: int, size: int, dictionary: str) -> None:
    if index >= size:
        raise BatchError(path, f"index {index} into {dictionary} of {size}")


def _at_most(path: str, value: int, limit: int) -> None:
    if value > limit:
        raise BatchError(path, f"{value} is above {limit}")
