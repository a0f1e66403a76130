"""Rewards: whose block it was, what it is worth, and who gets which part of it.

Answers for reward schemes and their revisions, for the pool's blocks from the
moment they are found until they mature or are orphaned, and for their splits.
It may not hold balances (the ledger does), count shares (the share processor
does), or sign and send money (payouts does).
"""
