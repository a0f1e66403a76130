"""The edge's centre: what miners, nodes, the log and the clock do to one another."""

import asyncio
import json
from pathlib import Path

import pytest

from pithead.coins.hashing import pow_function
from pithead.coins.nodeset import Announced, Confirmed
from pithead.coins.template import TemplateTx
from pithead.coins.weight import bits_to_target
from pithead.config import LimitSettings
from pithead.log.errors import LogFull
from pithead.stratum import edge, fanout, hashpool
from pithead.stratum.admission import REFUSED_LOGINS_MAX
from pithead.stratum.bans import STRIKES_MAX
from pithead.stratum.edge import LOG_AWAY_MS, RECONNECT_AFTER_MS
from tests.unit.stratum.edge_bench import edge_bench, until
from tests.unit.stratum.support import (
    DEVCHAIN,
    EASY_BITS,
    HARD_BITS,
    LITECOIN,
    parent_of,
    template,
)

pytestmark = pytest.mark.gate

ALWAYS = (1 << 256) - 1


async def test_no_job_before_the_session_record_is_durable(tmp_path: Path) -> None:
    async with edge_bench(tmp_path) as bench:
        bench.edge.node_event(template())
        bench.log.gate.clear()
        one = bench.connect()
        one.ask("mining.subscribe", ["a"])
        request = one.ask("mining.authorize", [one.user, "x"])
        await until(lambda: len(bench.log.attempts) == 2)
        assert one.port.jobs() == []
        assert request not in one.port.answers()
        bench.log.gate.set()
        assert (await one.answer(request))["result"] is True
        assert len(one.port.jobs()) == 1
        assert bench.log.batches[1].sessions[0].extranonce1 == one.miner.session.extranonce1


async def test_who_logs_in_before_the_first_template_gets_it_when_it_comes(
    tmp_path: Path,
) -> None:
    async with edge_bench(tmp_path) as bench:
        one = await bench.miner()
        assert one.port.jobs() == []
        bench.edge.node_event(template())
        assert [job.clean for job in one.port.jobs()] == [True]


async def test_a_share_on_an_old_serial_counts_what_that_serial_was_sent_at(
    tmp_path: Path,
) -> None:
    async with edge_bench(tmp_path, start_weight=4) as bench:
        bench.edge.node_event(template())
        one = await bench.miner()
        old = one.port.jobs()[-1]
        one.miner.session.vardiff.weight = 64
        bench.edge.fan_out.offer(one.miner)
        new = one.port.jobs()[-1]
        assert old.job_id != new.job_id
        assert old.parent == new.parent
        # Good enough for the old target, not for the new one.
        easy = one.share(old, below=one.target(old), above=one.target(new))
        assert (await one.answer(one.submit(easy)))["result"] is True
        hard = one.share(new, below=one.target(old), above=one.target(new))
        assert (await one.answer(one.submit(hard)))["error"][0] == 23
        good = one.share(new, below=one.target(new))
        assert (await one.answer(one.submit(good)))["result"] is True
        weights = [w for batch in bench.log.batches for w in batch.weight]
        assert weights == [4, 64]


async def test_vardiff_moves_a_live_connection_to_a_fresh_serial(tmp_path: Path) -> None:
    async with edge_bench(tmp_path) as bench:
        bench.edge.node_event(template())
        one = await bench.miner()
        job = one.port.jobs()[-1]
        for extra in range(8):
            bench.clock.ms += 10
            number = one.submit(one.share(job, extra, below=ALWAYS))
            assert (await one.answer(number))["result"] is True
        assert len(one.port.jobs()) == 2
        assert one.miner.session.shown_weight > 8
        assert not one.port.jobs()[-1].clean


async def test_one_solve_of_two_equal_submits_in_flight_is_credited_once(tmp_path: Path) -> None:
    """scrypt is hashed on other threads, where both are judged at the same time."""
    async with edge_bench(tmp_path, LITECOIN) as bench:
        bench.edge.node_event(template(bits=0x1E00FFFF))
        one = await bench.miner()
        share = one.share(one.port.jobs()[-1], below=ALWAYS)
        numbers = [one.submit(share) for _ in range(100)]
        answers = [await one.answer(number) for number in numbers]
        assert sum(answer["result"] is True for answer in answers) == 1
        assert {a["error"][0] for a in answers if a["result"] is None} == {22}
        await bench.edge.hashed()
        assert sum(len(batch.weight) for batch in bench.log.batches) == 1


async def test_a_late_solve_is_submitted_though_its_share_is_stale(tmp_path: Path) -> None:
    async with edge_bench(tmp_path, start_weight=2) as bench:
        bench.edge.node_event(template(101, bits=EASY_BITS))
        one = await bench.miner()
        old = one.port.jobs()[-1]
        solve = one.share(old, below=bits_to_target(EASY_BITS))
        bench.edge.node_event(template(102, bits=EASY_BITS))
        assert (await one.answer(one.submit(solve)))["error"][0] == 21
        await until(lambda: bench.submitted and bench.block_log.payloads)
        assert (await one.answer(one.submit(solve)))["error"][0] == 21
        await bench.edge.blocks.drain()
        assert len(bench.submitted) == len(bench.block_log.payloads) == 1


async def test_solves_are_submitted_while_the_log_is_full(tmp_path: Path) -> None:
    async with edge_bench(tmp_path, start_weight=2) as bench:
        bench.edge.node_event(template(bits=EASY_BITS))
        one = await bench.miner()
        job = one.port.jobs()[-1]
        bench.log.failures = [LogFull("x", "no space")] * 3
        first = one.submit(one.share(job, 0, below=one.target(job)))
        assert (await one.answer(first))["error"][0] == 20
        second = one.submit(one.share(job, 1, below=one.target(job)))
        assert (await one.answer(second))["error"][0] == 20
        await until(lambda: len(bench.submitted) == 2)
        await until(lambda: bench.batcher.trouble is None)
        # What was refused at once is in no batch, and may be sent again.
        again = one.submit(one.share(job, 1, below=one.target(job)))
        assert (await one.answer(again))["result"] is True


async def test_a_log_that_fails_for_long_sends_each_miner_elsewhere_once(tmp_path: Path) -> None:
    async with edge_bench(tmp_path) as bench:
        one = await bench.miner()
        bench.batcher.trouble = "no space"
        for _ in range(3):
            bench.edge.sweep(1)
        bench.clock.ms += RECONNECT_AFTER_MS - 1
        newcomer = bench.connect(2)
        bench.edge.sweep(1)
        assert one.port.methods() == []
        bench.clock.ms += 1
        for _ in range(3):
            bench.edge.sweep(1)
        assert one.port.methods() == ["client.reconnect"]
        assert newcomer.port.methods() == [], "it would come back and be sent away for ever"
        bench.clock.ms += 10 * RECONNECT_AFTER_MS
        bench.edge.sweep(1)
        assert one.port.methods() == ["client.reconnect"]
        bench.batcher.trouble = None
        bench.edge.sweep(1)
        bench.batcher.trouble = "no space again"
        bench.edge.sweep(1)
        bench.clock.ms += RECONNECT_AFTER_MS
        bench.edge.sweep(1)
        assert one.port.methods() == ["client.reconnect"] * 2, "another outage"
        bench.batcher.trouble = None


async def test_a_hiccup_of_the_log_does_not_send_new_miners_elsewhere(tmp_path: Path) -> None:
    async with edge_bench(tmp_path) as bench:
        assert not bench.edge.log_is_away()
        bench.batcher.trouble = "a broker fails over"
        bench.edge.sweep(1)
        bench.clock.ms += LOG_AWAY_MS - 1
        assert not bench.edge.log_is_away()
        bench.clock.ms += 1
        assert bench.edge.log_is_away()
        assert bench.edge.log_away_ms() == LOG_AWAY_MS
        bench.batcher.trouble = None
        assert not bench.edge.log_is_away()


async def test_new_work_reaches_every_connection_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fanout, "CHUNK", 3)
    async with edge_bench(tmp_path) as bench:
        miners = [await bench.miner(number) for number in range(1, 9)]
        bench.edge.node_event(template(101))
        # The next block comes while the first round is under way.
        bench.edge.node_event(template(102))
        for _ in range(6):
            await asyncio.sleep(0)
        for one in miners:
            jobs = one.port.jobs()
            assert jobs[-1].parent == parent_of(101)
            assert jobs[-1].clean
            assert len({job.job_id for job in jobs}) == len(jobs)
        raw = {bytes(one.port.heard).splitlines()[-1] for one in miners}
        assert len(raw) == 1, "all connections share the bytes of a serial"


async def test_fresh_work_is_judged_by_what_nodes_say(tmp_path: Path) -> None:
    async with edge_bench(tmp_path) as bench:
        bench.edge.node_event(template())
        one = await bench.miner()
        job = one.port.jobs()[-1]
        bench.edge.node_event(Announced(bench.clock.ms, "b", b"\x07" * 32, 101))
        bench.clock.ms += 5_000
        good = one.submit(one.share(job, 1, below=ALWAYS))
        assert (await one.answer(good))["result"] is True
        bench.clock.ms += 1
        late = one.submit(one.share(job, 2, below=ALWAYS))
        assert (await one.answer(late))["error"][0] == 21
        bench.edge.node_event(Confirmed(bench.clock.ms, "b", parent_of(100)))
        fine = one.submit(one.share(job, 3, below=ALWAYS))
        assert (await one.answer(fine))["result"] is True


async def test_silence_without_work_does_not_lower_the_difficulty(tmp_path: Path) -> None:
    async with edge_bench(tmp_path, start_weight=4096) as bench:
        bench.edge.node_event(template())
        one = await bench.miner()
        bench.clock.ms += 61_000  # No node confirms: nothing can be credited.
        bench.edge.sweep(1)
        assert one.miner.session.vardiff.weight == 4096
        bench.edge.node_event(Confirmed(bench.clock.ms, "n", parent_of(100)))
        bench.clock.ms += 60_000
        bench.edge.node_event(Confirmed(bench.clock.ms, "n", parent_of(100)))
        bench.edge.sweep(1)
        assert one.miner.session.vardiff.weight == 1024
        assert len(one.port.jobs()) == 2


async def test_a_miner_of_mostly_invalid_shares_is_closed_and_only_then_its_address_banned(
    tmp_path: Path,
) -> None:
    limits = LimitSettings(invalid_window=4)
    async with edge_bench(tmp_path, limits=limits) as bench:
        bench.edge.node_event(template())
        listener = bench.edge.settings.listeners[0]

        async def misbehave() -> None:
            one = await bench.miner()
            for _ in range(4):
                one.ask("mining.submit", ["x"])
            assert one.port.closed
            bench.edge.disconnected(one.miner)

        honest = await bench.miner(2)
        job = honest.port.jobs()[-1]
        await honest.answer(honest.submit(honest.share(job, below=ALWAYS)))
        for _ in range(STRIKES_MAX):
            await misbehave()
        assert not honest.port.closed
        assert bench.edge.connected(honest.port, "10.0.0.1", listener) is not None
        bench.edge.disconnected(honest.miner)
        await misbehave()
        assert bench.edge.connected(honest.port, "10.0.0.1", listener) is None
        assert bench.edge.connected(honest.port, "10.0.0.2", listener) is not None


async def test_stale_shares_never_close_a_connection(tmp_path: Path) -> None:
    async with edge_bench(tmp_path, limits=LimitSettings(invalid_window=4)) as bench:
        bench.edge.node_event(template())
        one = await bench.miner()
        job = one.port.jobs()[-1]
        share = one.share(job, below=ALWAYS)
        for _ in range(20):
            one.submit([share[0], "fff", *share[2:]])
        assert not one.port.closed


async def test_silent_connections_are_closed_by_their_deadline(tmp_path: Path) -> None:
    async with edge_bench(tmp_path) as bench:
        fresh, quiet = bench.connect(), await bench.miner()
        bench.clock.ms += 14_999
        bench.edge.sweep(1)
        assert not fresh.port.closed
        bench.clock.ms += 1
        bench.edge.sweep(1)
        assert fresh.port.closed
        assert not quiet.port.closed
        bench.clock.ms += 900_000
        bench.edge.sweep(1)
        assert quiet.port.closed


async def test_each_connection_is_looked_at_once_in_a_round(tmp_path: Path) -> None:
    async with edge_bench(tmp_path) as bench:
        miners = [bench.connect() for _ in range(25)]
        bench.clock.ms += 15_000
        for _ in range(10):
            bench.edge.sweep(10)
        assert all(one.port.closed for one in miners)


async def test_wishes_count_at_login_and_before_the_first_share(tmp_path: Path) -> None:
    async with edge_bench(tmp_path) as bench:
        bench.edge.node_event(template(bits=HARD_BITS))
        one = bench.connect()
        one.ask("mining.configure", [["minimum-difficulty"], {"minimum-difficulty.value": 2**-26}])
        one.ask("mining.subscribe", [])
        await one.answer(one.ask("mining.authorize", [one.user, f"d={2**-24}"]))
        assert one.miner.session.shown_weight == pytest.approx(256, rel=0.01)
        one.ask("mining.suggest_difficulty", [2**-22])
        assert one.miner.session.shown_weight == pytest.approx(1024, rel=0.01)
        one.ask("mining.suggest_target", ["ff" * 32])
        assert one.miner.session.shown_weight == pytest.approx(64, rel=0.05), "the own minimum"
        assert len({job.job_id for job in one.port.jobs()}) == 3


async def test_transactions_of_a_known_job_are_shown(tmp_path: Path) -> None:
    async with edge_bench(tmp_path) as bench:
        data = bytes(range(64))
        bench.edge.node_event(template(transactions=(TemplateTx(data, bytes(32)),)))
        one = await bench.miner()
        job = one.port.jobs()[-1]
        shown = await one.answer(one.ask("mining.get_transactions", [job.job_id]))
        assert shown["result"] == [data.hex()]
        unknown = await one.answer(one.ask("mining.get_transactions", ["fff"]))
        assert unknown["error"][0] == 21
        again = await one.answer(one.ask("mining.get_transactions", [job.job_id]))
        assert again["error"][0] == 20, "a short question has its long answer once"


@pytest.mark.parametrize(
    "order",
    [
        ["mining.subscribe", "mining.authorize", "mining.configure", "mining.suggest_difficulty"],
        ["mining.suggest_difficulty", "mining.configure", "mining.authorize", "mining.subscribe"],
        ["mining.authorize", "mining.extranonce.subscribe", "mining.subscribe", "mining.configure"],
    ],
    ids=["usual", "login before subscribe", "configure last"],
)
@pytest.mark.parametrize("in_one_packet", [True, False])
async def test_greetings_in_any_order_lead_to_work_and_a_credited_share(
    tmp_path: Path, order: list[str], in_one_packet: bool
) -> None:
    async with edge_bench(tmp_path) as bench:
        bench.edge.node_event(template())
        one = bench.connect()
        params: dict[str, object] = {
            "mining.subscribe": ["cgminer/4.12.1", None],
            "mining.authorize": [one.user, "x,d=1e-9,md=1e-9"],
            "mining.configure": [["version-rolling"], {"version-rolling.mask": "FFFFFFFF"}],
            "mining.suggest_difficulty": [1e-9],
            "mining.extranonce.subscribe": None,
        }
        lines = [
            json.dumps({"id": f"id-{method}", "method": method, "params": params[method]})
            for method in order
        ]
        packets = ["\r\n".join(lines)] if in_one_packet else lines
        for packet in packets:
            one.send(packet.encode() + b"\r\n")
            await asyncio.sleep(0.01)
        await until(one.port.jobs)
        answers = one.port.answers()
        assert all(answers[f"id-{method}"]["error"] is None for method in order)
        sent = one.port.methods()
        assert sent[:2] == ["mining.set_difficulty", "mining.notify"]
        job = one.port.jobs()[-1]
        share = one.share(job, below=one.target(job))
        assert (await one.answer(one.submit(share)))["result"] is True
        batch = next(batch for batch in bench.log.batches if batch.weight)
        assert bench.log.batches.index(batch) > 0
        (sample,) = batch.samples
        assert pow_function(DEVCHAIN)(sample.header) <= one.target(job)
        assert sample.header[4:36] == batch.segments[0].parent
        sessions = [session for batch in bench.log.batches for session in batch.sessions]
        assert [session.extranonce1 for session in sessions] == [one.miner.session.extranonce1]


async def test_a_login_spelt_differently_in_a_submit_is_the_same_login(tmp_path: Path) -> None:
    async with edge_bench(tmp_path) as bench:
        bench.edge.node_event(template())
        one = await bench.miner()
        account = one.user.partition(".")[0]
        job = one.port.jobs()[-1]
        for extra, user in enumerate((f" {one.user} ", f"{account.upper()}.w")):
            share = one.share(job, extra, below=ALWAYS)
            assert (await one.answer(one.submit([user, *share[1:]])))["result"] is True
        share = one.share(job, 5, below=ALWAYS)
        other = one.submit([f"{account}.other", *share[1:]])
        assert (await one.answer(other))["error"][0] == 24
        nobody = one.submit(["nobody", *share[1:]])
        assert (await one.answer(nobody))["error"][0] == 24
        workers = {batch.worker[index] for batch in bench.log.batches for index in batch.login}
        assert workers == {"w"}


async def test_who_only_guesses_logins_is_cut_off(tmp_path: Path) -> None:
    async with edge_bench(tmp_path) as bench:
        one = bench.connect()
        one.ask("mining.subscribe", ["a"])
        for number in range(REFUSED_LOGINS_MAX - 1):
            one.ask("mining.authorize", [f"nobody{number}", "x"])
        assert not one.port.closed
        one.ask("mining.authorize", ["nobody", "x"])
        assert one.port.closed


async def test_shares_of_one_flooder_do_not_fill_the_queue_of_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(edge, "HASHING_MAX", 8)
    monkeypatch.setattr(hashpool, "WAITING_MAX", 64)
    async with edge_bench(tmp_path, LITECOIN) as bench:
        bench.edge.node_event(template(bits=HARD_BITS))
        flooder, honest = await bench.miner(1), await bench.miner(2, peer="10.0.0.2")
        share = honest.share(honest.port.jobs()[-1], below=honest.target(honest.port.jobs()[-1]))
        job = flooder.port.jobs()[-1]
        numbers = [
            flooder.submit([flooder.user, job.job_id, f"{n:016x}", f"{job.ntime:08x}", "00000000"])
            for n in range(100)
        ]
        assert (await honest.answer(honest.submit(share)))["result"] is True
        answers = [await flooder.answer(number) for number in numbers]
        overloaded = [a for a in answers if a["error"] and "overloaded" in a["error"][1]]
        assert len(overloaded) == 92
        again = flooder.share(job, 1000, below=flooder.target(job))
        assert (await flooder.answer(flooder.submit(again)))["result"] is True


async def test_workers_of_one_connection_are_credited_apart_and_bounded(tmp_path: Path) -> None:
    async with edge_bench(tmp_path) as bench:
        bench.edge.node_event(template())
        one = await bench.miner()
        account = one.user.partition(".")[0]
        requests = [one.ask("mining.authorize", [f"{account}.{n}", ""]) for n in range(16)]
        answers = [await one.answer(number) for number in requests]
        assert [answer["error"] is None for answer in answers] == [True] * 15 + [False]
        assert answers[-1]["error"][0] == 24
        job = one.port.jobs()[-1]
        share = one.share(job, below=ALWAYS)
        number = one.submit([f"{account}.3", *share[1:]])
        assert (await one.answer(number))["result"] is True
        batch = next(batch for batch in bench.log.batches if batch.weight)
        assert batch.worker[batch.login[0]] == "3"


async def test_a_draining_edge_takes_no_connection_and_still_credits(tmp_path: Path) -> None:
    async with edge_bench(tmp_path) as bench:
        bench.edge.node_event(template())
        one = await bench.miner()
        bench.edge.refuse_newcomers()
        bench.edge.reconnect([one.miner], "drain")
        assert one.port.methods()[-1] == "client.reconnect"
        listener = bench.edge.settings.listeners[0]
        assert bench.edge.connected(one.port, "10.0.0.1", listener) is None
        number = one.submit(one.share(one.port.jobs()[-1], below=ALWAYS))
        assert (await one.answer(number))["result"] is True


async def test_a_miner_that_left_before_its_login_was_durable_gets_nothing(
    tmp_path: Path,
) -> None:
    async with edge_bench(tmp_path) as bench:
        bench.edge.node_event(template())
        bench.log.gate.clear()
        one = bench.connect()
        one.ask("mining.subscribe", [])
        one.ask("mining.authorize", [one.user, ""])
        await until(lambda: len(bench.log.attempts) == 2)
        bench.edge.disconnected(one.miner)
        bench.log.gate.set()
        await until(lambda: len(bench.log.payloads) == 2)
        await asyncio.sleep(0.01)
        assert not bench.edge.fan_out.authorized
