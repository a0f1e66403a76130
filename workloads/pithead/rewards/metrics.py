"""Metrics of rewards: invariants that were about to be broken, and what moved."""

from prometheus_client import Counter

VIOLATIONS = Counter(
    "pithead_rewards_invariant_violations",
    "Refused writes that would have broken a named invariant of money.",
    ["invariant"],
)
CONSERVED_MONEY = VIOLATIONS.labels("ConservedMoney")
REPLAYABLE = VIOLATIONS.labels("Replayable")
ORPHAN_REVERSIBLE = VIOLATIONS.labels("OrphanReversible")

RECORDS_REFUSED = Counter(
    "pithead_rewards_block_records_refused",
    "Records of the block log that are no block of their pool.",
    ["pool"],
)
BLOCKS_WATCHED = Counter(
    "pithead_rewards_blocks_from_watcher",
    "Blocks of a pool that the chain showed before any record did.",
    ["pool"],
)
BLOCKS_RESUBMITTED = Counter(
    "pithead_rewards_blocks_resubmitted",
    "Recorded blocks that no node knew and that were sent to every node again.",
    ["coin"],
)
TRANSITIONS = Counter(
    "pithead_rewards_block_transitions", "Blocks by the state they came to.", ["coin", "state"]
)
DISPUTED = Counter(
    "pithead_rewards_blocks_disputed",
    "Times that nodes of equal chainwork disagreed on a block.",
    ["coin"],
)
