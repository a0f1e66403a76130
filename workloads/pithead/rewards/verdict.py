"""What nodes together say about a block: on the main chain, buried, or not to be told yet.

Only a node that has left its initial download, and has every block whose header
it knows, has a say; of those only the ones with the most chainwork. An orphan is
believed when a competing chain is deep enough above the block's height. Nodes of
equal chainwork that disagree leave the block disputed, and it waits. Pure.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from pithead.rewards.states import Event, State


@dataclass(frozen=True, slots=True)
class Tip:
    """The end of one node's main chain as it stood when the node was asked."""

    node: str
    height: int
    headers: int
    chainwork: int
    initial_download: bool

    @property
    def votes(self) -> bool:
        """Whether the node knows enough of its chain to be asked."""
        return not self.initial_download and self.height >= self.headers


@dataclass(frozen=True, slots=True)
class Vote:
    """What a node says of a block. `confirmations`: on its main chain; `known`: at all."""

    tip: Tip
    confirmations: int
    known: bool


class Finding(Enum):
    """The outcome of a vote."""

    ON_CHAIN = "on chain"
    OFF_CHAIN = "off chain"
    """Off the main chain, but not deep enough to be believed."""
    BURIED = "buried"
    """Off the main chain, under a competing chain at the coin's confirmation depth."""
    UNKNOWN = "unknown"
    """No node that may vote could be asked."""
    DISPUTED = "disputed"


@dataclass(frozen=True, slots=True)
class Verdict:
    """A finding; `confirmations` is the least that any voter counts when on chain."""

    finding: Finding
    confirmations: int = 0
    known: bool = False
    """Some node knows the block, be it on its main chain or not."""


def judge(votes: Sequence[Vote], height: int, depth: int, best_chainwork: int = 0) -> Verdict:
    """Judge a block of `height`, with orphans believed `depth` blocks above it.

    `best_chainwork` is the most that any node was ever seen with: while that node is
    away, one with less work may be on a fork that lost, and buries nothing.
    """
    known = any(vote.known for vote in votes)
    entitled = [vote for vote in votes if vote.tip.votes]
    if not entitled:
        return Verdict(Finding.UNKNOWN, known=known)
    most = max(vote.tip.chainwork for vote in entitled)
    voters = [vote for vote in entitled if vote.tip.chainwork == most]
    on_chain = [vote.confirmations for vote in voters if vote.confirmations > 0]
    if len(on_chain) == len(voters):
        return Verdict(Finding.ON_CHAIN, min(on_chain), known=True)
    if on_chain:
        return Verdict(Finding.DISPUTED, known=True)
    deep = min(vote.tip.height for vote in voters) - height >= depth
    if deep and most >= best_chainwork:
        return Verdict(Finding.BURIED, known=known)
    return Verdict(Finding.OFF_CHAIN, known=known)


def events(state: State, verdict: Verdict, maturity: int) -> list[Event]:
    """Events that a verdict means for a block in `state`, in their order.

    A coinbase can be spent in the block after `maturity` blocks stand above and
    with it, so it is mature at more than `maturity` confirmations.
    """
    if verdict.finding is Finding.BURIED:
        return [] if state is State.ORPHANED else [Event.ORPHAN]
    if verdict.finding is not Finding.ON_CHAIN:
        return []
    found = [Event.CONFIRM] if state in {State.CANDIDATE, State.ORPHANED} else []
    if verdict.confirmations > maturity and state is not State.MATURE:
        found.append(Event.RIPEN)
    return found
