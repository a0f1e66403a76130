"""Is what an edge says of a share so? Judged by the header that came as a sample. Pure.

The hub knows which share of a batch must show its header (`pithead.log.samples`),
and the header shows by itself the work, the parent and the bits that it is for. It
does not show whose work it was: that stands in the coinbase, which is not here. An
edge that means to lie chooses what it shows, and is caught by the chain instead:
work that is not there finds no blocks (`withholding`).
"""

from collections.abc import Callable
from enum import StrEnum
from typing import NamedTuple

from pithead.coins.block import HEADER_BYTES, parse_header
from pithead.coins.params import ChainParams
from pithead.coins.weight import WeightError, bits_to_target, target_of_weight
from pithead.log.columns import SOLVED, Columns
from pithead.log.samples import sample_digest, sampled_share

FIRST_FORMAT = 2
"""Of batches that carry samples."""

AHEAD_S_MAX = 2 * 7200
"""Nodes refuse blocks two hours ahead of their clock, and miners may roll a job's time on by as
much again."""

BEHIND_S_MAX = 24 * 3600
"""A job begins with its template's time, and a quiet chain keeps its work for long."""


class Fault(StrEnum):
    """What is wrong with a sample."""

    MISSING = "missing"
    """The batch shows no header."""
    OTHER = "other share"
    """It shows one of another share than the one that was due."""
    LENGTH = "length"
    """The bytes are no header of the chain."""
    WORK = "work"
    """The hash does not prove the share's weight."""
    PARENT = "parent"
    """The header builds on another block than the share's segment."""
    BITS = "bits"
    """The header is for another network difficulty than the share's segment."""
    TIME = "time"
    """The header's time is far from the share's."""
    SOLVED = "solved"
    """The hash solves a block and the share does not say so, or the other way round."""


class Share(NamedTuple):
    """What a batch says of the share that is due, and the header that it shows."""

    producer: bytes
    sequence: int
    region: str
    due: int
    """Index of the share that is to show its header."""
    shown: int | None
    """Index of the share that the header is said to be of; None when there is none."""
    header: bytes
    weight: int
    time_ms: int
    parent: bytes
    bits: int
    solved: bool


class Found(NamedTuple):
    """A fault and, for a person, what was expected and got."""

    fault: Fault
    detail: str


def due(producer: bytes, sequence: int, percent: int) -> bool:
    """Tell whether a batch is among the `percent` of all that are checked: always the same ones."""
    return int.from_bytes(sample_digest(producer, sequence)[:8], "big") % 100 < percent


def share_due(columns: Columns) -> Share | None:
    """The share of a batch that must show its header; None when there is nothing to show."""
    batch = columns.batch
    if batch.format < FIRST_FORMAT or not len(columns):
        return None
    index = sampled_share(batch.producer, batch.sequence, len(columns))
    shown, header = None, b""
    for sample in batch.samples:
        # The first one, unless one is the right one.
        if shown is None or sample.share == index:
            shown, header = sample.share, sample.header
    segment = batch.segments[batch.segment[index]]
    return Share(
        producer=batch.producer,
        sequence=batch.sequence,
        region=batch.region,
        due=index,
        shown=shown,
        header=header,
        weight=batch.weight[index],
        time_ms=batch.time_base_ms + batch.time_offset_ms[index],
        parent=segment.parent,
        bits=segment.bits,
        solved=bool(batch.flags[index] & SOLVED),
    )


def fault_of(share: Share, params: ChainParams, pow_value: Callable[[bytes], int]) -> Found | None:
    """What is wrong with a share, None when nothing is; `pow_value` hashes a header."""
    if share.shown is None:
        return Found(Fault.MISSING, f"share {share.due} was to show its header")
    if share.shown != share.due:
        return Found(Fault.OTHER, f"share {share.due} was due, not {share.shown}")
    if len(share.header) != HEADER_BYTES:
        return Found(Fault.LENGTH, f"a header has {HEADER_BYTES} bytes, got {len(share.header)}")
    header = parse_header(share.header)
    if header.parent != share.parent:
        return Found(
            Fault.PARENT,
            f"it builds on {header.parent[::-1].hex()}, its segment on {share.parent[::-1].hex()}",
        )
    if header.bits != share.bits:
        return Found(Fault.BITS, f"it has {header.bits:#010x}, its segment {share.bits:#010x}")
    ahead_s = header.time - share.time_ms // 1000
    if not -BEHIND_S_MAX <= ahead_s <= AHEAD_S_MAX:
        return Found(Fault.TIME, f"its time is {ahead_s} s from the share's")
    return _fault_of_work(share, params, pow_value(share.header))


def _fault_of_work(share: Share, params: ChainParams, value: int) -> Found | None:
    try:
        target = target_of_weight(share.weight, params.shift)
        network = bits_to_target(share.bits)
    except WeightError as error:
        return Found(Fault.WORK, str(error))
    if value > target:
        return Found(Fault.WORK, f"hash {value:064x} is above the target of weight {share.weight}")
    if (value <= network) != share.solved:
        said = "solved a block" if share.solved else "solved none"
        return Found(Fault.SOLVED, f"the share says that it {said}, its hash is {value:064x}")
    return None
