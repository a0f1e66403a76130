"""Scripts: heights as nodes compare them, pushes, and the forms that pay."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pithead.coins import script
from pithead.coins.tx import parse_tx
from tests.unit.coins.vectors import BITCOIN_328014_COINBASE

pytestmark = pytest.mark.gate


@pytest.mark.parametrize(
    ("height", "raw"),
    [
        (0, "00"),
        (1, "51"),
        (16, "60"),
        (17, "0111"),
        (127, "017f"),
        (128, "028000"),
        (255, "02ff00"),
        (256, "020001"),
        (32767, "02ff7f"),
        (32768, "03008000"),
        (328014, "034e0105"),
        (8388608, "0400008000"),
        (2**31, "050000008000"),
    ],
)
def test_height_is_pushed_as_nodes_compare_it(height: int, raw: str) -> None:
    assert script.height_push(height).hex() == raw
    assert script.parse_height(bytes.fromhex(raw)) == height


@given(st.integers(0, script.HEIGHT_MAX), st.binary(max_size=40))
def test_height_is_read_back_before_anything(height: int, tail: bytes) -> None:
    assert script.parse_height(script.height_push(height) + tail) == height


@pytest.mark.parametrize("height", [-1, script.HEIGHT_MAX + 1])
def test_height_outside_32_bits_is_refused(height: int) -> None:
    with pytest.raises(script.ScriptError):
        script.height_push(height)


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param("", id="empty"),
        pytest.param("0111"[:2], id="cut off"),
        pytest.param("0105", id="small number pushed"),
        pytest.param("021100", id="not minimal"),
        pytest.param("0180", id="negative"),
        pytest.param("06000000000001", id="too long"),
        pytest.param("0500000000" + "7f", id="above 32 bits"),
        pytest.param("76a9", id="other opcode"),
    ],
)
def test_coinbase_without_a_proper_height_is_refused(raw: str) -> None:
    with pytest.raises(script.ScriptError):
        script.parse_height(bytes.fromhex(raw))


def test_height_of_a_historic_coinbase_is_read() -> None:
    coinbase = parse_tx(BITCOIN_328014_COINBASE)
    assert coinbase.is_coinbase
    assert script.parse_height(coinbase.inputs[0].script_sig) == 328_014
    assert coinbase.outputs[0].value == 2_504_275_756
    assert list(script.pushes(coinbase.inputs[0].script_sig))[1] == b"/P2SH/"


@given(st.lists(st.binary(max_size=300), max_size=5))
def test_pushes_are_read_back_in_order(items: list[bytes]) -> None:
    joined = b"".join(script.push(item) for item in items)
    assert list(script.pushes(joined)) == items


@given(st.binary(max_size=200))
def test_random_script_never_yields_bytes_it_does_not_hold(data: bytes) -> None:
    assert sum(map(len, script.pushes(data))) <= len(data)


@given(st.binary(max_size=120))
def test_random_height_raises_only_the_script_error(data: bytes) -> None:
    try:
        height = script.parse_height(data)
    except script.ScriptError:
        return
    assert data.startswith(script.height_push(height))


@pytest.mark.parametrize(
    ("size", "head"), [(0, "00"), (75, "4b"), (76, "4c4c"), (255, "4cff"), (256, "4d0001")]
)
def test_push_is_the_shortest_one(size: int, head: str) -> None:
    assert script.push(bytes(size)).hex() == head + "00" * size


def test_push_beyond_16_bits_is_refused() -> None:
    with pytest.raises(script.ScriptError):
        script.push(bytes(65_536))


FORMS = {
    "is_p2pkh": script.p2pkh(bytes(20)),
    "is_p2sh": script.p2sh(bytes(20)),
    "is_p2wpkh": script.p2wpkh(bytes(20)),
    "is_p2wsh": script.p2wsh(bytes(32)),
    "is_p2tr": script.p2tr(bytes(32)),
    "is_op_return": b"\x6a\x01x",
    "is_witness_commitment": script.WITNESS_COMMITMENT_PREFIX + bytes(32),
}


@pytest.mark.parametrize("test", FORMS)
@pytest.mark.parametrize("form", FORMS)
def test_each_form_is_recognised_as_itself_alone(test: str, form: str) -> None:
    also = test == "is_op_return" and form == "is_witness_commitment"
    assert getattr(script, test)(FORMS[form]) is (test == form or also)


@pytest.mark.parametrize("build", [script.p2pkh, script.p2sh, script.p2wpkh, script.p2wsh])
def test_hash_of_the_wrong_size_is_refused(build: Callable[[bytes], bytes]) -> None:
    with pytest.raises(script.ScriptError):
        build(bytes(19))


@given(st.integers(0, 16), st.binary(min_size=2, max_size=40))
def test_witness_program_is_read_back(version: int, program: bytes) -> None:
    built = script.witness_script(version, program)
    assert script.witness_program(built) == (version, program)


@pytest.mark.parametrize(("version", "size"), [(17, 20), (-1, 20), (0, 1), (0, 41)])
def test_impossible_witness_program_is_refused(version: int, size: int) -> None:
    with pytest.raises(script.ScriptError):
        script.witness_script(version, bytes(size))


@pytest.mark.parametrize("form", ["is_p2pkh", "is_p2sh", "is_op_return"])
def test_other_scripts_are_no_witness_programs(form: str) -> None:
    assert script.witness_program(FORMS[form]) is None
