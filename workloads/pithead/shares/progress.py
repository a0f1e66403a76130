"""Which batches of a producer were read: its mark and the ranges that are missing. Pure.

Every sequence number is taken once, in whatever order it comes. A number beyond
the next one opens a gap; gaps are kept for ever and only shrink when a member
comes. Promise and end of a producer hold only when nothing before them is
missing: a missing batch may carry shares that the later promise no longer allows.
"""

from dataclasses import dataclass, replace

from pithead.shares.states import ProducerState

NEVER = -1


@dataclass(frozen=True, slots=True)
class Gap:
    """Missing sequences, both ends included."""

    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Progress:
    """What is known of one producer."""

    state: ProducerState = ProducerState.OPEN
    top: int = NEVER
    """Highest sequence read."""
    gaps: tuple[Gap, ...] = ()
    """In order, none touching another, all below `top`."""
    promise: int = 0
    promise_seen: int = 0
    end_seen: bool = False
    last_ms: int = 0
    """The log's time of the newest batch read; the producer's own where the log keeps none."""

    @property
    def mark(self) -> int:
        """Last sequence before which nothing is missing."""
        return self.gaps[0].first - 1 if self.gaps else self.top

    @property
    def missing(self) -> int:
        """How many sequences are missing."""
        return sum(gap.last - gap.first + 1 for gap in self.gaps)

    def take(self, sequence: int, *, promise: int, end: bool, time_ms: int) -> "Progress | None":
        """Progress after a batch, None when it was taken before.

        A closed producer stays closed: its batches are still taken, but nothing
        waits for them.
        """
        gaps = self._gaps_without(sequence)
        if gaps is None:
            return None
        top, promise_seen = max(self.top, sequence), max(self.promise_seen, promise)
        end_seen = self.end_seen or end
        state, held = self.state, self.promise
        if not gaps:
            held = promise_seen
            if end_seen and state is not ProducerState.CLOSED:
                state = ProducerState.ENDED
        elif sequence < gaps[0].first:
            held = max(held, promise)
        # Made anew once: this runs for every batch.
        return Progress(
            state=state,
            top=top,
            gaps=gaps,
            promise=held,
            promise_seen=promise_seen,
            end_seen=end_seen,
            last_ms=max(self.last_ms, time_ms),
        )

    def closed(self) -> "Progress":
        """The same producer, closed by a decision."""
        return replace(self, state=ProducerState.CLOSED)

    def _gaps_without(self, sequence: int) -> tuple[Gap, ...] | None:
        if sequence > self.top:
            if sequence == self.top + 1:
                return self.gaps
            return (*self.gaps, Gap(self.top + 1, sequence - 1))
        for index, gap in enumerate(self.gaps):
            if gap.first <= sequence <= gap.last:
                parts = (Gap(gap.first, sequence - 1), Gap(sequence + 1, gap.last))
                left = tuple(part for part in parts if part.first <= part.last)
                return (*self.gaps[:index], *left, *self.gaps[index + 1 :])
        return None


@dataclass(frozen=True, slots=True)
class Producer:
    """One producer as stored."""

    pool: int
    region: str
    partition: str
    progress: Progress
