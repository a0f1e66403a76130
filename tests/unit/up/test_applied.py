"""What a data directory remembers of its manifests, and which changes it refuses."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pithead.manifests import Manifests
from pithead.up.applied import Applied, AppliedDamaged, after, load, refusals, store
from tests.unit.manifests import samples
from tests.unit.manifests.samples import Object, endpoint, node, pool, put, scheme, secret

pytestmark = pytest.mark.gate

PATH = Path("applied.json")
BUILT_IN = (endpoint(), scheme(), pool())
LITECOIN = (
    secret(),
    endpoint(coin="litecoin", nodes=[node()]),
    scheme(),
    pool(),
)


def applied(*starts: tuple[Object, ...]) -> Applied:
    """The memory after these starts, one after another, as it is read back from disk."""
    memory = Applied()
    for objects in starts:
        memory = after(memory, samples.load(*objects))
        memory = msgspec.json.decode(msgspec.json.encode(memory), type=Applied)
    return memory


def refused(memory: Applied, *objects: Object) -> list[str]:
    """The refusals of these manifests, without file and line."""
    problems = refusals(memory, samples.load(*objects), PATH)
    return [str(problem).partition(": ")[2] for problem in problems]


def changed(objects: tuple[Object, ...], kind: str, path: str, new: Any) -> tuple[Object, ...]:
    """The same manifests with one field changed."""
    return tuple(put(each, path, new) if each["kind"] == kind else each for each in objects)


def test_first_start_refuses_nothing() -> None:
    assert refused(Applied(), *BUILT_IN) == []


def test_same_manifests_are_accepted_again() -> None:
    assert refused(applied(BUILT_IN), *BUILT_IN) == []
    assert refused(applied(LITECOIN), *LITECOIN) == []


@pytest.mark.parametrize(
    ("objects", "kind", "path", "new", "said"),
    [
        pytest.param(
            BUILT_IN,
            "CoinEndpoint",
            "spec.devchain.hashesPerBlock",
            1000,
            "CoinEndpoint/dev: spec.devchain.hashesPerBlock: 1000 was 65536 when this data "
            "directory was last started, and what it holds depends on it; put the old value back, "
            "or start another data directory with --data DIR",
            id="devchain",
        ),
        pytest.param(
            LITECOIN,
            "CoinEndpoint",
            "spec.wallet",
            {"name": "other"},
            'CoinEndpoint/dev: spec.wallet.name: "other" was "pool" when this data directory was '
            "last started, and what it holds depends on it; put the old value back, or give the "
            "changed CoinEndpoint another name",
            id="wallet",
        ),
        pytest.param(
            BUILT_IN,
            "MiningPool",
            "spec.poolId",
            "another",
            'MiningPool/alpha: spec.poolId: "another" was "default.alpha" when this data '
            "directory was last started, and what it holds depends on it; put the old value back, "
            "or give the changed MiningPool another name",
            id="pool-id",
        ),
    ],
)
def test_change_of_an_immutable_field_is_refused_in_one_sentence(
    objects: tuple[Object, ...], kind: str, path: str, new: Any, said: str
) -> None:
    assert refused(applied(objects), *changed(objects, kind, path, new)) == [said]


def test_refusal_names_file_and_line_of_the_field() -> None:
    memory = applied(BUILT_IN)
    problem, *_ = refusals(
        memory, samples.load(*changed(BUILT_IN, "MiningPool", "spec.poolId", "another")), PATH
    )
    lines = samples.text(*changed(BUILT_IN, "MiningPool", "spec.poolId", "another")).decode()
    assert problem.file == samples.FILE
    assert "poolId: another" in lines.splitlines()[problem.line - 1]


def test_coin_that_moves_under_its_pools_is_told_once() -> None:
    moved = changed(LITECOIN, "CoinEndpoint", "spec.network", "testnet")
    told = refused(applied(LITECOIN), *moved)
    assert len(told) == 1
    assert told[0].startswith('CoinEndpoint/dev: spec.network: "testnet" was "regtest"')


def test_pool_that_moves_to_another_endpoint_is_told_with_both_names() -> None:
    second = put(endpoint(coin="litecoin", nodes=[node()]), "metadata.name", "ltc")
    moved = (*changed(BUILT_IN, "MiningPool", "spec.coinEndpointRef.name", "ltc"), second, secret())
    told = refused(applied(BUILT_IN), *moved)
    assert len(told) == 1
    assert told[0].startswith('MiningPool/alpha: spec.coinEndpointRef: "ltc" was "dev"')


@pytest.mark.parametrize(
    ("kind", "path", "new"),
    [
        pytest.param("MiningPool", "spec.listeners", [samples.listener("b", 4444)], id="listeners"),
        pytest.param("MiningPool", "spec.regions", [{"id": "eu"}], id="regions"),
        pytest.param("MiningPool", "spec.payouts.threshold", 7, id="threshold"),
        pytest.param("MiningPool", "spec.poolId", "default.alpha", id="pool-id-written-out"),
        pytest.param("CoinEndpoint", "spec.confirmations", 9, id="confirmations"),
        pytest.param("CoinEndpoint", "spec.devchain", {}, id="defaults-written-out"),
        pytest.param("RewardScheme", "spec.feePercent", 5, id="fee"),
        pytest.param("RewardScheme", "spec.pplns.window", {"weight": "7"}, id="window"),
    ],
)
def test_change_of_any_other_field_is_accepted(kind: str, path: str, new: Any) -> None:
    assert refused(applied(BUILT_IN), *changed(BUILT_IN, kind, path, new)) == []


def test_pool_that_was_away_goes_on_with_its_books() -> None:
    both = (*BUILT_IN, pool("beta", listeners=[samples.listener(port=4444)]))
    memory = applied(both, BUILT_IN)
    assert "default/MiningPool/beta" not in memory.objects
    assert memory.books["default.beta"].chain == "devchain/regtest"
    assert refused(memory, *both) == []


def test_pool_under_another_name_goes_on_with_the_books_of_its_pool_id() -> None:
    renamed = (endpoint(), scheme(), pool("beta", poolId="default.alpha"))
    assert refused(applied(BUILT_IN), *renamed) == []


def test_deleted_pool_may_come_back_with_a_pool_id_of_its_own() -> None:
    without = (endpoint(), scheme(), pool("beta"))
    fresh = changed(BUILT_IN, "MiningPool", "spec.poolId", "fresh")
    assert refused(applied(BUILT_IN, without), *fresh) == []


def test_pool_id_known_on_another_chain_is_refused_under_any_name() -> None:
    renamed = changed(LITECOIN, "MiningPool", "metadata.name", "beta")
    renamed = changed(renamed, "MiningPool", "spec.poolId", "default.alpha")
    renamed = changed(renamed, "MiningPool", "spec.coinEndpointRef.name", "ltc")
    renamed = changed(renamed, "CoinEndpoint", "metadata.name", "ltc")
    assert refused(applied(BUILT_IN), *renamed) == [
        (
            "MiningPool/beta: spec.poolId: default.alpha has its books on devchain/regtest and "
            "can not go on with them on litecoin/regtest; give this pool a poolId that was not "
            "used before"
        )
    ]


def test_scheme_keeps_its_method_for_a_pool_that_ever_offered_it() -> None:
    other = (endpoint(), scheme("second"), pool(schemes=[{"name": "second"}]))
    memory = applied(BUILT_IN, other)
    assert memory.books["default.alpha"].schemes == {"pplns": "PPLNS", "second": "PPLNS"}
    known = memory.books["default.alpha"]
    # A method that this release does not have stands for one that it will have.
    solo = msgspec.structs.replace(known, schemes={"pplns": "SOLO"})
    memory = msgspec.structs.replace(memory, books={"default.alpha": solo})
    assert refused(memory, *BUILT_IN) == [
        (
            "RewardScheme/pplns: spec.method: PPLNS was SOLO when pool default.alpha offered this "
            "scheme, and its blocks and shares name it for ever; give the RewardScheme another name"
        )
    ]


def test_built_in_chain_does_not_begin_anew_under_another_endpoint() -> None:
    renamed = changed(BUILT_IN, "CoinEndpoint", "metadata.name", "fresh")
    renamed = changed(renamed, "MiningPool", "spec.coinEndpointRef.name", "fresh")
    renamed = changed(renamed, "MiningPool", "metadata.name", "beta")
    assert refused(applied(BUILT_IN), *renamed) == [
        (
            "CoinEndpoint/fresh: metadata.name: fresh would begin devchain/regtest anew, whose "
            "chain and books belong to CoinEndpoint/dev here; name it dev again, or start another "
            "data directory with --data DIR"
        )
    ]


def test_every_refusal_is_told_at_once() -> None:
    moved = changed(BUILT_IN, "CoinEndpoint", "spec.devchain.hashesPerBlock", 1000)
    moved = changed(moved, "MiningPool", "spec.poolId", "another")
    assert [each.split(": ")[1] for each in refused(applied(BUILT_IN), *moved)] == [
        "spec.devchain.hashesPerBlock",
        "spec.poolId",
    ]


def test_memory_is_on_disk_as_a_whole_and_holds_no_secret(tmp_path: Path) -> None:
    path = tmp_path / "applied.json"
    assert load(path) == Applied()
    manifests: Manifests = samples.load(*LITECOIN)
    store(path, after(Applied(), manifests))
    assert load(path) == after(Applied(), manifests)
    assert "s3cret-word" not in path.read_text()
    assert [each.name for each in tmp_path.iterdir()] == ["applied.json"]


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b'{"objects": 1}', b"\xff\xfe", b'{"books": {"a": {}}}'],
    ids=["empty", "cut-off", "list", "wrong-type", "not-utf-8", "incomplete"],
)
def test_damaged_memory_is_named_with_the_remedy(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "applied.json"
    path.write_bytes(content)
    with pytest.raises(AppliedDamaged, match=r"applied\.json can not be read .*: restore it from"):
        load(path)


def test_spec_that_this_release_can_not_read_is_named(tmp_path: Path) -> None:
    path = tmp_path / "applied.json"
    store(path, applied(BUILT_IN))
    document = json.loads(path.read_text())
    document["objects"]["default/CoinEndpoint/dev"]["colour"] = "blue"
    path.write_text(json.dumps(document))
    with pytest.raises(AppliedDamaged, match=r"CoinEndpoint/dev: colour: .*: restore it from"):
        refusals(load(path), samples.load(*BUILT_IN), path)
