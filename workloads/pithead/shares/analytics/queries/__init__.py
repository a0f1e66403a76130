"""The queries: charts, worker tables, totals, top lists, rounds and luck, for display.

Answers for what people see of the columnar store, through the contract
`analytics.proto`. It reads: accounting's names, rollups, and two neighbours through
their contracts. It writes nothing, and no money depends on it.

Pure: `asked` (requests checked), `spans` (time cut into buckets, gaps), `sql` (the
questions), `rates` (the hashrate formula, its error, whether a worker is well),
`tables` (worker tables searched, sorted, paged), `luck` (rounds), `shaping`
(answers made into messages).

Alive: `reader` (asks the store), `turns` and `kept` (bounds and keeps), `names`
(accounting's tables), `neighbours`, `servicer` (the contract).
"""
