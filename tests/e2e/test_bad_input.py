"""What goes wrong gets one sentence with its remedy and the right exit code, and loses nothing.

Two pools on the built-in node serve the whole file. One is live: strangers come
to its port and its node fails under it while a miner mines on; every share that
this miner hears `true` for is in the books at the end of each test. The other
ran once and is stopped: starts that must fail are tried on its data directory,
which has to stay as it is, byte for byte.
"""

import asyncio
import contextlib
import hashlib
import json
import os
import re
import signal
import socket
import sqlite3
import ssl
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest

from pithead.coins.hashing import pow_hash
from pithead.coins.node import RpcNode
from pithead.coins.registry import chain_params
from pithead.coins.weight import bits_to_target
from pithead.config import DevchainSettings, load
from pithead.miner.demo import demo_address
from pithead.up.datadir import FORMAT
from tests.support.devchain import access_of
from tests.support.manifests import variant, without_demo_miners
from tests.support.pool import RunningPool, free_port, pithead
from tests.support.strangers import CLIENT_HELLO, HTTP_REQUEST, Reception, receive
from tests.support.stratum_client import StratumClient

pytestmark = [pytest.mark.gate, pytest.mark.timeout(90)]

PARAMS = chain_params("devchain", "regtest")
ADDRESS = demo_address(PARAMS, b"bad input", 0)[0]
SHARE_DIFFICULTY = "0.00000002"
"""Some 86 hashes."""
HASHES_PER_BLOCK = 1 << 20
"""A second or two for the node's own miner; ours leave blocks alone."""
LOGIN_TIMEOUT_S = 3
"""What the live pool gives a connection until it has logged in."""
WORST_ANSWER_S = 2.0
FAILED, UNUSABLE = 1, 2

PARSE, INVALID_REQUEST, OTHER, STALE, UNAUTHORIZED = -32700, -32600, 20, 21, 24

Objects = dict[str, dict[str, Any]]


def quickstart(target: Path, *, port: int, rpc_port: int) -> Path:
    """The quickstart on these ports, without miners."""

    def change(objects: Objects) -> None:
        without_demo_miners(objects)
        objects["CoinEndpoint"]["spec"]["devchain"] = {
            "hashesPerBlock": HASHES_PER_BLOCK,
            "rpcPort": rpc_port,
        }
        spec = objects["MiningPool"]["spec"]
        spec["listeners"][0]["port"] = port
        spec["listeners"][0]["difficulty"] = dict.fromkeys(
            ("start", "min", "max"), SHARE_DIFFICULTY
        )
        spec["limits"] = {"subscribeTimeoutSeconds": LOGIN_TIMEOUT_S}

    return variant("quickstart", target, change)


@dataclass
class Live:
    """The live pool, and how often its miners heard `true`."""

    pool: RunningPool
    port: int
    rpc_port: int
    heard_true: int = 0

    @property
    def devchain(self) -> DevchainSettings:
        """Settings of its node."""
        return load(self.pool.data / "config" / "devchain.json", DevchainSettings)

    async def all_is_booked(self) -> None:
        """Wait until accounting has what the miners heard, no more and no less."""
        status = await asyncio.to_thread(
            self.pool.wait,
            lambda status: status["shares"]["accepted"] >= self.heard_true,
            "all accepted shares booked",
            20.0,
        )
        assert status["shares"]["accepted"] == self.heard_true


@dataclass
class Stopped:
    """The pool that ran once."""

    manifests: Path
    data: Path
    port: int
    rpc_port: int


@dataclass
class Pools:
    """Both."""

    live: Live
    stopped: Stopped


@pytest.fixture(scope="module")
def pools(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pools]:
    """Start both at once; stop the second."""
    root = tmp_path_factory.mktemp("bad-input")
    ports = [free_port() for _ in range(4)]
    manifests = [
        quickstart(root / "live-manifests", port=ports[0], rpc_port=ports[1]),
        quickstart(root / "stopped-manifests", port=ports[2], rpc_port=ports[3]),
    ]
    live = RunningPool(manifests[0], root / "live")
    stopped = RunningPool(manifests[1], root / "stopped")
    with contextlib.ExitStack() as stack:
        for pool in (live, stopped):
            stack.enter_context(pool)
        stopped.wait_ready()
        assert stopped.stop() == 0
        live.wait_ready()
        yield Pools(
            Live(live, ports[0], ports[1]), Stopped(manifests[1], stopped.data, ports[2], ports[3])
        )


@pytest.fixture
def live(pools: Pools) -> Live:
    return pools.live


@pytest.fixture
def stopped(pools: Pools) -> Stopped:
    return pools.stopped


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
        r"4096 was 1048576 when this data directory was last started, .*; put the old value",
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
    import yaml

    text = (source / "pool.yaml").read_text()
    objects = {each["kind"]: each for each in yaml.safe_load_all(text)}
    change(objects)
    target.mkdir()
    file = target / "pool.yaml"
    file.write_text(yaml.safe_dump_all(objects.values(), sort_keys=False))
    return file


# Ports.


@pytest.mark.parametrize("what", ["stratum", "devchain"])
def test_port_in_use_is_named_and_the_directory_stays_usable(
    what: str, pools: Pools, tmp_path: Path
) -> None:
    live, stopped = pools.live, pools.stopped
    stratum = what == "stratum"
    taken = live.port if stratum else live.rpc_port
    manifests = quickstart(
        tmp_path / "manifests",
        port=taken if stratum else stopped.port,
        rpc_port=stopped.rpc_port if stratum else taken,
    )
    before = hashes(stopped.data)
    where = (
        "spec.listeners[0].port of MiningPool/quickstart"
        if stratum
        else "spec.devchain.rpcPort of CoinEndpoint/devchain"
    )
    assert refused(manifests, stopped.data, FAILED) == [
        (
            f"pithead up: port 127.0.0.1:{taken} is in use by another program: stop that one, or "
            f"change {where}"
        )
    ]
    assert hashes(stopped.data) == before


@pytest.mark.parametrize("what", ["stratum", "devchain"])
def test_service_that_finds_its_port_taken_says_so_and_is_not_started_again(
    what: str, pools: Pools, tmp_path: Path
) -> None:
    """The port may be taken between the runtime's look and the service's start."""
    config = tmp_path / "settings.json"
    folder = pools.stopped.data / "config"
    if what == "stratum":
        raw = json.loads((folder / "stratum-default.quickstart-local.json").read_bytes())
        raw["listeners"][0]["port"] = taken = pools.live.port
        raw |= {"log_dir": str(tmp_path / "log"), "socket": str(tmp_path / "edge.sock")}
    else:
        raw = json.loads((folder / "devchain.json").read_bytes())
        raw |= {"port": pools.live.rpc_port, "data_dir": str(tmp_path / "node")}
        taken = pools.live.rpc_port
    config.write_text(json.dumps(raw))
    answer = pithead(what, "--config", str(config))
    assert answer.returncode == UNUSABLE
    assert "Traceback" not in answer.stderr
    said = answer.stderr.splitlines()[-1]
    assert f"127.0.0.1:{taken}" in said
    assert "stop" in said
    assert " ERROR " in said


# Data directories.


def test_data_directory_in_use_is_left_to_its_owner(pools: Pools) -> None:
    config = hashes(pools.live.pool.data / "config")
    (sentence,) = refused(pools.stopped.manifests, pools.live.pool.data, FAILED)
    assert sentence == (
        f"pithead up: {pools.live.pool.data} is in use by another `pithead up`: stop that one, "
        "or start this pool with --data OTHER_DIR"
    )
    assert hashes(pools.live.pool.data / "config") == config
    status = pools.live.pool.status()
    assert status is not None
    assert status["ready"]


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


def test_directory_starts_again_after_every_refusal(stopped: Stopped) -> None:
    """Comes after all that was tried on it."""
    with RunningPool(stopped.manifests, stopped.data) as pool:
        pool.wait_ready()
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


# The live pool.


@dataclass
class Miner:
    """A well-behaved miner; it submits all the time and measures the answers."""

    live: Live
    client: StratumClient
    answers_s: list[float] = field(default_factory=list)
    codes: list[int | None] = field(default_factory=list)
    _extranonce2: int = 0

    async def submit(self) -> int | None:
        """One share on the newest job; its error code, None for `true`."""
        share = await self._share()
        loop = asyncio.get_running_loop()
        asked = loop.time()
        answer = await self.client.submit(share)
        self.answers_s.append(loop.time() - asked)
        code = None if answer["result"] is True else int(answer["error"][0])
        self.codes.append(code)
        self.live.heard_true += code is None
        return code

    async def _share(self) -> list[str]:
        """A share that is no block, so that the tests alone decide when work becomes stale."""
        job = await self.client.job()
        while True:
            self._extranonce2 += 1
            share = self.client.solve(job, self._extranonce2)
            extranonce2, ntime, nonce = (
                bytes.fromhex(share[2]),
                int(share[3], 16),
                int(share[4], 16),
            )
            header = job.header(self.client.extranonce1, extranonce2, ntime, nonce, job.version)
            if pow_hash(PARAMS, header) > bits_to_target(job.bits):
                return share

    async def mine(self, stop: asyncio.Event, pause_s: float = 0.02) -> None:
        """Submit until `stop`."""
        while not stop.is_set():
            await self.submit()
            await asyncio.sleep(pause_s)

    async def until(self, code: int | None, limit_s: float) -> None:
        """Submit until it is answered so."""
        async with asyncio.timeout(limit_s):
            while await self.submit() != code:
                await asyncio.sleep(0.1)


@contextlib.asynccontextmanager
async def miner(live: Live, worker: str) -> AsyncIterator[Miner]:
    """A logged-in miner; its connection must last as long as it is used."""
    async with StratumClient(PARAMS, live.port) as client:
        assert (await client.login(f"{ADDRESS}.{worker}"))["result"] is True
        yield Miner(live, client)
        assert not client.closed.is_set(), "the well-behaved miner was disconnected"


PING = b'{"id":1,"method":"mining.ping","params":[]}\n'
SUBSCRIBE = b'{"id":1,"method":"mining.subscribe","params":[]}\n'


async def test_strangers_are_answered_or_closed_by_rule_and_disturb_nobody(live: Live) -> None:
    async with miner(live, "steady") as steady, miner(live, "idle"):
        assert await steady.submit() is None
        stop = asyncio.Event()
        mining = asyncio.create_task(steady.mine(stop))
        async with asyncio.timeout(40), asyncio.TaskGroup() as tasks:
            for stranger in (
                random_bytes,
                endless_line,
                half_a_request,
                request_in_pieces,
                http_request,
                tls_hello,
                deep_nesting,
                huge_numbers,
                invalid_utf8,
                wrong_shapes,
                silent_crowd,
                subscribed_and_silent,
                never_reads,
                invalid_submits,
            ):
                tasks.create_task(stranger(live.port), name=stranger.__name__)
        # The crowd and the ban's candidates are gone: anybody is welcome.
        async with miner(live, "late") as late:
            assert await late.submit() is None
        stop.set()
        await mining
        assert set(steady.codes) == {None}
        assert len(steady.answers_s) > 50
        worst = max(steady.answers_s)
        print(f"{len(steady.answers_s)} answers, the worst after {worst * 1000:.0f} ms")
        assert worst < WORST_ANSWER_S
    await live.all_is_booked()


LIMIT_S = LOGIN_TIMEOUT_S + 4.0
"""By when a connection that never logs in is closed, with slack for a loaded machine."""


def closed_for_garbage(reception: Reception) -> None:
    assert reception.closed_s is not None
    assert reception.closed_s < LOGIN_TIMEOUT_S, "closed by the clock, not for what it said"


async def random_bytes(port: int) -> None:
    for seed in range(8):
        noise = hashlib.shake_256(bytes([seed])).digest(100_000)
        closed_for_garbage(await receive(port, noise, limit_s=LIMIT_S))


async def endless_line(port: int) -> None:
    reception = await receive(port, b"a" * 8193, limit_s=LIMIT_S)
    closed_for_garbage(reception)
    assert reception.codes == [INVALID_REQUEST]
    assert "a line exceeds 8192 bytes" in reception.answers[0]["error"]
    flood = await receive(port, *[b'{"id":1,"method":"' + b"x" * 65536] * 16, limit_s=LIMIT_S)
    closed_for_garbage(flood)


async def half_a_request(port: int) -> None:
    reception = await receive(port, SUBSCRIBE[:30], limit_s=LIMIT_S)
    assert reception.answers == []
    assert reception.closed_s is not None
    assert reception.closed_s > LOGIN_TIMEOUT_S - 0.5


async def request_in_pieces(port: int) -> None:
    pieces = [SUBSCRIBE[index : index + 1] for index in range(len(SUBSCRIBE))]
    reception = await receive(port, *pieces, limit_s=LIMIT_S)
    assert reception.codes == [None]


async def http_request(port: int) -> None:
    reception = await receive(port, HTTP_REQUEST, limit_s=LIMIT_S)
    closed_for_garbage(reception)
    assert reception.codes == [PARSE, PARSE, PARSE, INVALID_REQUEST]


async def tls_hello(port: int) -> None:
    reception = await receive(port, CLIENT_HELLO, limit_s=LIMIT_S)
    assert reception.closed_s is not None
    context = ssl.create_default_context()
    with pytest.raises((ssl.SSLError, ConnectionError)):
        async with asyncio.timeout(LIMIT_S):
            await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname="pool")


async def deep_nesting(port: int) -> None:
    opened, closed = b"[" * 4000, b"]" * 4000
    for line in (
        opened,
        opened + closed,
        b'{"id":' + opened + closed + b',"method":"mining.ping","params":[]}',
        b'{"id":1,"method":"mining.submit","params":' + opened + closed + b"}",
        b'{"a":' * 1300 + b"1" + b"}" * 1300,
    ):
        reception = await receive(port, (line + b"\n") * 3, limit_s=LIMIT_S)
        closed_for_garbage(reception)
        assert set(reception.codes) <= {PARSE, INVALID_REQUEST}, line[:20]


async def huge_numbers(port: int) -> None:
    digits = b"9" * 4000
    reception = await receive(
        port,
        b'{"id":' + digits + b',"method":"mining.subscribe","params":[' + digits + b"]}\n",
        b'{"id":1e999999,"method":"mining.suggest_difficulty","params":[1e999999]}\n',
        b'{"id":3,"method":"mining.suggest_difficulty","params":[' + digits + b"]}\n",
        b'{"id":4,"method":"mining.suggest_difficulty","params":[-1]}\n',
        b'{"id":5,"method":"mining.suggest_target","params":["' + digits + b'"]}\n',
        b'{"id":6,"method":"mining.suggest_difficulty","params":["1e400"]}\n',
        b'{"id":7,"method":"mining.configure","params":[["version-rolling"],'
        b'{"version-rolling.mask":"ffffffffffff","version-rolling.min-bit-count":'
        + digits
        + b"}]}\n",
        b'{"id":8,"method":"mining.authorize","params":["' + digits + b'"]}\n',
        limit_s=LIMIT_S,
    )
    # The mask that can not be read is told in the result of its extension.
    assert reception.codes == [None, PARSE, OTHER, OTHER, OTHER, OTHER, None, UNAUTHORIZED]


async def invalid_utf8(port: int) -> None:
    line = b'{"id":1,"method":"mining.subscribe","params":["\xff\xfe\xc0\x80"]}\n'
    reception = await receive(port, line * 3, limit_s=LIMIT_S)
    closed_for_garbage(reception)
    assert reception.codes == [PARSE, PARSE, PARSE, INVALID_REQUEST]


async def wrong_shapes(port: int) -> None:
    lines = [b"1", b'"text"', b"null", b"[]", b"{}", b'{"id":1}', b'{"id":1,"method":2}']
    for line in lines:
        reception = await receive(port, (line + b"\n") * 3, limit_s=LIMIT_S)
        closed_for_garbage(reception)
        assert reception.codes == [INVALID_REQUEST] * 4, line


async def silent_crowd(port: int) -> None:
    """Two hundred connections that say nothing are closed in time."""
    receptions = await asyncio.gather(*(receive(port, limit_s=LIMIT_S) for _ in range(200)))
    assert all(reception.closed_s is not None for reception in receptions)
    assert all(reception.answers == [] for reception in receptions)


async def subscribed_and_silent(port: int) -> None:
    reception = await receive(port, SUBSCRIBE, limit_s=LIMIT_S)
    assert reception.codes == [None]
    assert reception.closed_s is not None


async def never_reads(port: int) -> None:
    """Asks without end and reads no answer: is not listened to, and costs no memory."""
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    asked = 0
    try:
        writer.transport.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_RCVBUF, 4096
        )
        cast("asyncio.ReadTransport", writer.transport).pause_reading()
        async with asyncio.timeout(LIMIT_S):
            while True:
                writer.write(PING * 1000)
                asked += 1000 * len(PING)
                await writer.drain()
    except (ConnectionError, TimeoutError):
        # Cut off when its time to log in was over, or held until our own limit.
        assert asked < 64 << 20
    finally:
        writer.transport.abort()


async def invalid_submits(port: int) -> None:
    """Each is closed for its conduct; their address has a good miner, so it is not banned."""
    for _ in range(4):
        async with StratumClient(PARAMS, port) as client:
            await client.login(f"{ADDRESS}.bad")
            good = client.solve(await client.job())
            index = 0
            with contextlib.suppress(ConnectionError):
                for index in range(600):
                    answer = await client.submit([*good[:2], f"{index:#018x}", *good[3:]])
                    assert answer["error"][0] == OTHER
            assert 190 < index < 210


@contextlib.asynccontextmanager
async def node_of(live: Live) -> AsyncIterator[RpcNode]:
    async with RpcNode(access_of(live.devchain)) as node:
        yield node
        await node.call("devchain_fault", {})


async def test_shares_on_work_whose_successor_is_known_are_stale_until_the_node_gives_work_again(
    live: Live,
) -> None:
    """The node tells of a new block but gives no template: 5 s later nothing is credited."""
    async with miner(live, "fresh") as it, node_of(live) as node:
        assert await it.submit() is None
        await node.call("devchain_fault", {"refuse": "getblocktemplate"})
        height = (await node.chain_info()).blocks
        await node.call("generatetoaddress", 1, ADDRESS, timeout_s=60)
        await it.until(STALE, 12.0)
        status = await asyncio.to_thread(live.pool.wait, lambda s: not s["ready"], "not ready", 5.0)
        assert status["troubles"] == [
            "edge local: no node gives fresh work, so that no share can be credited",
            (
                f"node devchain: http://127.0.0.1:{live.rpc_port} answers error -1: "
                "getblocktemplate is refused by a fault"
            ),
        ]
        await node.call("devchain_fault", {})
        await it.until(None, 12.0)
        assert (await it.client.job()).ntime
        assert (await node.chain_info()).blocks == height + 1
        assert set(it.codes) == {None, STALE}
    await live.all_is_booked()


async def test_miners_stay_while_their_node_hangs_or_dies(live: Live) -> None:
    async with miner(live, "patient") as it:
        stop = asyncio.Event()
        mining = asyncio.create_task(it.mine(stop))
        said = live.pool.output.read_text
        pid = live.pool.services()["devchain"]
        os.kill(pid, signal.SIGSTOP)
        try:
            sentence = (
                f"trouble: node devchain: http://127.0.0.1:{live.rpc_port} gives no answer within "
                "3 s; see whether it hangs or has too much to do"
            )
            async with asyncio.timeout(10):
                while sentence not in said():
                    await asyncio.sleep(0.1)
        finally:
            os.kill(pid, signal.SIGCONT)
        async with asyncio.timeout(10):
            while f"over: {sentence.partition(': ')[2]}" not in said():
                await asyncio.sleep(0.1)
        os.kill(pid, signal.SIGKILL)
        async with asyncio.timeout(20):
            while live.pool.services().get("devchain", pid) == pid:
                await asyncio.sleep(0.1)
        assert "devchain ended, killed by signal 9; it is started again" in said()
        await live.pool.wait_ready_async()
        stop.set()
        await mining
        # Work of less than a minute ago is good, with the node or without.
        assert set(it.codes) == {None}
        assert len(it.codes) > 50
    await live.all_is_booked()


# The JSON for scripts.

STATUS: dict[str, Any] = {
    "name": str,
    "coin": str,
    "ready": bool,
    "connections": int,
    "hashrate": (int, float),
    "shares": {"accepted": int, "stale": int, "duplicate": int, "low": int},
    "blocks": {"candidate": int, "confirmed": int, "mature": int, "orphaned": int},
    "credits": {"immature": "amount", "payable": "amount"},
    "payouts": {"pending": int, "confirmed": int, "amount": "amount"},
    "regions": [{"id": str, "ready": bool}],
    "listeners": [{"port": int, "scheme": str, "tls": bool}],
}


def check_shape(value: Any, shape: Any, path: str) -> None:
    if isinstance(shape, dict):
        assert isinstance(value, dict), path
        for key, inner in shape.items():
            assert key in value, f"{path}.{key}"
            check_shape(value[key], inner, f"{path}.{key}")
    elif isinstance(shape, list):
        assert isinstance(value, list), path
        assert value, path
        for index, item in enumerate(value):
            check_shape(item, shape[0], f"{path}[{index}]")
    elif shape == "amount":
        assert isinstance(value, str), path
        assert re.fullmatch(r"0|[1-9][0-9]*", value), f"{path} is {value!r}"
    else:
        assert isinstance(value, shape), f"{path} is {value!r}"
        # True is an int to Python, but not to the readers of JSON.
        assert isinstance(value, bool) is (shape is bool), f"{path} is {value!r}"


async def test_status_for_scripts_has_every_documented_key_and_type(live: Live) -> None:
    async with miner(live, "counted") as it:
        assert await it.submit() is None
        await live.all_is_booked()
        answer = await asyncio.to_thread(
            pithead, "status", "--data", str(live.pool.data), "-o", "json"
        )
    assert answer.returncode == 0
    assert answer.stderr == ""
    document = json.loads(answer.stdout)
    check_shape(document, {"pools": [STATUS]}, "")
    (pool,) = document["pools"]
    assert pool["name"] == "quickstart"
    assert pool["coin"] == "devchain"
    assert pool["ready"] is True
    assert pool["connections"] >= 1
    assert pool["regions"][0]["id"] == "local"
    assert pool["listeners"] == [{"port": live.port, "scheme": "pplns", "tls": False}]
