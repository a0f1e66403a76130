import pytest

from pithead.contracts import (
    accounting_pb2,
    edge_pb2,
    ledger_pb2,
    payouts_pb2,
    rewards_pb2,
)
from pithead.status import PoolSnapshot, RegionSnapshot, RuntimeListener, RuntimePool, document
from pithead.up.events import Teller, amount_text, rate_text, short

pytestmark = pytest.mark.gate

POOL = RuntimePool(
    pool="default.demo",
    name="demo",
    coin="devchain/regtest",
    endpoint="devchain",
    symbol="DVC",
    decimals=8,
    regions=[],
    listeners=[RuntimeListener(port=3333, scheme="pplns", tls=False, host="127.0.0.1")],
)


def snapshot(
    *,
    accepted: int = 0,
    blocks: list[rewards_pb2.Block] | None = None,
    payouts: list[payouts_pb2.Payout] | None = None,
    ready: bool = True,
    trouble: str = "",
) -> PoolSnapshot:
    edge = edge_pb2.StatusReply(ready=ready, hashrate=30_000.0, connections=4, trouble=trouble)
    return PoolSnapshot(
        runtime=POOL,
        regions=[RegionSnapshot("local", edge)],
        counters=accounting_pb2.CountersReply(accepted=accepted, stale=2, weight="0"),
        blocks=rewards_pb2.BlocksReply(blocks=blocks or []),
        split=None,
        split_block=None,
        balances=ledger_pb2.BalancesReply(
            balances=[
                ledger_pb2.Balance(
                    book=ledger_pb2.Book(kind=ledger_pb2.BOOK_IMMATURE, owner=owner), amount=5
                )
                for owner in ("1", "2")
            ]
        ),
        payouts=payouts_pb2.ListReply(payouts=payouts or [], amount="0"),
    )


def block(state: "rewards_pb2.BlockState.ValueType") -> rewards_pb2.Block:
    return rewards_pb2.Block(
        hash=bytes(31) + b"\x01", height=7, state=state, value=50 * 10**8, finder="addr.rig"
    )


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        pytest.param(0, "0.00 DVC", id="zero"),
        pytest.param(1, "0.00000001 DVC", id="smallest"),
        pytest.param(123456789012, "1,234.56789012 DVC", id="thousands"),
        pytest.param(5 * 10**9, "50.00 DVC", id="whole"),
        pytest.param(2**62, "46,116,860,184.27387904 DVC", id="beyond-float"),
    ],
)
def test_amounts_are_written_exactly(amount: int, text: str) -> None:
    assert amount_text(amount, 8, "DVC") == text


@pytest.mark.parametrize(
    ("rate", "text"),
    [(0.5, "0.5 H/s"), (999.0, "999 H/s"), (30_000.0, "30 kH/s"), (2.5e18, "2.5 EH/s")],
    ids=["slow", "below-kilo", "kilo", "exa"],
)
def test_rates_carry_the_unit_that_miners_read(rate: float, text: str) -> None:
    assert rate_text(rate) == text


def test_long_address_is_shortened_and_its_worker_kept() -> None:
    assert short("dvc1q" + "x" * 38 + ".rig7") == "dvc1qxxxx…xxxxxx.rig7"


def test_first_look_at_an_old_pool_repeats_no_history() -> None:
    teller = Teller()
    told = list(teller.tell(snapshot(accepted=5000, blocks=[block(rewards_pb2.BLOCK_MATURE)])))
    assert told == ["ready for miners at stratum+tcp://127.0.0.1:3333"]


def test_block_is_told_when_found_and_when_mature() -> None:
    teller = Teller()
    list(teller.tell(snapshot()))
    found = list(teller.tell(snapshot(blocks=[block(rewards_pb2.BLOCK_CANDIDATE)])))
    assert len(found) == 1
    assert "found by addr.rig, worth 50.00 DVC" in found[0]
    assert list(teller.tell(snapshot(blocks=[block(rewards_pb2.BLOCK_CANDIDATE)]))) == []
    mature = list(teller.tell(snapshot(blocks=[block(rewards_pb2.BLOCK_MATURE)])))
    assert [line for line in mature if "credits are payable" in line]


def test_shares_are_told_at_marks() -> None:
    teller = Teller()
    list(teller.tell(snapshot()))
    assert list(teller.tell(snapshot(accepted=3))) == ["3 shares accepted, 2 rejected, 30 kH/s"]
    assert list(teller.tell(snapshot(accepted=9))) == []
    assert len(list(teller.tell(snapshot(accepted=2001)))) == 1


def test_trouble_is_told_once_and_its_end_too() -> None:
    teller = Teller()
    list(teller.tell(snapshot()))
    assert list(teller.tell(snapshot(trouble="disk full"))) == ["trouble: edge local: disk full"]
    assert list(teller.tell(snapshot(trouble="disk full"))) == []
    assert list(teller.tell(snapshot())) == ["over: edge local: disk full"]


def test_trouble_that_only_changes_its_reason_is_not_over() -> None:
    teller = Teller()
    list(teller.tell(snapshot(trouble="disk full")))
    assert list(teller.tell(snapshot(trouble="disk away"))) == ["trouble: edge local: disk away"]
    assert list(teller.tell(snapshot())) == ["over: edge local: disk away"]


def test_document_keeps_the_keys_that_scripts_read() -> None:
    pool = document([snapshot(accepted=5)])["pools"][0]
    assert pool["name"] == "demo"
    assert pool["coin"] == "devchain"
    assert pool["ready"] is True
    assert pool["connections"] == 4
    assert pool["hashrate"] == 30_000.0
    assert pool["shares"] == {"accepted": 5, "stale": 2, "duplicate": 0, "low": 0}
    assert pool["blocks"] == {"candidate": 0, "confirmed": 0, "mature": 0, "orphaned": 0}
    assert pool["credits"] == {"immature": "10", "payable": "0"}
    assert pool["payouts"] == {"pending": 0, "confirmed": 0, "amount": "0"}
    assert pool["regions"] == [
        {"id": "local", "ready": True, "connections": 4, "hashrate": 30_000.0}
    ]
    assert pool["listeners"] == [{"port": 3333, "scheme": "pplns", "tls": False}]
