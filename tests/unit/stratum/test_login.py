"""Logins and passwords as miners type them."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pithead.coins.address import address_of_script
from pithead.coins.script import p2wpkh
from pithead.stratum.errors import LoginError
from pithead.stratum.login import WORKER_CHARACTERS_MAX, Login, Wishes, parse_login, parse_password
from tests.unit.stratum.support import DEVCHAIN, LITECOIN

pytestmark = pytest.mark.gate

ADDRESS = address_of_script(DEVCHAIN, p2wpkh(bytes(20))) or ""


@pytest.mark.parametrize(
    ("user", "expected"),
    [
        (ADDRESS, (ADDRESS, "")),
        (f"{ADDRESS}.rig-1", (ADDRESS, "rig-1")),
        (f"{ADDRESS}.a.b_c:d@e+f", (ADDRESS, "a.b_c:d@e+f")),
        (f"{ADDRESS.upper()}.x", (ADDRESS, "x")),
        (f" {ADDRESS}.x \n", (ADDRESS, "x")),
        (f"{ADDRESS}." + "w" * WORKER_CHARACTERS_MAX, (ADDRESS, "w" * WORKER_CHARACTERS_MAX)),
    ],
    ids=["bare", "worker", "odd worker", "upper case", "space around", "longest worker"],
)
def test_a_login_is_an_address_and_a_worker(user: str, expected: tuple[str, str]) -> None:
    assert parse_login(DEVCHAIN, user) == expected


@pytest.mark.parametrize(
    "user",
    [
        "",
        "nobody",
        ".worker",
        f"{ADDRESS}.two words",
        f"{ADDRESS}.\n1",
        f"{ADDRESS}.ü",
        f"{ADDRESS}." + "w" * (WORKER_CHARACTERS_MAX + 1),
        ADDRESS[:-1] + "x",
    ],
    ids=repr,
)
def test_a_login_that_can_not_be_paid_is_refused_in_words(user: str) -> None:
    with pytest.raises(LoginError, match=r"login is|worker name"):
        parse_login(DEVCHAIN, user)


def test_an_address_of_another_chain_is_refused_with_what_is_expected() -> None:
    with pytest.raises(LoginError, match="rltc"):
        parse_login(LITECOIN, ADDRESS)


@pytest.mark.parametrize(
    ("password", "wishes"),
    [
        ("x", Wishes()),
        ("d=1024", Wishes(start=Decimal(1024))),
        ("x,d=0.5;md=16", Wishes(Decimal("0.5"), Decimal(16))),
        ("d=-1 md=nan", Wishes()),
        ("d=", Wishes()),
    ],
    ids=repr,
)
def test_passwords_carry_wishes(password: str, wishes: Wishes) -> None:
    assert parse_password(password) == wishes


@given(st.text(max_size=300))
def test_no_password_raises(password: str) -> None:
    parse_password(password)


def test_a_login_reads_as_people_write_it() -> None:
    assert Login("a", "w", 1).text == "a.w"
    assert Login("a", "", 1).text == "a"
