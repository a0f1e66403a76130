"""Desired objects: manifests and facts in, complete Kubernetes objects out.

Only computes: no I/O, no clock, no randomness, no UIDs. Equal inputs give equal
objects, whatever order their parts came in. Owner references, and the hash of
what was applied, are the applier's.

    hub.render_base, render_money, render_shares, render_payouts   one hub namespace, by phase
    edge.render_edge, replicas_of, edge_status_object              one pool in one region
    names                                                          names, labels, owner keys
    inputs                                                         everything that goes in
"""
