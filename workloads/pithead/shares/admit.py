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

from pithead.shares.progress import Producer, Progress
from pithead.shares.records import Aside, Entry
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
    taken: list[Entry] = field(default_factory=list)
    aside: list[Aside] = field(default_factory=list)
    closings: list[Closing] = field(default_factory=list)
    duplicates: int = 0


def admit(
    pool: int,
    reads: Iterable[Entry | Aside],
    producers: Mapping[bytes, Producer],
    *,
    exclusive: bool,
) -> Admission:
    """Sort records into taken, dropped and set aside; `producers` are left as they are.

    `exclusive`: a partition has one writer at a time.
    """
    admission = Admission(dict(producers))
    for read in reads:
        if isinstance(read, Aside):
            admission.aside.append(read)
        else:
            _take(admission, pool, read, exclusive=exclusive)
    return admission


def _take(admission: Admission, pool: int, entry: Entry, *, exclusive: bool) -> None:
    known = admission.producers.get(entry.producer)
    if known is not None and known.pool != pool:
        fault = "producer: it has written for another pool before"
        admission.aside.append(Aside(entry.partition, entry.position, entry.payload, fault))
        return
    producer = known or Producer(pool, entry.region, entry.partition, Progress())
    progress = producer.progress.take(
        entry.sequence, promise=entry.promise, end=entry.end, time_ms=entry.moment_ms
    )
    if progress is None:
        admission.duplicates += 1
        return
    if exclusive and known is None and entry.sequence == 0:
        _close_earlier(admission, pool, entry.producer, entry.partition)
    admission.producers[entry.producer] = Producer(
        producer.pool, producer.region, producer.partition, progress
    )
    admission.taken.append(entry)


def _close_earlier(admission: Admission, pool: int, successor: bytes, partition: str) -> None:
    for name, earlier in sorted(admission.producers.items()):
        if (
            earlier.pool == pool
            and earlier.partition == partition
            and earlier.progress.state is ProducerState.OPEN
        ):
            admission.producers[name] = replace(earlier, progress=earlier.progress.closed())
            admission.closings.append(Closing(name, successor, partition))
