"""The life of `pithead up`: read manifests, start services in order, show, stop.

The order follows from what each needs to know before its settings can be
written: the ledger and the node need nothing; payouts needs the node and tells
the address that coinbases pay; rewards needs that address and tells the slots
of the schemes; shares and the edges need both.
"""

import asyncio
import importlib.util
import logging
import os
import signal
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import click
import grpc
from rich.console import Console

from pithead.coins.registry import chain_params
from pithead.config import (
    PeerSettings,
    PoolRegistration,
    Settings,
    SlotSettings,
    StratumSettings,
    store,
    to_json,
)
from pithead.config.one_machine import Hub, demo_miners, render_edges, render_hub
from pithead.config.paths import RuntimePaths
from pithead.config.places import RenderError
from pithead.config.render import render_analytics, render_rewards, render_shares
from pithead.contracts import (
    payouts_pb2,
    payouts_pb2_grpc,
    rewards_pb2_grpc,
)
from pithead.manifests import ManifestErrors, Manifests, load_manifests
from pithead.miner.demo import demo_address
from pithead.process import EXIT_FAILED, EXIT_UNUSABLE
from pithead.rpc import REFUSALS, channel
from pithead.status import (
    Collector,
    Runtime,
    RuntimeListener,
    RuntimePool,
    RuntimeRegion,
)
from pithead.store.errors import StoreError
from pithead.store.migrate import migrate_all
from pithead.up import applied, facts
from pithead.up.datadir import DataDir, DataDirError
from pithead.up.ports import unusable_ports, wanted_ports
from pithead.up.supervisor import Supervisor
from pithead.up.view import View
from pithead.wire.schemes import schemes_request, slots_of

CALL_LIMIT_S = 25.0
"""Above what a service waits for its node, so that the answer names the node."""
RETRY_S = 0.5
THEIR_SUPERVISOR = f"--supervisor={os.getpid()}"
"""Makes a service end with this process, however it ends."""
WITH_DATABASE = ("ledger", "shares", "rewards", "payouts")

CHARTS_AFTER_S = 2.0
"""Between the start of the edges and that of analytics, whose own takes half a second of a core."""

PATIENCE_S = 3.0
"""After this long without an answer the reason is shown; starting goes on."""

logger = logging.getLogger(__name__)

ReplyT = TypeVar("ReplyT")


class StartupFailed(Exception):
    """Raised when a service can not do what the manifests want; its sentence says the remedy."""


def run_up(files: list[Path], data: Path, *, plain: bool) -> int:
    """Run until a signal; the exit code is 0 after a clean stop."""
    logging.basicConfig(level=logging.ERROR)
    try:
        manifests = load_manifests(files)
    except ManifestErrors as errors:
        for problem in errors.problems:
            click.echo(str(problem), err=True)
        return EXIT_UNUSABLE
    try:
        directory = DataDir(data).open()
    except DataDirError as error:
        return _say_failure(str(error))
    try:
        memory = applied.load(directory.applied_file)
        problems = applied.refusals(memory, manifests, directory.applied_file)
        if problems:
            for problem in problems:
                click.echo(str(problem), err=True)
            return EXIT_UNUSABLE
        if taken := unusable_ports(wanted_ports(manifests)):
            for sentence in taken:
                _say_failure(sentence)
            return EXIT_FAILED
        console = Console(force_terminal=False if plain else None)
        return asyncio.run(_run(manifests, directory, memory, console))
    except (StoreError, DataDirError, StartupFailed, RenderError) as error:
        return _say_failure(str(error))
    except OSError as error:
        where = error.filename or directory.root
        return _say_failure(
            f"{where}: {error.strerror or error}: check that it is writable and has free space"
        )
    finally:
        directory.close()


async def _run(
    manifests: Manifests, directory: DataDir, memory: applied.Applied, console: Console
) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    view = View(console)
    runtime = OneMachine(manifests, directory, memory, view)
    await runtime.migrate()
    view.say(f"starting {', '.join(runtime.pool_names)} on {directory.root}")
    supervisor = runtime.supervisor
    failure = supervisor.failed = loop.create_future()
    work = asyncio.create_task(runtime.bring_up_and_follow())
    stopped = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait([work, stopped, failure], return_when=asyncio.FIRST_COMPLETED)
        if failure.done():
            raise StartupFailed(failure.result())
        if work.done():
            work.result()
        return 0
    finally:
        for task in (work, stopped):
            task.cancel()
        await asyncio.gather(work, stopped, return_exceptions=True)
        view.say("stopping")
        await supervisor.stop()
        goes_on = "; the same command goes on where this left off" if stop.is_set() else ""
        view.say(f"stopped{goes_on} ({directory.root})")


def _facts(
    hub: Hub, scripts: Mapping[str, bytes], slots: Mapping[str, tuple[SlotSettings, ...]]
) -> facts.Facts:
    return facts.Facts(
        asked=facts.digest(hub),
        scripts={name: script.hex() for name, script in scripts.items()},
        slots=slots,
    )


def _say_failure(sentence: str) -> int:
    click.echo(f"pithead up: {sentence}", err=True)
    return EXIT_FAILED


class OneMachine:
    """The services of a set of manifests, as processes over one data directory."""

    def __init__(
        self, manifests: Manifests, directory: DataDir, memory: applied.Applied, view: View
    ) -> None:
        self._manifests = manifests
        self._directory = directory
        self._memory = memory
        self._view = view
        self._paths = RuntimePaths(
            databases=directory.databases,
            log=directory.log,
            node=directory.node,
            run=directory.run,
            credentials=manifests.credentials,
            built_in_password=directory.secret("node password").hex(),
        )
        self.supervisor = Supervisor(directory.logs, view.say)

    @property
    def pool_names(self) -> list[str]:
        """Names of the pools for people."""
        return [pool.metadata.name for pool in self._manifests.pools]

    async def migrate(self) -> None:
        """Bring the databases of all services to the newest schema."""
        await migrate_all({service: self._paths.database(service) for service in WITH_DATABASE})

    def _start(self, name: str, service: str, settings: Settings) -> None:
        path = self._directory.config / f"{name}.json"
        store(path, settings)
        self.supervisor.start(name, service, "--config", str(path), THEIR_SUPERVISOR)

    async def bring_up_and_follow(self) -> None:
        """Start everything, then show what happens until cancelled."""
        hub = render_hub(self._manifests, self._paths)
        if hub.devchain is not None:
            self._start("devchain", "devchain", hub.devchain)
        self._start("ledger", "ledger", hub.ledger)
        self._start("payouts", "payouts", hub.payouts)
        known = facts.load(self._directory.facts_file, facts.digest(hub))
        if known is None:
            scripts = await self._learn_scripts(hub)
            self._start_rewards(scripts)
            slots = await self._learn_slots(hub)
            learned = _facts(hub, scripts, slots)
            facts.store(self._directory.facts_file, learned)
        else:
            learned = known
            self._start_rewards(learned.script_bytes)
        # From here on shares and blocks depend on the manifests; before, a mistake may be undone.
        applied.store(self._directory.applied_file, applied.after(self._memory, self._manifests))
        runtime = self._start_rest(learned)
        collector = Collector(runtime)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._view.follow(collector))
                if runtime.charts is not None:
                    tasks.create_task(self._start_charts())
                if known is not None:
                    tasks.create_task(self._confirm(hub, known))
        except ExceptionGroup as group:
            refusals = group.subgroup(StartupFailed)
            if refusals is None:
                raise
            raise refusals.exceptions[0] from group
        finally:
            await collector.close()

    async def _learn_scripts(self, hub: Hub) -> dict[str, bytes]:
        return {coin.name: await self._receive(coin.name) for coin in hub.payouts.coins}

    async def _learn_slots(self, hub: Hub) -> dict[str, tuple[SlotSettings, ...]]:
        return {each.pool: await self._register(each) for each in hub.registrations}

    async def _confirm(self, hub: Hub, known: facts.Facts) -> None:
        """Ask again what an earlier start was told, while everything runs."""
        learned = _facts(hub, await self._learn_scripts(hub), await self._learn_slots(hub))
        if learned != known:
            self._directory.facts_file.unlink(missing_ok=True)
            raise StartupFailed(
                "the wallet's address or the schemes' slots differ from those of the last "
                "start, as after a restored backup: start again to go on with the present ones"
            )

    def _start_rewards(self, scripts: Mapping[str, bytes]) -> None:
        settings = render_rewards(self._manifests, self._paths, scripts)
        self._start("rewards", "rewards", settings)

    def _start_rest(self, learned: facts.Facts) -> Runtime:
        """Start shares, edges and demo miners, and tell `pithead status` where they are."""
        scripts, slots = learned.script_bytes, learned.slots
        shares = render_shares(self._manifests, self._paths, scripts, slots)
        self._start("shares", "shares", shares)
        edges = render_edges(self._manifests, self._paths, scripts, slots)
        for edge in edges:
            self._start(f"stratum-{edge.pool}-{edge.region}", "stratum", edge)
        self._start_demo_miners()
        runtime = self._runtime(edges)
        file = self._directory.runtime_file
        scratch = file.with_suffix(".new")
        scratch.write_bytes(to_json(runtime))
        scratch.replace(file)
        return runtime

    async def _start_charts(self) -> None:
        """Start analytics once miners are served: nobody waits for charts."""
        await asyncio.sleep(CHARTS_AFTER_S)
        settings = render_analytics(self._manifests, self._paths)
        if settings is not None:
            path = self._directory.config / "analytics.json"
            store(path, settings)
            arguments = ("shares", "analytics", "--config", str(path), THEIR_SUPERVISOR)
            self.supervisor.start("analytics", *arguments, needed=False)

    def _start_demo_miners(self) -> None:
        seed = self._directory.secret("demo keys")
        for miners in demo_miners(self._manifests):
            endpoint = self._manifests.endpoints[miners.endpoint]
            params = chain_params(endpoint.spec.coin, endpoint.spec.network)
            arguments = [miners.url, "--algorithm", miners.algorithm]
            for index, hashrate in enumerate(miners.hashrates):
                address, _ = demo_address(params, seed, index)
                arguments += ["--user", f"{address}.demo{index + 1}", "--hashrate", f"{hashrate:f}"]
            self.supervisor.start(f"mine-{miners.pool}", "mine", *arguments, THEIR_SUPERVISOR)

    async def _receive(self, coin: str) -> bytes:
        async with channel(self._paths.peer("payouts")) as open_channel:
            stub = payouts_pb2_grpc.PayoutsStub(open_channel)
            request = payouts_pb2.ReceiveRequest(coin=coin)
            reply = await self._persist(
                f"the wallet of {coin}",
                lambda: stub.Receive(request, timeout=CALL_LIMIT_S),
            )
            return reply.script

    async def _register(self, registration: PoolRegistration) -> tuple[SlotSettings, ...]:
        request = schemes_request(registration)
        async with channel(self._paths.peer("rewards")) as open_channel:
            stub = rewards_pb2_grpc.RewardsStub(open_channel)
            table = await self._persist(
                f"the reward schemes of {registration.pool}",
                lambda: stub.ApplySchemes(request, timeout=CALL_LIMIT_S),
            )
        return slots_of(table)

    async def _persist(self, what: str, call: Callable[[], Awaitable[ReplyT]]) -> ReplyT:
        """Ask again until there is an answer; say why it takes long; give up on a refusal."""
        loop = asyncio.get_running_loop()
        started, said = loop.time(), ""
        while True:
            try:
                reply = await call()
            except grpc.aio.AioRpcError as error:
                if error.code() in REFUSALS:
                    raise StartupFailed(error.details() or str(error.code())) from error
                reason = error.details() or str(error.code())
                # While a service is still starting its socket is absent, which
                # tells nobody anything.
                starting = "unix:" in reason or "failed to connect" in reason
                if loop.time() - started > PATIENCE_S and reason != said and not starting:
                    said = reason
                    self._view.say(f"waiting for {what}: {reason}")
                    self._directory.note_start(f"waiting for {what}: {reason}")
                await asyncio.sleep(RETRY_S if said else 0.1)
            else:
                if said:
                    self._view.say(f"{what}: there now")
                return reply

    def _runtime(self, edges: Sequence[StratumSettings]) -> Runtime:
        pools = []
        for pool in self._manifests.pools:
            mine = [edge for edge in edges if edge.pool == pool.pool_id]
            endpoint = self._manifests.endpoint(pool)
            params = chain_params(endpoint.spec.coin, endpoint.spec.network)
            pools.append(
                RuntimePool(
                    pool=pool.pool_id,
                    name=pool.metadata.name,
                    coin=params.key,
                    endpoint=endpoint.metadata.name,
                    symbol=params.symbol,
                    decimals=params.decimals,
                    regions=[
                        RuntimeRegion(edge.region, PeerSettings(address=edge.serve.address))
                        for edge in mine
                    ],
                    listeners=[
                        RuntimeListener(
                            port=listener.port,
                            scheme=listener.scheme or pool.spec.default_scheme_name,
                            tls=False,
                            host=listener.host,
                        )
                        for listener in pool.spec.listeners
                    ],
                )
            )
        charts = importlib.util.find_spec("chdb") is not None
        if not charts:
            self._view.say("no charts: install pithead with its `embedded` extra to have them")
        return Runtime(
            charts=self._paths.peer("analytics") if charts else None,
            pid=os.getpid(),
            pools=pools,
            shares=self._paths.peer("shares"),
            rewards=self._paths.peer("rewards"),
            ledger=self._paths.peer("ledger"),
            payouts=self._paths.peer("payouts"),
        )
