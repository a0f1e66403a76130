"""Minted Secrets: certificates that fit and are renewed in time, passwords that stay."""

import base64
import ssl
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from pithead.manifests.backing import Database
from pithead_operator.wiring.minting import (
    CA_LIFE,
    CERTIFIED,
    CLOCK_SKEW,
    LEAF_LIFE,
    Data,
    Randomness,
    digest_key,
    dns_names,
    mint_ca,
    mint_regions,
    mint_roles,
    mint_tls,
    secret_object,
)
from tests.unit.operator.samples import HUB_UID, NAMESPACE, NOW, fixed_randomness

pytestmark = pytest.mark.gate

DATABASE = Database.model_validate(
    {"host": "pg.example", "name": "pithead", "adminSecretRef": {"name": "admin"}}
)


@pytest.fixture
def random() -> Randomness:
    return fixed_randomness()


def tls(random: Randomness, authority: Data, old: Data, now: datetime) -> dict[str, bytes]:
    return mint_tls(authority, old, NAMESPACE, now, random)


def certificate(data: Data, name: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate(data[name])


def test_equal_inputs_give_equal_secrets() -> None:
    made = [mint_ca({}, NOW, fixed_randomness()) for _ in range(2)]
    assert made[0] == made[1]
    leaves = [tls(fixed_randomness(), each, {}, NOW) for each in made]
    assert leaves[0] == leaves[1]


def test_every_service_has_a_certificate_for_its_names(random: Randomness) -> None:
    authority = mint_ca({}, NOW, random)
    data = tls(random, authority, {}, NOW)
    assert set(data) == {"ca.crt"} | {f"{s}.{end}" for s in CERTIFIED for end in ("crt", "key")}
    for service in CERTIFIED:
        found = certificate(data, f"{service}.crt")
        found.verify_directly_issued_by(certificate(authority, "ca.crt"))
        names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert tuple(names.get_values_for_type(x509.DNSName)) == dns_names(service, NAMESPACE)
        key = load_pem_private_key(data[f"{service}.key"], password=None)
        assert key.public_key() == found.public_key()


def test_relays_have_an_authority_of_their_own(random: Randomness) -> None:
    hub = mint_ca({}, NOW, random)
    data = mint_regions({}, ("us", "eu-west"), NOW, random)
    assert set(data) == {"ca.crt", "ca.key", "us.crt", "us.key", "eu-west.crt", "eu-west.key"}
    found = certificate(data, "us.crt")
    found.verify_directly_issued_by(certificate(data, "ca.crt"))
    with pytest.raises((ValueError, InvalidSignature)):
        found.verify_directly_issued_by(certificate(hub, "ca.crt"))
    assert mint_regions(data, ("us", "eu-west"), NOW, random) == data
    more = mint_regions(data, ("us", "asia"), NOW, random)
    assert (more["us.crt"], "eu-west.crt" in more) == (data["us.crt"], False)


def test_intake_s_certificate_follows_the_addresses_by_which_it_is_dialled(
    random: Randomness,
) -> None:
    authority = mint_ca({}, NOW, random)
    named = mint_tls(authority, {}, NAMESPACE, NOW, random, ("hub.example",))
    assert mint_tls(authority, named, NAMESPACE, NOW, random, ("hub.example",)) == named
    both = ("hub.example", "192.0.2.7")
    seen = mint_tls(authority, named, NAMESPACE, NOW, random, both)
    assert seen["intake.crt"] != named["intake.crt"]
    assert seen["shares.crt"] == named["shares.crt"]
    assert mint_tls(authority, seen, NAMESPACE, NOW, random, both) == seen
    assert "intake.crt" not in mint_tls(authority, seen, NAMESPACE, NOW, random)


def test_authority_can_sign_services_and_nothing_below_them(random: Randomness) -> None:
    found = certificate(mint_ca({}, NOW, random), "ca.crt")
    basic = found.extensions.get_extension_for_class(x509.BasicConstraints).value
    assert (basic.ca, basic.path_length) == (True, 0)


def test_what_is_good_is_kept(random: Randomness) -> None:
    authority = mint_ca({}, NOW, random)
    data = tls(random, authority, {}, NOW)
    later = NOW + LEAF_LIFE / 2
    assert mint_ca(authority, later, random) == authority
    assert tls(random, authority, data, later) == data


def due(life: timedelta) -> datetime:
    """The moment at which a third of a life is left."""
    return NOW + life - (life + CLOCK_SKEW) / 3


def test_certificate_is_renewed_when_less_than_a_third_of_its_life_is_left(
    random: Randomness,
) -> None:
    authority = mint_ca({}, NOW, random)
    data = tls(random, authority, {}, NOW)
    second = timedelta(seconds=1)
    assert tls(random, authority, data, due(LEAF_LIFE) - second) == data
    renewed = tls(random, authority, data, due(LEAF_LIFE) + second)
    for service in CERTIFIED:
        assert renewed[f"{service}.crt"] != data[f"{service}.crt"]
        assert renewed[f"{service}.key"] != data[f"{service}.key"]


def test_renewed_authority_stays_beside_the_earlier_one_until_that_ends(
    random: Randomness,
) -> None:
    first = mint_ca({}, NOW, random)
    now = due(CA_LIFE) + timedelta(seconds=1)
    second = mint_ca(first, now, random)
    assert second["ca.crt"].endswith(first["ca.crt"])
    assert second["ca.key"] != first["ca.key"]
    data = tls(random, second, tls(random, first, {}, NOW), now)
    certificate(data, "shares.crt").verify_directly_issued_by(certificate(second, "ca.crt"))
    third = mint_ca(second, now + CA_LIFE, random)
    assert first["ca.crt"] not in third["ca.crt"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data.update({"shares.crt": b"no certificate"}),
        lambda data: data.update({"shares.key": b"no key"}),
        lambda data: data.update({"shares.key": data["ledger.key"]}),
        lambda data: data.update({"shares.crt": data["ledger.crt"]}),
        lambda data: data.pop("shares.key"),
    ],
    ids=["certificate", "key", "key of another", "certificate of another", "no key"],
)
def test_damaged_certificate_is_made_anew_alone(
    damage: Callable[[dict[str, bytes]], object], random: Randomness
) -> None:
    authority = mint_ca({}, NOW, random)
    data = tls(random, authority, {}, NOW)
    hurt = dict(data)
    damage(hurt)
    mended = tls(random, authority, hurt, NOW)
    assert mended["shares.crt"] != data["shares.crt"]
    others = [key for key in data if not key.startswith("shares")]
    assert all(mended[key] == data[key] for key in others)


def test_certificate_of_another_authority_or_namespace_is_made_anew(random: Randomness) -> None:
    authority, other = mint_ca({}, NOW, random), mint_ca({}, NOW, random)
    data = tls(random, other, {}, NOW)
    assert tls(random, authority, data, NOW)["shares.crt"] != data["shares.crt"]
    moved = mint_tls(other, data, "elsewhere", NOW, random)
    assert moved["shares.crt"] != data["shares.crt"]


def test_damaged_authority_is_made_anew_and_keeps_the_digest_key(random: Randomness) -> None:
    authority = mint_ca({}, NOW, random)
    mended = mint_ca(authority | {"ca.key": b"no key"}, NOW, random)
    assert mended["ca.key"] not in (b"no key", authority["ca.key"])
    assert digest_key(mended) == digest_key(authority)
    with pytest.raises(ValueError, match="mint_ca"):
        mint_tls(authority | {"ca.key": b"no key"}, {}, NAMESPACE, NOW, random)


def test_passwords_stay_and_urls_follow_the_database(random: Randomness) -> None:
    first = mint_roles(DATABASE, {}, random)
    assert mint_roles(DATABASE, first, random) == first
    assert len({first[f"{each}-password"] for each in ("ledger", "shares")}) == 2
    moved = DATABASE.model_copy(update={"host": "fd00::1", "port": 6432})
    second = mint_roles(moved, first, random)
    assert second["shares-password"] == first["shares-password"]
    password = first["shares-password"].decode()
    address = f"postgresql+asyncpg://pithead_pithead_shares:{password}@[fd00::1]:6432/pithead"
    assert second["shares-url"].decode().split("?")[0] == address


def test_secret_carries_the_labels_of_the_hub() -> None:
    made = secret_object(NAMESPACE, HUB_UID, "pithead-tls", {"b": b"2", "a": b"1"})
    assert made["metadata"]["labels"]["pithead.dev/owner"] == "mining.hub"
    assert list(made["data"].items()) == [
        ("a", base64.b64encode(b"1").decode()),
        ("b", base64.b64encode(b"2").decode()),
    ]


def test_two_services_understand_each_other_over_tls(tmp_path: Path) -> None:
    now = datetime.now(NOW.tzinfo)
    random = fixed_randomness()
    data = tls(random, mint_ca({}, now, random), {}, now)
    for name, content in data.items():
        (tmp_path / name).write_bytes(content)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    server.verify_mode = ssl.CERT_REQUIRED
    for context, who in ((server, "shares"), (client, "payouts")):
        context.load_cert_chain(tmp_path / f"{who}.crt", tmp_path / f"{who}.key")
        context.load_verify_locations(tmp_path / "ca.crt")
    assert _handshake(server, client, "pithead-shares.mining.svc") == "pithead-payouts"
    with pytest.raises(ssl.SSLCertVerificationError):
        _handshake(server, client, "pithead-ledger.mining.svc")


def _handshake(server: ssl.SSLContext, client: ssl.SSLContext, host: str) -> str:
    """The common name that the server sees, after a handshake in memory."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = (
        client.wrap_bio(to_client, to_server, server_hostname=host),
        server.wrap_bio(to_server, to_client, server_side=True),
    )
    done: set[int] = set()
    while len(done) < 2:
        for index, end in enumerate(ends):
            try:
                end.do_handshake()
                done.add(index)
            except ssl.SSLWantReadError:
                continue
    peer = ends[1].getpeercert()
    assert peer is not None
    return str(dict(part[0] for part in peer["subject"])["commonName"])  # type: ignore[misc]  # the stubs allow deeper nesting
