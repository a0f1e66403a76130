"""The one-machine runtime behind `pithead up`: a data directory, supervised services, a live view.

It does with processes and files what the operator does with Kubernetes
objects: manifests in, running services out. It owns no pool data itself.
"""
