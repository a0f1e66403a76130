"""The codec against all vectors of BIP173 and BIP350."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pithead.coins.bech32 import Bech32Error, Encoding, decode, encode, from_words, to_words

pytestmark = pytest.mark.gate

VALID_BECH32 = [
    "A12UEL5L",
    "a12uel5l",
    "an83characterlonghumanreadablepartthatcontainsthenumber1andtheexcludedcharactersbio1tt5tgs",
    "abcdef1qpzry9x8gf2tvdw0s3jn54khce6mua7lmqqqxw",
    "1" + "1" + "q" * 82 + "c8247j",
    "split1checkupstagehandshakeupstreamerranterredcaperred2y9e3w",
    "?1ezyfcl",
]
VALID_BECH32M = [
    "A1LQFN3A",
    "a1lqfn3a",
    "an83characterlonghumanreadablepartthatcontainsthetheexcludedcharactersbioandnumber11sg7hg6",
    "abcdef1l7aum6echk45nj3s0wdvt2fg8x9yrzpqzd3ryx",
    "1" + "1" + "l" * 82 + "ludsr8",
    "split1checkupstagehandshakeupstreamerranterredcaperredlc445v",
    "?1v759aa",
]
INVALID = [
    "\x201nwldj5",
    "\x7f1axkwrx",
    "\x801eym55h",
    "an84characterslonghumanreadablepartthatcontainsthenumber1andtheexcludedcharactersbio1569pvx",
    "pzry9x0s0muk",
    "1pzry9x0s0muk",
    "x1b4n0q5v",
    "li1dgmt3",
    "de1lg7wt\xff",
    "A1G7SGD8",
    "10a06t8",
    "1qzzfhee",
    "\x201xj0phk",
    "\x7f1g6xzxy",
    "\x801vctc34",
    "an84characterslonghumanreadablepartthatcontainsthetheexcludedcharactersbioandnumber11d6pts4",
    "qyrz8wqd2c9m",
    "1qyrz8wqd2c9m",
    "y1b0jsk6g",
    "lt1igcx5c0",
    "in1muywd",
    "mm1crxm3i",
    "au1s5cgom",
    "M1VUXWEZ",
    "16plkw9",
    "1p2gdwpf",
]


@pytest.mark.parametrize(
    ("text", "encoding"),
    [(text, Encoding.BECH32) for text in VALID_BECH32]
    + [(text, Encoding.BECH32M) for text in VALID_BECH32M],
)
def test_valid_text_of_the_bips_is_read_with_its_own_checksum(
    text: str, encoding: Encoding
) -> None:
    hrp, values, found = decode(text)
    assert found is encoding
    assert encode(hrp, values, encoding) == text.lower()


@pytest.mark.parametrize("text", INVALID, ids=ascii)
def test_invalid_text_of_the_bips_is_refused(text: str) -> None:
    with pytest.raises(Bech32Error):
        decode(text)


@given(st.binary(max_size=40))
def test_bytes_survive_five_bit_words(data: bytes) -> None:
    assert from_words(to_words(data)) == data


@given(st.lists(st.integers(0, 31), max_size=60), st.sampled_from(Encoding))
def test_values_survive_the_text(values: list[int], encoding: Encoding) -> None:
    assert decode(encode("dvc", values, encoding)) == ("dvc", values, encoding)


@given(st.lists(st.integers(0, 31), max_size=60), st.sampled_from(Encoding), st.data())
def test_one_mistyped_character_is_always_found(
    values: list[int], encoding: Encoding, data: st.DataObject
) -> None:
    text = encode("dvc", values, encoding)
    at = data.draw(st.integers(4, len(text) - 1))
    other = data.draw(st.sampled_from("qpzry9x8gf2tvdw0s3jn54khce6mua7l").filter(text[at].__ne__))
    with pytest.raises(Bech32Error, match="checksum"):
        decode(text[:at] + other + text[at + 1 :])


@given(st.text(max_size=100))
def test_random_text_raises_only_the_codec_error(text: str) -> None:
    try:
        decode(text)
    except Bech32Error:
        return


@given(st.lists(st.integers(0, 31), max_size=60))
def test_random_words_make_canonical_bytes_or_are_refused(words: list[int]) -> None:
    try:
        assert to_words(from_words(words)) == words
    except Bech32Error:
        return
