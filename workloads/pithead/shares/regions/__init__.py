"""The hub's side of regions with logs of their own: what relays push comes into the hub's log.

Answers for the one stream of each region, for what of it is durable here, and for
what the sealer asks of regions. A record is appended to the hub's log, in the same
topic and partition, before its position is stored: after a crash it may come
again, and accounting drops it by producer and sequence.

Pure: `begin` (from where a partition is read), `arrivals` (what is let in), `ends`
(when a region's log was relayed past a moment; who of it is silent).

On the database: `rows`. Alive: `stream` (one connection), `servicer` (the contract).
"""
