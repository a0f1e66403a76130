"""Which names can be topics and partitions."""

import pytest

from pithead.log.errors import BadName
from pithead.log.names import check_name, is_name

pytestmark = pytest.mark.gate


@pytest.mark.parametrize("name", ["a", "eu-0", "shares.default.example", "x" * 200, "0_1"])
def test_good_names_pass(name: str) -> None:
    assert is_name(name)
    assert check_name("topic", name) == name


@pytest.mark.parametrize("name", ["", ".", "..", "-a", "a/b", "a b", "x" * 201, "a\n"])
def test_bad_names_are_refused_with_what_is_allowed(name: str) -> None:
    assert not is_name(name)
    with pytest.raises(BadName, match="use letters, digits"):
        check_name("topic", name)
