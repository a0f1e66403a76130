"""Pods: which files they get, and what changes their digest."""

import json

import pytest

from pithead.config.places import RenderError
from pithead_operator.desired.inputs import MissingInput
from pithead_operator.desired.pods import (
    MountedSecret,
    http_probes,
    inputs_digest,
    mounted_secrets,
    mounted_values,
)

pytestmark = pytest.mark.gate


def test_secrets_are_found_wherever_settings_name_their_files() -> None:
    settings = {
        "user": "fromFile:/run/pithead/b.rpc/username",
        "nested": [{"password": "fromFile:/run/pithead/b.rpc/password"}],
        "tls": {"key": "/run/pithead/a/tls.key"},
        "other": ["/etc/pithead/settings.json", "run/pithead/no/path", 7, None],
    }
    assert mounted_secrets(json.dumps(settings).encode()) == (
        MountedSecret("a", ("tls.key",)),
        MountedSecret("b.rpc", ("password", "username")),
    )


def test_name_of_a_pod_is_no_secret() -> None:
    assert mounted_secrets(b'{"key": "fromFile:/run/pithead/pod/name"}') == ()
    with pytest.raises(RenderError):
        mounted_secrets(b'{"key": "/run/pithead/pod/tls.key"}')


def test_values_are_those_of_the_named_keys() -> None:
    secrets = {"a": {"x": b"1", "y": b"2"}}
    assert mounted_values(secrets, [MountedSecret("a", ("y",))]) == [("/run/pithead/a/y", b"2")]
    with pytest.raises(MissingInput):
        mounted_values(secrets, [MountedSecret("a", ("z",))])


def test_digest_tells_apart_whatever_a_pod_reads() -> None:
    seen = {
        inputs_digest(b"key", b"settings", []),
        inputs_digest(b"other", b"settings", []),
        inputs_digest(b"key", b"settingsa", [("", b"b")]),
        inputs_digest(b"key", b"settings", [("a", b"b")]),
        inputs_digest(b"key", b"settings", [("ab", b"")]),
        inputs_digest(b"key", b"settings", [("a", b"b"), ("c", b"d")]),
    }
    assert len(seen) == 6


def test_digest_does_not_depend_on_order() -> None:
    first, second = ("a", b"1"), ("b", b"2")
    assert inputs_digest(b"k", b"s", [first, second]) == inputs_digest(b"k", b"s", [second, first])


def test_readiness_never_restarts_a_process() -> None:
    probes = http_probes()
    assert probes["startupProbe"]["httpGet"]["path"] == "/livez"
    assert probes["livenessProbe"]["httpGet"]["path"] == "/livez"
    assert probes["readinessProbe"]["httpGet"]["path"] == "/readyz"
