"""Records to bytes and back, believing nothing that is read. Pure.

A reader may meet a batch of a newer or older version, of a broken edge, or of a
region that lies; what passes here has columns of one length, indices inside
their dictionaries and numbers inside their ranges, so that accounting need not
look again. What a value means (a known login, a plausible weight) is not judged.
"""

from collections.abc import Sequence
from typing import Protocol

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


class BatchError(Exception):
    """Raised for a record that cannot be booked: keep it aside, alarm, go on with the next."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field
        self.problem = problem


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
    batch = ShareBatch()
    _parse(batch, payload)
    check_batch(batch)
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


def check_batch(batch: ShareBatch) -> None:
    """Raise `BatchError` for the first thing by which `batch` breaks the format."""
    _check_identity(batch)
    _at_most("time_base_ms", batch.time_base_ms, TIME_MS_MAX)
    for index, login in enumerate(batch.logins):
        # Most batches have one login a few shares: no path is made for a good one.
        if not _is_login(login):
            _check_login(f"logins[{index}]", login)
    for index, segment in enumerate(batch.segments):
        _check_segment(f"segments[{index}]", segment)
    _check_columns(batch)
    for index, reject in enumerate(batch.rejects):
        _below(f"rejects[{index}].login", reject.login, len(batch.logins), "logins")
    for index, session in enumerate(batch.sessions):
        path = f"sessions[{index}]"
        _length(f"{path}.extranonce1", session.extranonce1, EXTRANONCE1_BYTES)
        _below(f"{path}.login", session.login, len(batch.logins), "logins")
        _name(f"{path}.agent", session.agent, may_be_empty=True)


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
        raise BatchError(
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


def _is_login(login: Login) -> bool:
    return (
        0 < len(login.account) <= NAME_CHARS_MAX
        and len(login.worker) <= NAME_CHARS_MAX
        and NUL not in login.account
        and NUL not in login.worker
        and login.slot <= SLOT_MAX
    )


def _check_segment(path: str, segment: Segment) -> None:
    _length(f"{path}.parent", segment.parent, HASH_BYTES)
    _at_most(f"{path}.value", segment.value, WEIGHT_MAX)
    for index, aux in enumerate(segment.aux):
        _length(f"{path}.aux[{index}].parent", aux.parent, HASH_BYTES)


def _check_columns(batch: ShareBatch) -> None:
    shares = len(batch.login)
    columns: dict[str, Sequence[int]] = {
        "segment": batch.segment,
        "weight": batch.weight,
        "time_offset_ms": batch.time_offset_ms,
        "serial": batch.serial,
        "flags": batch.flags,
    }
    for name, column in columns.items():
        if len(column) != shares:
            raise BatchError(name, f"{len(column)} entries where login has {shares}")
    if not shares:
        return
    _below("login", max(batch.login), len(batch.logins), "logins")
    _below("segment", max(batch.segment), len(batch.segments), "segments")
    if min(batch.weight) < 1:
        raise BatchError("weight", "a share without weight")
    _at_most("weight", max(batch.weight), WEIGHT_MAX)


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


def _below(path: str, index: int, size: int, dictionary: str) -> None:
    if index >= size:
        raise BatchError(path, f"index {index} into {dictionary} of {size}")


def _at_most(path: str, value: int, limit: int) -> None:
    if value > limit:
        raise BatchError(path, f"{value} is above {limit}")
