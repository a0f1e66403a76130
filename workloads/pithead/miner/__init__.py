"""The built-in CPU miner: demonstrations and tests of pools, not profit.

Answers for `pithead mine`: the client side of Stratum V1 (`protocol`, pure), the
search (`work`, pure), one connection (`worker`) and many of them (`fleet`). It
meets a pool by the wire only: of the platform it may know `coins`, and no
service.
"""
