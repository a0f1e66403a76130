"""The Kubernetes operator of Pithead: manifests in the API server become running pools.

Answers for reading the three kinds, making the objects that they ask for in the
hub's cluster and in the regions', and telling in status what it saw. Imports of
`pithead` only the floor's `manifests`, `telemetry` and `config`; what a service
does is known to it by settings files and by results of Jobs alone.
"""
