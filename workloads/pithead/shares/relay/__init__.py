"""The relay: runs in a region that has a log of its own, and pushes it to the hub.

It dials and keeps nothing: the hub says from where each partition is read, what is
durable there, and what nobody needs any more, which is deleted here. Edges know
nothing of it: a region whose relay or hub is away goes on mining.

Pure: `waiting` (what is not relayed yet). Alive: `session` (one connection),
`service` (the process).
"""
