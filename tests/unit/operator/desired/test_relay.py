"""A region with a Kafka of its own: its relay, its topics, and the hub's door for it."""

import base64
from dataclasses import replace

import pytest
from cryptography import x509

from pithead.config import RelaySettings, SharesSettings, StratumSettings, from_json
from pithead.config.wiring import WireTopicsSettings
from pithead_operator.desired.edge import render_edge
from pithead_operator.desired.hub import render_base, render_shares
from pithead_operator.desired.inputs import EdgeInputs, MissingInput, Object
from pithead_operator.desired.relay import render_relay, render_relay_base
from pithead_operator.wiring.jobs import region_topics_job
from tests.unit.operator.samples import (
    edge_inputs,
    endpoint,
    hub_inputs,
    relayed_inputs,
    relayed_pool,
    scheme,
    with_secret,
)

pytestmark = pytest.mark.gate


@pytest.fixture(scope="module")
def us() -> EdgeInputs:
    return edge_inputs(relayed_inputs(), region="us")


def settings_of(objects: tuple[Object, ...]) -> bytes:
    found = [each["data"]["settings.json"] for each in objects if "settings.json" in
             each.get("data", {})]  # fmt: skip
    (text,) = found
    return str(text).encode()


def secret(objects: tuple[Object, ...]) -> dict[str, bytes]:
    (found,) = (each for each in objects if each["kind"] == "Secret")
    return {key: base64.b64decode(value) for key, value in found["data"].items()}


def test_relay_dials_the_hub_by_its_name_and_shows_the_certificate_of_its_region(
    us: EdgeInputs,
) -> None:
    settings = from_json(settings_of(render_relay(us)), RelaySettings)
    assert (settings.region, settings.pools) == ("us", ("mining.ltc",))
    assert settings.hub.address == "hub.pool.example:9501"
    assert settings.bound_bytes == 2**40
    assert settings.log.kafka is not None
    assert settings.log.kafka.bootstrap_servers == ("kafka.us.example:9093",)
    assert settings.log.kafka.username == "fromFile:/run/pithead/ltc-us-relay/kafka-username"
    values = secret(render_relay_base(us))
    shown = x509.load_pem_x509_certificate(values["relay.crt"])
    hub = us.hub.secrets
    shown.verify_directly_issued_by(
        x509.load_pem_x509_certificate(hub["pithead-regions"]["ca.crt"])
    )
    names = shown.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["us.regions.pithead"]
    assert values["hub-ca.crt"] == hub["pithead-tls"]["ca.crt"].strip()


def test_hub_takes_in_what_regions_bring_and_trusts_their_authority_alone(us: EdgeInputs) -> None:
    settings = from_json(settings_of(render_shares(us.hub)), SharesSettings)
    assert settings.intake is not None
    assert settings.intake.serve.address == "0.0.0.0:9501"
    assert settings.intake.serve.tls is not None
    assert str(settings.intake.serve.tls.ca) == "/run/pithead/pithead-regions/ca.crt"
    assert [(each.region, each.pools) for each in settings.intake.regions] == [
        ("us", ("mining.ltc",))
    ]
    assert us.hub.secrets["pithead-regions"]["ca.crt"] != us.hub.secrets["pithead-tls"]["ca.crt"]
    shown = x509.load_pem_x509_certificate(us.hub.secrets["pithead-tls"]["intake.crt"])
    names = shown.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["hub.pool.example"]
    assert [str(each) for each in names.get_values_for_type(x509.IPAddress)] == ["203.0.113.7"]


def test_hub_has_a_door_for_relays_when_there_are_some() -> None:
    def intake(objects: tuple[Object, ...]) -> dict[str, Object]:
        return {
            each["kind"]: each for each in objects if each["metadata"]["name"] == "pithead-intake"
        }

    assert intake(render_base(hub_inputs())) == {}
    relay = {"hostnames": ["hub.pool.example"], "serviceAnnotations": {"lb.example/a": "b"}}
    objects = [relayed_pool(relay=relay), *hub_objects()]
    found = intake(render_base(hub_inputs(objects)))
    service = found["Service"]
    assert service["spec"]["type"] == "LoadBalancer"
    assert [each["port"] for each in service["spec"]["ports"]] == [9501]
    assert service["spec"]["selector"]["app.kubernetes.io/component"] == "shares"
    assert service["metadata"]["annotations"] == {
        "external-dns.alpha.kubernetes.io/hostname": "hub.pool.example",
        "lb.example/a": "b",
    }
    (rule,) = found["NetworkPolicy"]["spec"]["ingress"]
    assert rule == {"ports": [{"port": 9501, "protocol": "TCP"}]}


def hub_objects() -> list[Object]:
    return [endpoint(), scheme()]


def test_edges_know_their_region_s_kafka_and_nothing_of_the_hub_s(us: EdgeInputs) -> None:
    objects = render_edge(us)
    settings = from_json(settings_of(objects), StratumSettings)
    assert settings.log.kafka is not None
    assert settings.log.kafka.bootstrap_servers == ("kafka.us.example:9093",)
    values = secret(objects)
    assert values["kafka-username"] == b"us-edges"
    assert values["kafka-ca.crt"] == us.hub.secrets["us-ca"]["ca.crt"].strip()
    assert not {b"kafka-me", b"kafka-word", b"us-relay-word"} & set(values.values())
    other = secret(render_edge(edge_inputs(us.hub, region="eu")))
    assert other["kafka-username"] == b"kafka-me"


def test_relay_logs_in_as_edges_do_when_it_has_no_user_of_its_own() -> None:
    pool = relayed_pool()
    del pool["spec"]["regions"][1]["stream"]["relayCredentialsSecretRef"]
    inputs = edge_inputs(hub_inputs([pool, *hub_objects()]), region="us")
    assert secret(render_relay_base(inputs))["kafka-username"] == b"us-edges"


def test_topics_are_made_in_the_region_by_the_relay_s_user(us: EdgeInputs) -> None:
    job = region_topics_job(us)
    assert job.name.startswith("ltc-us-topics-")
    settings = from_json(settings_of(job.objects), WireTopicsSettings)
    assert settings.kafka.bootstrap_servers == ("kafka.us.example:9093",)
    assert [(each.name, each.partitions) for each in settings.topics] == [
        ("pithead.shares.mining.ltc", 4),
        ("pithead.blocks.mining.ltc", 1),
    ]
    spec = job.objects[1]["spec"]["template"]["spec"]
    assert spec["serviceAccountName"] == "ltc-us-relay"
    assert spec["automountServiceAccountToken"] is False
    labels = job.objects[1]["metadata"]["labels"]
    assert (labels["pithead.dev/pool"], labels["pithead.dev/region"]) == ("ltc", "us")
    (mounted,) = [each["secret"] for each in spec["volumes"] if "secret" in each]
    keys = [each["key"] for each in mounted["items"]]
    assert keys == ["kafka-ca.crt", "kafka-password", "kafka-username"]


def test_renewed_certificate_neither_restarts_the_relay_nor_makes_topics_again(
    us: EdgeInputs,
) -> None:
    renewed = replace(us, hub=with_secret(us.hub, "pithead-regions", "us.crt", b"new"))
    assert render_relay(renewed) == render_relay(us)
    assert secret(render_relay_base(renewed))["relay.crt"] == b"new"
    assert region_topics_job(renewed) == region_topics_job(us)
    login = replace(us, hub=with_secret(us.hub, "us-relay", "password", b"new"))
    assert render_relay(login) != render_relay(us)
    assert region_topics_job(login).name != region_topics_job(us).name


def test_relay_waits_for_an_address_of_the_hub_and_its_topics_do_not(us: EdgeInputs) -> None:
    unknown = replace(us, hub=replace(us.hub, intake=()))
    with pytest.raises(MissingInput) as missing:
        render_relay(unknown)
    assert missing.value.what == "an address of Service pithead-intake of the hub"
    assert render_relay_base(unknown)
    assert region_topics_job(unknown).objects


def test_relay_of_a_region_that_is_off_stays_with_its_anchor(us: EdgeInputs) -> None:
    off = replace(us, region=us.region.model_copy(update={"state": "Off"}))
    assert [each["metadata"]["name"] for each in render_edge(off)] == ["ltc-us-anchor"]
    assert [each["kind"] for each in render_relay(off)] == ["ConfigMap", "Deployment"]


def test_address_of_the_intake_may_be_of_either_kind(us: EdgeInputs) -> None:
    for given, dialled in (("192.0.2.1", "192.0.2.1:9501"), ("2001:db8::1", "[2001:db8::1]:9501")):
        inputs = replace(us, hub=replace(us.hub, intake=(given,)))
        settings = from_json(settings_of(render_relay(inputs)), RelaySettings)
        assert settings.hub.address == dialled
