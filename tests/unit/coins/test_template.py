"""Templates: what nodes send becomes a value, or a refusal that names the field."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pithead.coins.script import WITNESS_COMMITMENT_PREFIX
from pithead.coins.template import TemplateError, parse_template
from pithead.coins.tx import OutPoint, Tx, TxIn, TxOut
from tests.unit.coins.strategies import BTC, LTC_REGTEST, template_replies, template_reply

pytestmark = pytest.mark.gate

BARE = Tx((TxIn(OutPoint(b"\x01" * 32, 0), b"x" * 20),), (TxOut(1, b"\x51"),))
WITNESSED = Tx((TxIn(OutPoint(b"\x02" * 32, 0), witness=(b"w" * 20,)),), (TxOut(1, b"\x51"),))
COMMITMENT = WITNESS_COMMITMENT_PREFIX + bytes(32)


def test_template_of_litecoind_is_read_field_by_field() -> None:
    template = parse_template(LTC_REGTEST, template_reply(txs=(BARE, WITNESSED)))
    assert template.height == 500
    assert template.parent == bytes(range(32))
    assert template.version == 0x20000000
    assert template.bits == 0x207FFFFF
    assert template.target == 0x7FFFFF << 232
    assert (template.min_time, template.time) == (1_700_000_000, 1_700_000_100)
    assert template.coinbase_value == 5_000_000_000
    assert [tx.txid for tx in template.transactions] == [BARE.txid(), WITNESSED.txid()]
    assert [tx.data for tx in template.transactions] == [BARE.serialize(), WITNESSED.serialize()]
    assert template.witness_commitment == COMMITMENT
    assert template.extra == b""
    assert template.size == len(BARE.serialize()) + len(WITNESSED.serialize())


@given(template_replies())
def test_every_proper_template_is_accepted(reply: dict[str, Any]) -> None:
    template = parse_template(LTC_REGTEST, reply)
    assert template.height == reply["height"]
    assert template.version == reply["version"] % (1 << 32)


def test_commitment_before_segwit_is_active_is_left_out() -> None:
    reply = template_reply(rules=["csv"])
    assert parse_template(LTC_REGTEST, reply).witness_commitment is None


def test_commitment_of_a_node_that_names_no_rules_is_taken() -> None:
    reply = template_reply()
    del reply["rules"]
    assert parse_template(LTC_REGTEST, reply).witness_commitment == COMMITMENT


def test_template_without_commitment_makes_a_bare_block() -> None:
    reply = template_reply(commitment=None, txs=(BARE,))
    assert parse_template(LTC_REGTEST, reply).witness_commitment is None


def test_old_node_that_gives_hash_alone_is_understood() -> None:
    reply = template_reply(txs=(BARE,))
    del reply["transactions"][0]["txid"]
    assert parse_template(LTC_REGTEST, reply).transactions[0].txid == BARE.txid()


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"mweb": "00" * 167}, id="mweb bytes"),
        pytest.param({"rules": ["csv", "!segwit", "taproot", "!mweb"]}, id="mweb rule"),
    ],
)
def test_mweb_template_is_refused_with_the_remedy(changes: dict[str, Any]) -> None:
    with pytest.raises(TemplateError, match=r"not supported yet.*-vbparams=mweb:9999999999"):
        parse_template(LTC_REGTEST, template_reply(**changes))


TX = {"data": BARE.serialize().hex(), "txid": BARE.txid()[::-1].hex()}
BAD: dict[str, tuple[dict[str, Any], str]] = {
    "height zero": ({"height": 0}, "height is 0, outside 1"),
    "height above 32 bits": ({"height": 1 << 32}, "height"),
    "height missing": ({"height": None}, "height is missing"),
    "height true": ({"height": True}, "height is missing or not a whole number"),
    "height fraction": ({"height": 5.5}, "height"),
    "version too large": ({"version": 1 << 32}, "version"),
    "bits zero": ({"bits": "00000000"}, "bits.*zero"),
    "bits negative": ({"bits": "04923456"}, "bits.*negative"),
    "bits overflow": ({"bits": "ff123456"}, "bits.*above"),
    "bits too easy": ({"bits": "2100ffff"}, "easier than litecoin/regtest allows"),
    "bits short": ({"bits": "207fff"}, "bits is not 8 hex digits"),
    "bits number": ({"bits": 0x207FFFFF}, "bits"),
    "bits no hex": ({"bits": "207fffzz"}, "bits is not hex"),
    "target other": ({"target": "00" * 32}, "target disagrees"),
    "target no hex": ({"target": "zz" * 32}, "target is not hex"),
    "value negative": ({"coinbasevalue": -1}, "coinbasevalue is -1"),
    "value huge": ({"coinbasevalue": 1 << 63}, "coinbasevalue"),
    "value text": ({"coinbasevalue": "50"}, "coinbasevalue"),
    "parent short": ({"previousblockhash": "00"}, "previousblockhash has 1 bytes"),
    "parent no hex": ({"previousblockhash": "zz" * 32}, "previousblockhash is not hex"),
    "parent blanks": ({"previousblockhash": "00 " * 32}, "previousblockhash is not hex"),
    "parent missing": ({"previousblockhash": None}, "previousblockhash is missing"),
    "time zero": ({"curtime": 0}, "curtime"),
    "time missing": ({"mintime": None}, "mintime"),
    "transactions missing": ({"transactions": None}, "transactions is not a list"),
    "transaction text": ({"transactions": ["00"]}, "transaction 0 is not an object"),
    "transaction hex": ({"transactions": [TX | {"data": "0"}]}, r"transactions\[0\].data"),
    "transaction short": ({"transactions": [TX | {"data": "00"}]}, "only 1 bytes"),
    "txid short": ({"transactions": [TX | {"txid": "00"}]}, r"transactions\[0\].txid"),
    "txid missing": ({"transactions": [{"data": TX["data"]}]}, r"transactions\[0\].txid"),
    "transactions too many": ({"transactions": [TX] * 66_667}, "66667 transactions"),
    "transactions too big": (
        {"transactions": [TX | {"data": "00" * 2_100_000}] * 2},
        "above 4000000",
    ),
    "commitment no hex": ({"default_witness_commitment": "6a2"}, "commitment is not hex"),
    "commitment other": ({"default_witness_commitment": "6a24" + "00" * 36}, "no BIP141"),
    "commitment long": ({"default_witness_commitment": COMMITMENT.hex() + "00" * 99}, "no BIP141"),
    "rules text": ({"rules": "segwit"}, "rules is not a short list"),
    "rules numbers": ({"rules": [1]}, "rules holds"),
    "rule unknown": ({"rules": ["!signet"]}, "demands the rule 'signet'"),
    "longpoll number": ({"longpollid": 5}, "longpollid is not a string"),
    "longpoll long": ({"longpollid": "x" * 1025}, "longpollid is above"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_template_is_refused_by_the_name_of_its_field(case: str) -> None:
    changes, said = BAD[case]
    with pytest.raises(TemplateError, match=said):
        parse_template(LTC_REGTEST, template_reply(**changes))


def test_witness_transaction_without_commitment_is_refused() -> None:
    with pytest.raises(TemplateError, match="no default_witness_commitment"):
        parse_template(LTC_REGTEST, template_reply(commitment=None, txs=(WITNESSED,)))


def test_regtest_template_is_refused_on_mainnet() -> None:
    with pytest.raises(TemplateError, match="is the node on another network"):
        parse_template(BTC, template_reply())


@pytest.mark.parametrize("reply", [None, [], "x", 7], ids=["null", "list", "text", "number"])
def test_reply_that_is_no_object_is_refused(reply: Any) -> None:
    with pytest.raises(TemplateError, match="not an object"):
        parse_template(LTC_REGTEST, reply)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=70),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["data", "txid", "hash"]), inner, max_size=3)
    ),
    max_leaves=5,
)


@given(template_replies(), st.dictionaries(st.sampled_from(sorted(template_reply())), json_values))
def test_any_json_in_any_field_gives_a_template_or_the_template_error(
    reply: dict[str, Any], changes: dict[str, Any]
) -> None:
    try:
        parse_template(LTC_REGTEST, reply | changes)
    except TemplateError:
        return
