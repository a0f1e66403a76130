"""The devchain: a small full-validating regtest node for demos, simulation and fault injection.

It speaks litecoind's JSON-RPC names, so that the same node client and wallet serve both. The state
(`rules`, `chain`, `mempool`, `keys`) is pure; `store` keeps it in SQLite; `rpc_*`, `http` and
`service` are the shell. It uses the coins core, and knows no pool; nothing of it is a substitute
for a test against a real node.
"""
