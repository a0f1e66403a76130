"""What goes wrong gets one sentence with its remedy and the right exit code, and loses nothing.

A pool on the built-in node ran once and is stopped: starts that must fail are
tried on its data directory, which has to stay as it is, byte for byte, and to
start again at the end.
"""

import contextlib
import hashlib
import json
import re
import socket
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from pithead.up.datadir import FORMAT
from tests.support.manifests import variant, without_demo_miners
from tests.support.pool import RunningPool, free_port, pithead

pytestmark = [pytest.mark.gate, pytest.mark.timeout(90)]

FAILED, UNUSABLE = 1, 2
HASHES_PER_BLOCK = 65_536

Objects = dict[str, dict[str, Any]]


def quickstart(target: Path, *, port: int, rpc_port: int) -> Path:
    """The quickstart on these ports, without miners."""

    def change(objects: Objects) -> None:
        without_demo_miners(objects)
        objects["CoinEndpoint"]["spec"]["devchain"] = {
            "hashesPerBlock": HASHES_PER_BLOCK,
            "rpcPort": rpc_port,
        }
        objects["MiningPool"]["spec"]["listeners"][0]["port"] = port

    return variant("quickstart", target, change)


@dataclass
class Stopped:
    """The pool that ran once."""

    manifests: Path
    data: Path
    port: int
    rpc_port: int


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Stopped:
    root = tmp_path_factory.mktemp("bad-input")
    port, rpc_port = free_port(), free_port()
    manifests = quickstart(root / "manifests", port=port, rpc_port=rpc_port)
    with RunningPool(manifests, root / "data") as pool:
        pool.wait_ready()
        assert pool.stop() == 0
    return Stopped(manifests, root / "data", port, rpc_port)


@contextlib.contextmanager
def held_port() -> Iterator[int]:
    """A port that another program listens on."""
    with socket.create_server(("127.0.0.1", 0)) as holder:
        yield int(holder.getsockname()[1])


def hashes(folder: Path) -> dict[str, str]:
    """A digest of every file below a folder."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def refused(manifests: Path, data: Path, code: int) -> list[str]:
    """Start a pool that must not start; what it says, line by line."""
    answer = pithead("up", "-f", str(manifests), "--data", str(data), "--plain")
    assert answer.returncode == code, answer.stdout + answer.stderr
    assert "Traceback" not in answer.stdout + answer.stderr
    return answer.stderr.splitlines()


# Manifests.

BROKEN = """\
apiVersion: pithead.dev/v1alpha1
kind: CoinEndpoint
metadata:
  name: devchain
spec:
  coin: doubloon
  network: regtest
  colour: blue
---
apiVersion: pithead.dev/v1alpha1
kind: RewardScheme
metadata:
  name: pplns
spec:
  method: PPLNS
  feePercent: 101
  pplns:
    window: {networkFactor: 2, weight: 7}
---
apiVersion: pithead.dev/v1alpha1
kind: MiningPool
metadata:
  name: quickstart
spec:
  coinEndpointRef:
    name: devchain
  schemes:
    - name: pplns
    - name: solo
  defaultScheme: pplns
  regions:
    - id: local
  listeners:
    - name: stratum
      port: 70000
      difficulty: {start: 3, min: 4, max: 5}
  payouts:
    threshold: 1
"""


def test_every_manifest_error_is_named_at_its_place_and_nothing_is_made(tmp_path: Path) -> None:
    file = tmp_path / "pool.yaml"
    file.write_text(BROKEN)
    lines = refused(file, tmp_path / "data", UNUSABLE)
    form = re.compile(rf"{re.escape(str(file))}:(\d+): (\w+/[\w-]+): ([\w.\[\]]+): (.+)")
    found = {}
    for line in lines:
        match = form.fullmatch(line)
        assert match is not None, line
        number, label, path, message = match.groups()
        # The line of the field itself, or of what should hold it.
        assert path.rpartition(".")[2] in BROKEN.splitlines()[int(number) - 1]
        found[label, path] = message
    assert set(found) == {
        ("CoinEndpoint/devchain", "spec.colour"),
        ("RewardScheme/pplns", "spec.feePercent"),
        ("RewardScheme/pplns", "spec.pplns.window"),
        ("MiningPool/quickstart", "spec.listeners[0].port"),
        ("MiningPool/quickstart", "spec.listeners[0].difficulty.start"),
    }
    assert found["MiningPool/quickstart", "spec.listeners[0].port"] == (
        "70000 is not allowed; expected a whole number from 1 to 65535"
    )
    assert not (tmp_path / "data").exists()


def test_references_to_nothing_and_unknown_coins_are_named(tmp_path: Path) -> None:
    def change(objects: Objects) -> None:
        objects["CoinEndpoint"]["spec"] = {"coin": "doubloon", "network": "regtest", "nodes": []}
        objects["MiningPool"]["spec"]["schemes"] = [{"name": "solo"}]

    manifests = variant("quickstart", tmp_path / "manifests", change)
    lines = refused(manifests, tmp_path / "data", UNUSABLE)
    assert any(": CoinEndpoint/devchain: spec.nodes: no node is given" in line for line in lines)
    assert any(
        ": MiningPool/quickstart: spec.schemes[0].name: there is no RewardScheme solo" in line
        for line in lines
    )
    assert not (tmp_path / "data").exists()


def test_text_that_is_no_yaml_is_named_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "pool.yaml"
    file.write_text("kind: MiningPool\nspec: [1,\n")
    assert refused(file, tmp_path / "data", UNUSABLE)[0].startswith(f"{file}:3: not YAML: ")
    assert not (tmp_path / "data").exists()


def test_change_of_an_immutable_field_is_refused_and_changes_nothing(
    stopped: Stopped, tmp_path: Path
) -> None:
    before = hashes(stopped.data)

    def change(objects: Objects) -> None:
        objects["CoinEndpoint"]["spec"]["devchain"]["hashesPerBlock"] = 4096
        objects["MiningPool"]["spec"]["poolId"] = "another"

    original = quickstart(tmp_path / "same", port=stopped.port, rpc_port=stopped.rpc_port)
    file = changed_manifests(original, tmp_path / "changed", change)
    first, second = refused(file.parent, stopped.data, UNUSABLE)
    assert re.match(
        rf"{re.escape(str(file))}:\d+: CoinEndpoint/devchain: spec\.devchain\.hashesPerBlock: "
        rf"4096 was {HASHES_PER_BLOCK} when this data directory was last started, "
        r".*; put the old value back",
        first,
    )
    assert re.match(
        rf"{re.escape(str(file))}:\d+: MiningPool/quickstart: spec\.poolId: "
        r'"another" was "default\.quickstart" .*, or give the changed MiningPool another name',
        second,
    )
    assert hashes(stopped.data) == before


def changed_manifests(source: Path, target: Path, change: Any) -> Path:
    """Another variant, of manifests that are one already; the path of its file."""
    text = (source / "pool.yaml").read_text()
    objects = {each["kind"]: each for each in yaml.safe_load_all(text)}
    change(objects)
    target.mkdir()
    file = target / "pool.yaml"
    file.write_text(yaml.safe_dump_all(objects.values(), sort_keys=False))
    return file


# Ports.


def test_ports_in_use_are_named_with_the_fields_to_change(stopped: Stopped, tmp_path: Path) -> None:
    before = hashes(stopped.data)
    with held_port() as port, held_port() as rpc_port:
        manifests = quickstart(tmp_path / "stratum", port=port, rpc_port=stopped.rpc_port)
        stratum = (
            f"pithead up: port 127.0.0.1:{port} is in use by another program: stop that one, or "
            "change spec.listeners[0].port of MiningPool/quickstart"
        )
        assert refused(manifests, stopped.data, FAILED) == [stratum]
        manifests = quickstart(tmp_path / "both", port=port, rpc_port=rpc_port)
        devchain = (
            f"pithead up: port 127.0.0.1:{rpc_port} is in use by another program: stop that one, "
            "or change spec.devchain.rpcPort of CoinEndpoint/devchain"
        )
        assert refused(manifests, stopped.data, FAILED) == [devchain, stratum]
    assert hashes(stopped.data) == before


@pytest.mark.parametrize("what", ["stratum", "devchain"])
def test_service_that_finds_its_port_taken_says_so_and_is_not_started_again(
    what: str, stopped: Stopped, tmp_path: Path
) -> None:
    """The port may be taken between the runtime's look and the service's start."""
    config = tmp_path / "settings.json"
    folder = stopped.data / "config"
    with held_port() as taken:
        if what == "stratum":
            settings = json.loads((folder / "stratum-default.quickstart-local.json").read_bytes())
            settings["listeners"][0]["port"] = taken
            settings["log"] = {"directory": str(tmp_path / "log")}
            settings["serve"] = {"address": f"unix:{tmp_path / 'edge.sock'}"}
        else:
            settings = json.loads((folder / "devchain.json").read_bytes())
            settings |= {"port": taken, "data_dir": str(tmp_path / "node")}
        config.write_text(json.dumps(settings))
        answer = pithead(what, "--config", str(config))
    assert answer.returncode == UNUSABLE
    assert "Traceback" not in answer.stderr
    said = answer.stderr.splitlines()[-1]
    assert f"127.0.0.1:{taken}" in said
    assert "stop" in said
    assert " ERROR " in said


# Data directories.


def test_data_directory_of_a_newer_release_is_left_as_it_is(stopped: Stopped) -> None:
    version = stopped.data / "VERSION"
    ours = version.read_text()
    version.write_text(f"{FORMAT + 1}\n")
    try:
        before = hashes(stopped.data)
        (sentence,) = refused(stopped.manifests, stopped.data, FAILED)
        assert sentence == (
            f"pithead up: {stopped.data} was written by a newer Pithead (data format {FORMAT + 1}, "
            f"this release knows up to {FORMAT}): upgrade Pithead, or choose another directory "
            "with --data DIR; nothing was changed"
        )
        assert hashes(stopped.data) == before
    finally:
        version.write_text(ours)


@pytest.mark.parametrize("service", ["ledger", "payouts"])
def test_database_of_a_newer_release_is_left_as_it_is(service: str, stopped: Stopped) -> None:
    """The first and the last one that is upgraded: neither may be changed before all are known."""
    database = stopped.data / "db" / f"{service}.db"

    def set_revision(revision: str) -> str:
        with contextlib.closing(sqlite3.connect(database)) as connection, connection:
            (old,) = connection.execute("SELECT version_num FROM alembic_version").fetchone()
            connection.execute("UPDATE alembic_version SET version_num = ?", (revision,))
        return str(old)

    ours = set_revision("9999")
    try:
        before = hashes(stopped.data)
        (sentence,) = refused(stopped.manifests, stopped.data, FAILED)
        assert sentence == (
            f"pithead up: database {database} is of revision 9999, newer than this Pithead knows "
            f"({ours}): upgrade pithead, or point --data at another directory; "
            "nothing was changed"
        )
        assert hashes(stopped.data) == before
    finally:
        set_revision(ours)


def test_damaged_database_is_named(stopped: Stopped) -> None:
    database = stopped.data / "db" / "rewards.db"
    whole = database.read_bytes()
    database.write_bytes(b"not a database, by accident".ljust(4096, b"."))
    try:
        before = hashes(stopped.data)
        (sentence,) = refused(stopped.manifests, stopped.data, FAILED)
        assert sentence.startswith(f"pithead up: database {database} cannot be opened (")
        assert hashes(stopped.data) == before
    finally:
        database.write_bytes(whole)


def test_directory_starts_again_after_every_refusal_and_is_its_owners_alone(
    stopped: Stopped, tmp_path: Path
) -> None:
    """Comes after all that was tried on it."""
    other = quickstart(tmp_path / "other", port=free_port(), rpc_port=free_port())
    with RunningPool(stopped.manifests, stopped.data) as pool:
        pool.wait_ready()
        config = hashes(stopped.data / "config")
        (sentence,) = refused(other, stopped.data, FAILED)
        assert sentence == (
            f"pithead up: {stopped.data} is in use by another `pithead up`: stop that one, or "
            "start this pool with --data OTHER_DIR"
        )
        assert hashes(stopped.data / "config") == config
        status = pool.status()
        assert status is not None
        assert status["ready"]
        assert pool.stop() == 0


# Commands.


def test_status_without_a_pool_names_the_remedy(stopped: Stopped, tmp_path: Path) -> None:
    for arguments in (["status"], ["status", "-o", "json"], ["audit"]):
        answer = pithead(*arguments, "--data", str(stopped.data))
        assert answer.returncode == FAILED
        assert answer.stdout == ""
        assert answer.stderr == (
            f"pithead {arguments[0]}: no pool runs on {stopped.data}: start it with: "
            f"pithead up -f MANIFESTS --data {stopped.data}\n"
        )
    answer = pithead("status", "--data", str(tmp_path / "absent"))
    assert answer.returncode == FAILED
    assert answer.stderr == (
        f"pithead status: {tmp_path / 'absent'} does not exist: name the pool's directory with "
        "--data DIR, or start one with: pithead up -f MANIFESTS --data DIR\n"
    )
    assert not (tmp_path / "absent").exists()


@pytest.mark.parametrize(
    "arguments",
    [["dig"], ["status", "--colour"], ["up"], ["up", "-f", "/nowhere"], ["status", "-o", "xml"]],
    ids=["command", "option", "missing", "no-file", "choice"],
)
def test_wrong_usage_exits_with_2_and_says_why(arguments: list[str]) -> None:
    answer = pithead(*arguments)
    assert answer.returncode == UNUSABLE
    assert answer.stdout == ""
    assert "Error: " in answer.stderr
    assert "Traceback" not in answer.stderr
