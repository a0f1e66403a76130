"""The share log: durable, ordered records between the edges and the hub.

Answers for what a record is (`codec`, `columns`), what it is called (`topics`,
`identity`), the protocol of a log (`share_log`) and its implementations in chunk
files (`file_log`) and in Kafka (`kafka_log`; its topics in `topics_admin`). It may
not know who writes or reads, nor what a share is worth: coins, services and
databases are foreign to it.
"""
