"""The share checker's centre: events of all miners in, answers, batches and blocks out.

Single-threaded and without waiting: each call comes from the transport, the node
watch, the batcher or the clock, and ends with bytes written or work handed on.
Sockets, node connections and tasks are others'.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any

from pithead.coins.hashing import pow_function
from pithead.coins.nodeset import Announced, Confirmed
from pithead.coins.params import ChainParams
from pithead.coins.template import Template
from pithead.config import ListenerSettings, StratumSettings
from pithead.contracts.share_log_pb2 import RejectReason
from pithead.stratum import encoding, metrics
from pithead.stratum.admission import Admission
from pithead.stratum.bans import Bans
from pithead.stratum.batcher import Batcher
from pithead.stratum.blocks import BlockKeeper
from pithead.stratum.errors import Code
from pithead.stratum.fanout import FanOut
from pithead.stratum.hashpool import HashPool
from pithead.stratum.jobs import JobBook
from pithead.stratum.login import Login
from pithead.stratum.messages import (
    AuthorizeAsked,
    CloseAsked,
    DifficultySuggested,
    MinimumDifficultyAsked,
    SubmitAsked,
    SubmitMalformed,
    Subscribed,
    TargetSuggested,
    TransactionsAsked,
)
from pithead.stratum.miner import Miner, Port
from pithead.stratum.protocol import ProtocolLimits, ServerProtocol
from pithead.stratum.session import Extranonce1Counter, Session
from pithead.stratum.transactions import show_transactions
from pithead.stratum.validation import (
    BAD_SUBMIT,
    UNAUTHORIZED,
    UNKNOWN_JOB,
    Candidate,
    Rejected,
    conclude,
    is_block,
    prepare,
)
from pithead.stratum.vardiff import Vardiff, VardiffPolicy

RECONNECT_AFTER_MS = 30_000
"""How long the log may fail before miners are asked to go elsewhere, once in an outage."""
LOG_AWAY_MS = 5_000
"""How long it may fail before no new miners are wanted: a broker that fails over needs less."""
HASHING_MAX = 256
"""Shares of one connection that may wait for a thread, lest one floods the queue of all."""

OVERLOADED = encoding.Refusal(Code.OTHER, "overloaded: this share is not credited")

Ticket = tuple[Miner, Login, bytes]
Handler = Callable[[Miner, Any, int], None]

logger = logging.getLogger(__name__)


class Edge:
    """All miners of one process."""

    def __init__(
        self,
        settings: StratumSettings,
        params: ChainParams,
        book: JobBook,
        batcher: Batcher,
        blocks: BlockKeeper,
        clock_ms: Callable[[], int],
    ) -> None:
        """`clock_ms` is monotonic and measures intervals only."""
        self.settings = settings
        self.params = params
        self.book = book
        self.batcher = batcher
        self.blocks = blocks
        self.clock_ms = clock_ms
        self.miners: dict[Miner, None] = {}
        self.fan_out = FanOut(book)
        self.admission = Admission(params, batcher, self.fan_out, clock_ms)
        self.rejected = dict.fromkeys(metrics.REASONS, 0)
        self.empty = asyncio.Event()
        """Set while there is no connection."""
        self.empty.set()
        self.refusing = False
        """Whether newcomers are refused, as this edge is about to end."""
        self._bans = Bans(settings.limits)
        self._limits = ProtocolLimits(
            line_bytes_max=settings.limits.line_bytes_max,
            garbage_lines_max=settings.limits.garbage_lines_max,
            subscribe_timeout_ms=settings.limits.subscribe_timeout_ms,
            idle_timeout_ms=settings.limits.idle_timeout_ms,
        )
        self._extranonce1 = Extranonce1Counter()
        self._pow = pow_function(params)
        self._pool: HashPool[Ticket] | None = None
        if params.pow == "scrypt":
            self._pool = HashPool(self._pow, self._pool_hashed)
        self._policies = {
            listener.name: VardiffPolicy(
                share_interval_ms=settings.vardiff.share_interval_ms,
                retarget_interval_ms=settings.vardiff.retarget_interval_ms,
                variance_percent=settings.vardiff.variance_percent,
                weight_min=listener.min_weight,
                weight_max=listener.max_weight,
            )
            for listener in settings.listeners
        }
        self._handlers: dict[type, Handler] = {
            SubmitMalformed: self._malformed,
            Subscribed: self._subscribed,
            CloseAsked: self._close_asked,
            TransactionsAsked: show_transactions,
            AuthorizeAsked: self.admission.authorize,
            DifficultySuggested: self.admission.difficulty_suggested,
            TargetSuggested: self.admission.target_suggested,
            MinimumDifficultyAsked: self.admission.minimum_asked,
        }
        self._swept: list[Miner] = []
        self._sweep_size = 1
        self._log_failed_ms: int | None = None
        self._rejected_counted = dict(self.rejected)

    # Connections.

    def connected(self, port: Port, address: str, listener: ListenerSettings) -> Miner | None:
        """Take in a connection; None when it is refused, for the caller to close."""
        now_ms = self.clock_ms()
        if self.refusing or len(self.miners) >= self.settings.limits.connections_max:
            metrics.CLOSED.labels("full").inc()
            return None
        if self._bans.banned(address, now_ms):
            metrics.CLOSED.labels("banned").inc()
            return None
        extranonce1 = self._extranonce1.take(listener.slot)
        vardiff = Vardiff(self._policies[listener.name], listener.start_weight, now_ms)
        miner = Miner(
            port,
            address,
            listener,
            ServerProtocol(self._limits, extranonce1),
            Session(self.params, listener.slot, extranonce1, vardiff),
            now_ms,
            self.admission.login_durable,
        )
        self.miners[miner] = None
        self.empty.clear()
        metrics.CONNECTIONS.set(len(self.miners))
        return miner

    def disconnected(self, miner: Miner) -> None:
        """Forget a connection that is gone, whoever ended it."""
        miner.gone = True
        self.miners.pop(miner, None)
        self.fan_out.authorized.pop(miner, None)
        if not self.miners:
            self.empty.set()
        metrics.CONNECTIONS.set(len(self.miners))

    def received(self, miner: Miner, data: bytes) -> None:
        """Take bytes of a miner."""
        now_ms = self.clock_ms()
        miner.heard_ms = now_ms
        protocol = miner.protocol
        events = protocol.receive(data)
        miner.write(protocol.take_output())
        for event in events:
            if miner.gone:
                return
            if type(event) is SubmitAsked:
                self._submit(miner, event, now_ms)
            else:
                self._handlers[type(event)](miner, event, now_ms)

    def _close(self, miner: Miner, reason: str) -> None:
        metrics.CLOSED.labels(reason).inc()
        miner.close()

    # Shares.

    def _submit(self, miner: Miner, submit: SubmitAsked, now_ms: int) -> None:
        session = miner.session
        login = session.logins.get(submit.user)
        if login is None:
            login = self.admission.respelt(session, submit.user)
        if login is None:
            self._reject(miner, session.first_login, submit.id, UNAUTHORIZED, now_ms)
            return
        sent = session.sent.get(submit.job)
        if sent is None:
            self._reject(miner, login, submit.id, UNKNOWN_JOB, now_ms)
            return
        outcome = prepare(
            self.book,
            sent,
            session.extranonce1,
            miner.protocol.version_mask,
            submit,
            now_ms,
        )
        if type(outcome) is Rejected:
            self._reject(miner, login, submit.id, outcome, now_ms)
            return
        assert type(outcome) is Candidate
        if self._pool is None:
            self._hashed((miner, login, submit.id), outcome, self._pow(outcome.header))
        elif self._pool.full() or miner.hashing >= HASHING_MAX:
            miner.write(encoding.refused(submit.id, OVERLOADED))
        else:
            miner.hashing += 1
            self._pool.submit((miner, login, submit.id), outcome)

    def _pool_hashed(self, ticket: Ticket, candidate: Candidate, pow_value: int) -> None:
        ticket[0].hashing -= 1
        self._hashed(ticket, candidate, pow_value)

    def _hashed(self, ticket: Ticket, candidate: Candidate, pow_value: int) -> None:
        """Decide on a share whose hash is known."""
        miner, login, request_id = ticket
        now_ms = self.clock_ms()
        rejected = conclude(self.book, candidate, pow_value, now_ms)
        solved = is_block(candidate, pow_value)
        if solved:
            late = candidate.sent.variant.entry.stale is not None
            self.blocks.found(candidate, login, late=late)
        if rejected is not None:
            self._reject(miner, login, request_id, rejected, now_ms)
            return
        if not self.batcher.accepting:
            metrics.UNCREDITED.inc()
            miner.write(encoding.refused(request_id, self.batcher.refusal))
            return
        sent = candidate.sent
        variant = sent.variant
        self.book.accept(variant, candidate.key)
        self.batcher.share(
            login,
            variant.entry.segment,
            sent.weight,
            variant.job.serial,
            miner,
            request_id,
            header=candidate.header,
            pow_value=pow_value,
            solved=solved,
        )
        miner.conduct.valid()
        if miner.session.vardiff.share(sent.weight, now_ms):
            self.fan_out.offer(miner)
        if self.book.crowded():
            entry = self.book.make_room(now_ms)
            if entry is not None:
                self.fan_out.send(entry)

    def _reject(
        self,
        miner: Miner,
        login: Login | None,
        request_id: bytes,
        rejected: Rejected,
        now_ms: int,
    ) -> None:
        miner.write(encoding.error(request_id, rejected.code, rejected.text))
        self._count_reject(miner, login, rejected, now_ms)

    def _count_reject(
        self, miner: Miner, login: Login | None, rejected: Rejected, now_ms: int
    ) -> None:
        reason = rejected.reason
        self.rejected[reason] += 1
        if login is not None:
            self.batcher.reject(login, reason)
        if reason == RejectReason.REJECT_STALE:
            if rejected.text in metrics.FRESH_WORK_CAUSES:
                metrics.FRESH_WORK_REFUSED.labels(metrics.FRESH_WORK_CAUSES[rejected.text]).inc()
            return
        if miner.conduct.invalid(self.settings.limits) and not miner.gone:
            self._misconduct(miner, now_ms)

    def _misconduct(self, miner: Miner, now_ms: int) -> None:
        others_good = any(
            other.conduct.good
            for other in self.fan_out.authorized
            if other is not miner and other.address == miner.address
        )
        banned = self._bans.strike(miner.address, now_ms, others_good=others_good)
        logger.info(
            "closing %s of %s: too many invalid shares%s",
            miner.session.extranonce1.hex(),
            miner.address,
            "; its address is banned" if banned else "",
        )
        self._close(miner, "invalid-shares")

    # Other requests.

    def _malformed(self, miner: Miner, _event: SubmitMalformed, now_ms: int) -> None:
        self._count_reject(miner, miner.session.first_login, BAD_SUBMIT, now_ms)

    def _subscribed(self, miner: Miner, event: Subscribed, _now_ms: int) -> None:
        miner.agent = event.agent
        self.admission.admit(miner)

    def _close_asked(self, miner: Miner, event: CloseAsked, _now_ms: int) -> None:
        logger.debug("closing %s: %s", miner.address, event.reason)
        self._close(miner, "protocol")

    # Work.

    def node_event(self, event: Template | Confirmed | Announced) -> None:
        """Take in what the nodes tell."""
        if isinstance(event, Template):
            self._template(event)
        elif isinstance(event, Confirmed):
            self.book.confirm(event.node, event.parent, event.now_ms)
        else:
            self.book.announce(event.node, event.now_ms)

    def _template(self, template: Template) -> None:
        """Make work of a node's template and bring it to all miners."""
        before = self.book.current
        entry = self.book.add(template, self.clock_ms())
        if before is None or before.segment.parent != entry.segment.parent:
            logger.info("new work at height %d", template.height)
        self.fan_out.send(entry)

    # Time.

    def sweep(self, parts: int) -> None:
        """Look after one of `parts` of the connections: silence, idle difficulty, a failing log."""
        now_ms = self.clock_ms()
        self._look_at_log(now_ms)
        if not self._swept:
            self._swept = list(self.miners)
            self._sweep_size = len(self._swept) // parts + 1
            self._count_rejected()
        due, self._swept = self._swept[: self._sweep_size], self._swept[self._sweep_size :]
        self._send_away_when_log_fails([miner for miner in due if not miner.gone], now_ms)
        mining = self.book.fresh(now_ms) and self.batcher.accepting
        for miner in due:
            if miner.gone:
                continue
            if now_ms >= miner.protocol.deadline_ms(miner.connected_ms, miner.heard_ms):
                self._close(miner, "silent")
            elif miner in self.fan_out.authorized:
                if not mining:
                    # Nobody can be credited now: this silence says nothing of the miner.
                    miner.session.vardiff.restart(now_ms)
                elif miner.session.vardiff.tick(now_ms):
                    self.fan_out.offer(miner)

    def log_away_ms(self) -> int:
        """Return how long the log has not confirmed or been full, 0 while it takes shares."""
        if not self.batcher.refusing or self._log_failed_ms is None:
            return 0
        return self.clock_ms() - self._log_failed_ms

    def log_is_away(self) -> bool:
        """Tell whether the log has failed for so long that new miners are better off elsewhere."""
        return self.log_away_ms() >= LOG_AWAY_MS

    def _look_at_log(self, now_ms: int) -> None:
        if not self.batcher.refusing:
            self._log_failed_ms = None
        elif self._log_failed_ms is None:
            self._log_failed_ms = now_ms
        metrics.LOG_AWAY_SECONDS.set(self.log_away_ms() / 1000)

    def _send_away_when_log_fails(self, miners: list[Miner], now_ms: int) -> None:
        """Ask each miner once in an outage; who came back to us is given as long as the others.

        The rounds of the sweep spread this over a second.
        """
        since_ms = self._log_failed_ms
        if since_ms is None or now_ms - since_ms < RECONNECT_AFTER_MS:
            return
        long_here_ms = now_ms - RECONNECT_AFTER_MS
        self.reconnect(
            [
                miner
                for miner in miners
                if miner.asked_ms < since_ms and miner.connected_ms <= long_here_ms
            ],
            "log-away",
        )

    def _count_rejected(self) -> None:
        """Bring the metric up to date: once a second, not once a share."""
        for reason, count in self.rejected.items():
            new = count - self._rejected_counted[reason]
            if new:
                metrics.REJECTED.labels(metrics.REASONS[reason]).inc(new)
                self._rejected_counted[reason] = count

    def shown_weights(self) -> dict[Login, int]:
        """Return the weight of the newest job of each login's newest connection, 0 for none."""
        return {
            login: miner.session.shown_weight
            for miner in self.fan_out.authorized
            for login in miner.session.logins.values()
        }

    # The end.

    def reconnect(self, miners: Sequence[Miner], cause: str) -> None:
        """Ask miners to connect again; `cause` is the metric's."""
        now_ms = self.clock_ms()
        asked = 0
        for miner in miners:
            if not miner.gone:
                miner.asked_ms = now_ms
                miner.write(encoding.RECONNECT)
                asked += 1
        metrics.RECONNECTS.labels(cause).inc(asked)

    def refuse_newcomers(self) -> None:
        """Take in no more connections; those that exist go on being credited."""
        self.refusing = True

    async def hashed(self) -> None:
        """Wait until no share is being hashed."""
        if self._pool is not None:
            await self._pool.drain()

    def close_all(self) -> None:
        """Close every connection after its last answer."""
        for miner in list(self.miners):
            if not miner.asked_ms:
                metrics.CALM_MOVES_BROKEN.inc()
            self._close(miner, "drained")
        self._count_rejected()
        if self._pool is not None:
            self._pool.close()
