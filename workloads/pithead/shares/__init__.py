"""The share processor: the log of shares becomes exact cells, in one order, sealed by height.

Answers for accounts, producers, segments, cells, seals and windows, and is their
only owner. It may not know what a scheme pays, what a block was worth to whom,
or any balance; it never alters the log.

    progress  marks and missing sequences of producers (pure)
    slots     (slot, height) -> revision of a scheme (pure)
    fold      batches -> sums a cell, by numpy (pure)
    seals     when a height may be sealed (pure)
    window    order of groups and the cut of a window (pure)
    verdict   what nodes' headers say of a segment (pure)
    intake    what accounting already knows, read for one poll
    consume   the log into cells, one transaction a poll
    sealer    observes the node and seals
    confirm   asks the nodes about segments
    query     windows, counters, sessions for the contract
    servicer, service   the contract over gRPC, and the process
    audit     recount of all cells from the log
"""
