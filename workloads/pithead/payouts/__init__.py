"""Payouts: what the ledger says is payable becomes one transaction at a time per coin and wallet.

Answers for OneSpend: a payout is on the chain at most once, whatever crashes. It
may touch its own database, the coin's wallet, the ledger's book and the accounts'
scripts (both over gRPC); it may not touch shares, blocks or splits.

`states` is the table of states, `plan` decides who is paid, `attempts` judges
transactions, `rows` keeps the records, `engine` takes the steps in order,
`service` is gRPC and the schedule.
"""
