"""Answers for what payouts count and show.

OneSpend shows as `pithead_payouts_one_spend_stops_total`: each stop before money
could be spent twice, by cause. `pithead_payouts_troubled` is 1 while a coin's
payouts stand still.
"""

from prometheus_client import Counter, Gauge

ONE_SPEND_STOPS = Counter(
    "pithead_payouts_one_spend_stops_total",
    "Stops before something could be paid twice, by cause.",
    ["coin", "cause"],
)

TRANSITIONS = Counter(
    "pithead_payouts_transitions_total", "Steps of payouts, by event.", ["coin", "event"]
)

TROUBLED = Gauge(
    "pithead_payouts_troubled", "1 while a coin's payouts stand still and say why.", ["coin"]
)

ISOLATED = Gauge(
    "pithead_payouts_isolated_payees", "Payees that are due and cannot be paid.", ["coin"]
)
