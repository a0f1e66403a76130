"""Pithead: a mining-pool platform driven by declarative manifests."""
