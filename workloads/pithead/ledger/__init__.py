"""The double-entry book: the only place where balances live.

Answers for entries that balance to zero per coin, for balances that are the sum
of their legs, and for a history that can only grow. It knows accounts and pools
as owners' names; it may not touch blocks, splits, wallets, or another service's
data. Rules are in `book`, tables in `schema`, transactions in `posting`, the
recomputation in `verify`, gRPC in `service`.
"""
