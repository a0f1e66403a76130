"""Which of the records read are taken, and which producers that closes. Pure.

Records are taken in the order given: partition by partition, each in the order
of its log. A batch is taken once, whatever partition it comes from. Where a
partition has one writer at a time, the first batch of a producer proves every
earlier producer of that partition dead: its lock had been given up. Where
producers share partitions it proves nothing, and the sealer closes those that
have fallen silent.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from pithead.log.columns import Columns
from pithead.shares.progress import Producer, Progress
from pithead.shares.records import Read
from pithead.shares.states import ProducerState


@dataclass(frozen=True, slots=True)
class Closing:
    """A producer closed because another one writes its partition."""

    producer: bytes
    successor: bytes
    partition: str


@dataclass(slots=True)
class Admission:
    """What one poll brings."""

    producers: dict[bytes, Producer]
    taken: list[tuple[str, Columns]] = field(default_factory=list)
    """Partition and batch."""
    aside: list[Read] = field(default_factory=list)
    closings: list[Closing] = field(default_factory=list)
    duplicates: int = 0


def admit(
    pool: int, reads: Iterable[Read], producers: Mapping[bytes, Producer], *, exclusive: bool
) -> Admission:
    """Sort records into taken, dropped and set aside; `producers` are left as they are.

    `exclusive`: a partition has one writer at a time.
    """
    admission = Admission(dict(producers))
    for read in reads:
        if read.columns is None:
            admission.aside.append(read)
        else:
            _take(admission, pool, read, read.columns, exclusive=exclusive)
    return admission


def _take(
    admission: Admission, pool: int, read: Read, columns: Columns, *, exclusive: bool
) -> None:
    batch = columns.batch
    known = admission.producers.get(batch.producer)
    if known is not None and known.pool != pool:
        fault = "producer: it has written for another pool before"
        admission.aside.append(replace(read, columns=None, fault=fault))
        return
    producer = known or Producer(pool, batch.region, read.partition, Progress())
    progress = producer.progress.take(
        batch.sequence, promise=batch.promise, end=batch.end, time_ms=read.moment_ms
    )
    if progress is None:
        admission.duplicates += 1
        return
    if exclusive and known is None and batch.sequence == 0:
        _close_earlier(admission, pool, batch.producer, read.partition)
    admission.producers[batch.producer] = replace(producer, progress=progress)
    admission.taken.append((read.partition, columns))


def _close_earlier(admission: Admission, pool: int, successor: bytes, partition: str) -> None:
    for name, earlier in sorted(admission.producers.items()):
        if (
            earlier.pool == pool
            and earlier.partition == partition
            and earlier.progress.state is ProducerState.OPEN
        ):
            admission.producers[name] = replace(earlier, progress=earlier.progress.closed())
            admission.closings.append(Closing(name, successor, partition))
