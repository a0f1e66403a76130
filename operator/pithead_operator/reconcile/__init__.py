"""Reconcile: from what the API servers hold now to what they should hold, again and again.

Answers for the order of things in one namespace, for what is told in status,
conditions and Events, and for deletion. Level-based: nothing that it remembers
decides what comes out, so it may be killed at any request. Each key (a hub
namespace, or one pool) has at most one worker, and a key that fails harms no
other.

    world       the three kinds, as last read from the hub
    queue       keys that want a worker: coalesced, delayed, backed off
    gather      manifests and Secrets in; valid manifests, and what is wrong with each pool, out
    hub         the phases of a hub namespace
    pool        one pool in all its regions; its end
    relayed     a region with a Kafka of its own: its topics and its relay
    frozen      edges whose spools hold shares are left as they are
    jobs        the state of a wiring Job
    reports     what edges told, summed up
    status      status objects and conditions
    recorder    Events and status writes, only when something changed
    controller  all of it together
"""
