"""Many workers in one process: demo miners, and the miners of tests."""

import asyncio
from collections.abc import Sequence

from pithead.miner.endpoint import parse_url
from pithead.miner.record import Recorder, Tally, total
from pithead.miner.work import ALGORITHMS
from pithead.miner.worker import FAREWELL_LIMIT_S, Worker, WorkerSpec

STOP_LIMIT_S = FAREWELL_LIMIT_S + 1.0


class Fleet:
    """Workers of one pool, each with its own connection and strength."""

    def __init__(
        self,
        url: str,
        workers: Sequence[WorkerSpec],
        *,
        algorithm: str = "sha256d",
        recorder: Recorder | None = None,
    ) -> None:
        """`algorithm` is a key of `work.ALGORITHMS`; `BadUrl` for an address nobody can dial.

        `recorder` hears of each submitted share once, when it is answered or
        when its connection ends.
        """
        endpoint = parse_url(url)
        self.workers = [Worker(endpoint, spec, ALGORITHMS[algorithm], recorder) for spec in workers]

    @property
    def tally(self) -> Tally:
        """What all workers together have seen so far."""
        return total([worker.tally for worker in self.workers])

    async def run(self, stop: asyncio.Event) -> None:
        """Mine until `stop` is set; then return within STOP_LIMIT_S."""
        async with asyncio.TaskGroup() as tasks:
            mining = [
                tasks.create_task(worker.run(stop), name=f"worker-{worker.spec.login}")
                for worker in self.workers
            ]
            await stop.wait()
            if mining:
                # Only a worker that is just dialling takes so long.
                _, late = await asyncio.wait(mining, timeout=STOP_LIMIT_S)
                for task in late:
                    task.cancel()


async def run_fleet(
    url: str,
    workers: Sequence[WorkerSpec],
    stop: asyncio.Event,
    *,
    algorithm: str = "sha256d",
    recorder: Recorder | None = None,
) -> Tally:
    """Run a fleet until `stop` is set and return what it has seen; see `Fleet`."""
    fleet = Fleet(url, workers, algorithm=algorithm, recorder=recorder)
    await fleet.run(stop)
    return fleet.tally
