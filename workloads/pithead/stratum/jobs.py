"""The job book: templates become works, works become serials. Pure.

A template is a `WorkEntry`; each serial of it is a `Variant`. A connection is
sent one serial at one difficulty only (invariant JobDifficulty), so a retarget
moves it to the next variant of the same work, which all connections share:
first come all on variant 0, a connection after its n-th retarget on variant n.
Minting is lazy, and a serial is unique in the process.

**Stale.** Jobs on the same parent remain valid, up to `WORKS_MAX` of them; with a new
parent all older ones are stale at once. Stale works stay at hand for a while:
a solve on one is still submitted.

**Promise.** The lowest height that this process may still credit is the highest
job height so far - 1; it never falls. The one height of slack is for a node
that goes back one block: its miners go on earning. It costs the hub nothing,
which seals h only when its own node is at h + 2, when honest jobs stand at h + 3
and promise h + 2.

**FreshWork.** No share is credited on a parent whose successor a node announced
more than `SUCCESSOR_MS_MAX` ago, nor when no node has confirmed the parent as
its tip for `UNCONFIRMED_MS_MAX`. What a node announced holds until it takes it
back itself: work of a standby that lags behind a node which has died is stale.
"""

from collections import deque

from pithead.coins.job import Job, Work
from pithead.coins.params import ChainParams
from pithead.coins.template import Template
from pithead.coins.weight import weight_of_difficulty, weight_of_target
from pithead.stratum import encoding

WORKS_MAX = 32
"""Valid works on one parent; at a refresh every few seconds that is minutes of slack."""
STALE_WORKS_MAX = 4
VARIANTS_MAX = 16
"""Retargets of one connection on one work; the next waits for the next template."""
ACCEPTED_MAX = 2_000_000
"""Accepted shares remembered against duplicates: some 200 MB. Above it old works go first."""
SUCCESSOR_MS_MAX = 5_000
UNCONFIRMED_MS_MAX = 60_000

STALE_PARENT = "stale: a newer block is known"
STALE_OLD = "stale: too many newer jobs on this block"
STALE_PROMISE = "stale: this height can not be credited any more"
STALE_SUCCESSOR = "stale: a node has announced the next block"
STALE_UNCONFIRMED = "stale: no node has confirmed this job for a minute"


class Segment:
    """The chain context of works, as the share log names it; compared by identity of its parent."""

    __slots__ = ("bits", "height", "parent", "value")

    def __init__(self, template: Template) -> None:
        self.parent = template.parent
        self.height = template.height
        self.bits = template.bits
        self.value = template.coinbase_value


class Variant:
    """One serial of a work, with its notification encoded once for all connections."""

    __slots__ = ("_clean", "_keep", "accepted", "entry", "job", "job_id")

    def __init__(self, entry: "WorkEntry", job: Job) -> None:
        self.entry = entry
        self.job = job
        self.job_id = job.job_id
        self.accepted: set[bytes] = set()
        """Keys of credited shares: kept as long as the serial can be credited."""
        self._clean: bytes | None = None
        self._keep: bytes | None = None

    def notify(self, *, clean: bool) -> bytes:
        """Return the mining.notify line; `clean` tells miners to drop older jobs."""
        if clean:
            if self._clean is None:
                self._clean = encoding.notify(self.job.notify_params(clean=True))
            return self._clean
        if self._keep is None:
            self._keep = encoding.notify(self.job.notify_params(clean=False))
        return self._keep


class WorkEntry:
    """One template in the book."""

    __slots__ = ("network_target", "retired", "segment", "stale", "variants", "weight_max", "work")

    def __init__(self, work: Work, segment: Segment, params: ChainParams) -> None:
        self.work = work
        self.segment = segment
        self.network_target = work.template.target
        self.weight_max = weight_cap(work.template.target, params)
        """No share weighs more: every solve is a valid share, and none stays with the miner."""
        self.variants: list[Variant] = []
        self.stale: str | None = None
        """Why no share is credited on it any more, None while it is valid."""
        self.retired = False
        """Nobody needs it any more, not even for a late solve."""

    @property
    def template(self) -> Template:
        """The template that all its jobs build on."""
        return self.work.template


def weight_cap(target: int, params: ChainParams) -> int:
    """Return the largest weight whose shown difficulty is not above the network's.

    Shown difficulties from 1 up are whole numbers: one rounded up beyond the
    network's would let a miner keep real solves to itself.
    """
    difficulty = params.diff1_target // target
    if difficulty:
        return weight_of_difficulty(difficulty, params)
    return max(1, weight_of_target(target, params.shift))


class JobBook:
    """All works that this process has sent and may still see shares for."""

    def __init__(self, params: ChainParams, payout_script: bytes, tag: bytes, salt: bytes) -> None:
        self.params = params
        self.promise = 0
        self.current: WorkEntry | None = None
        self._payout_script = payout_script
        self._tag = tag
        self._salt = salt
        self._next_serial = 0
        self._live: deque[WorkEntry] = deque()
        self._stale: deque[WorkEntry] = deque()
        self._accepted = 0
        self._confirmed_ms = 0
        self._successors: dict[str, int] = {}
        self._tips: dict[str, tuple[int, int]] = {}
        """By node: height of the tip that it last told of, and since when."""

    def add(self, template: Template, now_ms: int) -> WorkEntry:
        """Make work of a template that a node gives now; one with a new parent ends all older."""
        current = self.current
        segment = Segment(template)
        entry = WorkEntry(
            Work(template, self._payout_script, self._tag, self._salt), segment, self.params
        )
        if current is None or current.segment.parent != template.parent:
            for old in self._live:
                self._set_stale(old, STALE_PARENT)
            self._live.clear()
            self._successors = {
                node: since_ms
                for node, (height, since_ms) in self._tips.items()
                if height >= template.height
            }
        self._live.append(entry)
        self._confirmed_ms = now_ms
        self.current = entry
        self.promise = max(self.promise, template.height - 1)
        while len(self._live) > WORKS_MAX:
            self._set_stale(self._live.popleft(), STALE_OLD)
        while len(self._stale) > STALE_WORKS_MAX:
            self._stale.popleft().retired = True
        return entry

    @property
    def serials(self) -> int:
        """Serials minted so far."""
        return self._next_serial

    def variant(self, entry: WorkEntry, index: int) -> Variant | None:
        """Return the index-th serial of a work, minted when it is the next; None above the limit.

        Raises JobError when the process has used all of its 2^32 serials.
        """
        if index >= VARIANTS_MAX:
            return None
        while len(entry.variants) <= index:
            entry.variants.append(Variant(entry, entry.work.job(self._next_serial)))
            self._next_serial += 1
        return entry.variants[index]

    def confirm(self, node: str, parent: bytes, now_ms: int) -> None:
        """Note that a node has `parent` as its tip; it takes back what it announced before."""
        if self.current is not None and parent == self.current.segment.parent:
            self._confirmed_ms = now_ms
            self._successors.pop(node, None)
            self._note_tip(node, self.current.segment.height - 1, now_ms)

    def announce(self, node: str, now_ms: int) -> None:
        """Note that a node has a tip as high as the block that the current work would make.

        Other nodes, which may lag, can not take this back by confirming the old tip.
        """
        if self.current is not None:
            self._successors.setdefault(node, now_ms)
            self._note_tip(node, self.current.segment.height, now_ms)

    def why_stale(self, entry: WorkEntry, now_ms: int) -> str | None:
        """Return why a share on this work may not be credited now, or None when it may."""
        if entry.stale is not None:
            return entry.stale
        if entry.segment.height < self.promise:
            return STALE_PROMISE
        for announced_ms in self._successors.values():
            if now_ms - announced_ms > SUCCESSOR_MS_MAX:
                return STALE_SUCCESSOR
        if now_ms - self._confirmed_ms > UNCONFIRMED_MS_MAX:
            return STALE_UNCONFIRMED
        return None

    def fresh(self, now_ms: int) -> bool:
        """Tell whether there is work on which shares are credited."""
        return self.current is not None and self.why_stale(self.current, now_ms) is None

    def accept(self, variant: Variant, key: bytes) -> bool:
        """Remember a share to be credited; False when it was credited before."""
        if key in variant.accepted:
            return False
        variant.accepted.add(key)
        self._accepted += 1
        return True

    def crowded(self) -> bool:
        """Tell whether so many shares are remembered that new work is due; see `make_room`."""
        return self._accepted >= ACCEPTED_MAX

    def make_room(self, now_ms: int) -> WorkEntry | None:
        """Renew the current work under fresh serials and let all older ones go.

        Their shares are stale from now on, which is what makes it safe to forget them.
        """
        if self.current is None:
            return None
        entry = self.add(self.current.template, now_ms)
        while self._live[0] is not entry:
            self._set_stale(self._live.popleft(), STALE_OLD)
        return entry

    def _note_tip(self, node: str, height: int, now_ms: int) -> None:
        known = self._tips.get(node)
        if known is None or known[0] != height:
            self._tips[node] = (height, now_ms)

    def _set_stale(self, entry: WorkEntry, reason: str) -> None:
        entry.stale = reason
        for variant in entry.variants:
            self._accepted -= len(variant.accepted)
            variant.accepted = set()
        self._stale.append(entry)
