"""Manifests: the typed models of MiningPool, CoinEndpoint and RewardScheme, and their reading.

Answers for what an SRE may write: fields, defaults, bounds, rules, conditions,
the CustomResourceDefinitions made from them, and errors that say what is
allowed. Touches nothing but the files that it is told to read: no service, no
process configuration, no node, no API server.
"""

from pithead.manifests.amounts import (
    AmountError,
    base_units,
    hashrate_text,
    ppm_of_factor,
    ppm_of_percent,
)
from pithead.manifests.base import API_VERSION, GROUP, VERSION
from pithead.manifests.changes import FieldChange, changes, refused_changes
from pithead.manifests.conditions import Condition, conditions_of, set_condition
from pithead.manifests.endpoint import CoinEndpoint
from pithead.manifests.errors import ManifestErrors, Problem
from pithead.manifests.fields import Change
from pithead.manifests.hubs import Claim, check_hubs, claim_of
from pithead.manifests.loader import load_manifests, parse_manifests
from pithead.manifests.objects import Credentials, Manifests, demo_hashrates
from pithead.manifests.pool import MiningPool
from pithead.manifests.scheme import RewardScheme, canonical_parameters, revision_of
from pithead.manifests.served import Served, manifests_from_objects, wanted_secrets

__all__ = [
    "API_VERSION",
    "GROUP",
    "VERSION",
    "AmountError",
    "Change",
    "Claim",
    "CoinEndpoint",
    "Condition",
    "Credentials",
    "FieldChange",
    "ManifestErrors",
    "Manifests",
    "MiningPool",
    "Problem",
    "RewardScheme",
    "Served",
    "base_units",
    "canonical_parameters",
    "changes",
    "check_hubs",
    "claim_of",
    "conditions_of",
    "demo_hashrates",
    "hashrate_text",
    "load_manifests",
    "manifests_from_objects",
    "parse_manifests",
    "ppm_of_factor",
    "ppm_of_percent",
    "refused_changes",
    "revision_of",
    "set_condition",
    "wanted_secrets",
]
