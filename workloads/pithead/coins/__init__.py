"""Coins: from a node's template to a job, a header and a block; addresses, weights, node, wallet.

Answers for everything that differs between chains. The core (params, hashing, weight, tx,
script, address, sign, template, job, block) is pure: values in, values out. Only node, nodeset
and wallet speak to the outside. May not touch the share log, a database or any service.
"""
