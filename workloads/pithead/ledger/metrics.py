"""Answers for what the ledger counts: entries booked, and refusals by rule.

ConservedMoney shows as `pithead_ledger_refusals_total{rule="unbalanced"}`: it
stays 0 as long as every other service keeps to the invariant.
"""

from prometheus_client import Counter

ENTRIES_BOOKED = Counter(
    "pithead_ledger_entries_total", "Entries booked by this process.", ["kind"]
)

REFUSALS = Counter(
    "pithead_ledger_refusals_total",
    "Entries refused, by the rule that they broke; `unbalanced` is ConservedMoney.",
    ["rule"],
)
