"""The share processor: the log of shares becomes exact cells, in one order, sealed by height.

Answers for accounts, producers, segments, cells, seals and windows, and is their
only owner. It may not know what a scheme pays, what a block was worth to whom,
or any balance; it never alters the log.

Pure: `progress` (marks, missing sequences), `slots` ((slot, height) -> revision),
`records` and `admit` (what of the log is taken), `fold` (batches -> cells, by
numpy), `seals` (when a height is sealed), `window` (order of groups, the cut),
`verdict` (what headers say of a segment), `states`.

On the database: `schema`, `pools` (what settings hand down), `books` (ids),
`intake` (producers, positions), `booking` (one poll's rows), `decisions` (the
audited ones), `query` (answers).

Sealed heights in bytes that never change: `archive`, a package of its own.

Regions with a log of their own: `relay` pushes it from there, a process of its own
that knows nothing of the rest; `regions` takes it in.

Alive: `consume` (the log into cells), `sealer`, `confirm` with `chain` (the
nodes), `servicer` (the contract), `service` (the process), `pace` (waiting).

Proofs, beside a running pool: `recount` (the log into cells again), `audit` (log,
archive and cells compared), `replay` (all tables built again), `prove` (as commands).
"""
