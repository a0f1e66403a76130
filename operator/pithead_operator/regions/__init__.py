"""Regions: the hub's cluster and its members, seen by informers and changed by server-side apply.

Answers for which clusters exist, whether they answer, what of ours is in them,
and for making that equal to what is desired. Knows objects, not pools: what is
desired comes from the caller, and of what is observed only metadata, hashes and
a few figures of status are kept.

    kubeconfig   which credentials are taken, and why others are refused
    api          requests to one API server; errors in errors.py, kinds in kinds.py
    seen         what is kept of an observed object
    informer     list and watch of one kind in one namespace
    plan         which objects to write, which to delete: decides, does nothing
    view         what we know of one namespace of one cluster, and the acts there
    member       one cluster: its health, its identity, its views
    clusters     all of them: Secrets in, members out
"""
