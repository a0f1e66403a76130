"""The share checker (edge): miners on one side, coin nodes and the share log on the other.

Answers for Stratum V1, for the validity and the difficulty of every share, for
its durability before the miner hears `true`, and for carrying solved blocks to
every node. The pipeline of a share, a file a step:

    transport -> parsing -> protocol (states, messages, encoding) -> edge
    -> validation (jobs, session) -> hashpool -> batcher -> share log -> answer

`protocol`, `states`, `messages`, `parsing`, `encoding`, `validation`, `vardiff`,
`login` and `bans` compute only: bytes and times go in, events and actions come
out. It may not touch balances, databases, schemes beyond their slot, wallets, or
any other service: the share log, and what it tells about itself (a status call, a
report to the operator, metrics), are its only ways out.
"""
