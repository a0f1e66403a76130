"""Logins and the miners' wishes about difficulty."""

from collections.abc import Callable
from decimal import Decimal
from weakref import WeakValueDictionary

from pithead.coins.params import ChainParams
from pithead.coins.weight import WeightError, weight_of_difficulty, weight_of_target
from pithead.stratum import encoding, metrics
from pithead.stratum.batcher import Batcher
from pithead.stratum.errors import Code, LoginError
from pithead.stratum.fanout import FanOut
from pithead.stratum.login import Login, parse_login, parse_password
from pithead.stratum.messages import (
    AuthorizeAsked,
    DifficultySuggested,
    MinimumDifficultyAsked,
    TargetSuggested,
)
from pithead.stratum.miner import Miner
from pithead.stratum.session import Session
from pithead.stratum.states import State

REFUSED_LOGINS_MAX = 32
"""Checking an address costs far more than sending one: who only guesses is cut off."""


class Admission:
    """Decides who may mine, and makes it durable before the first job."""

    def __init__(
        self,
        params: ChainParams,
        batcher: Batcher,
        fan_out: FanOut,
        clock_ms: Callable[[], int],
    ) -> None:
        self.logins: WeakValueDictionary[tuple[str, str, int], Login] = WeakValueDictionary()
        """All logins in use, by account, worker and slot."""
        self._params = params
        self._batcher = batcher
        self._fan_out = fan_out
        self._clock_ms = clock_ms

    def authorize(self, miner: Miner, event: AuthorizeAsked, _now_ms: int) -> None:
        """Check a login and hand its session record to the log; the answer waits for it."""
        session = miner.session
        if event.user in session.logins:
            miner.write(encoding.answer_true(event.id))
            return
        if not session.may_add_login():
            self._refuse(miner, event.id, "too many logins on one connection: open another one")
            return
        try:
            account, worker = parse_login(self._params, event.user)
        except LoginError as error:
            self._refuse(miner, event.id, str(error))
            return
        self._apply_wishes(miner, event.password)
        login = self._login(account, worker, session.slot)
        if self._batcher.session(
            login, event.user, session.extranonce1, miner.agent, miner, event.id
        ):
            session.pending += 1
        else:
            miner.write(encoding.refused(event.id, self._batcher.refusal))

    def login_durable(
        self, miner: Miner, user: str, login: Login, request_id: bytes, durable: bool
    ) -> None:
        """Answer a login whose session record is in the log, or is not."""
        session = miner.session
        session.pending -= 1
        if not durable:
            miner.write(encoding.refused(request_id, self._batcher.refusal))
            return
        session.add_login(user, login)
        if miner.gone:
            return
        miner.write(encoding.answer_true(request_id))
        miner.protocol.authorized()
        self.admit(miner)

    def admit(self, miner: Miner) -> None:
        """Begin to send work, once the miner has subscribed and logged in, in either order."""
        if miner.protocol.state is State.AUTHORIZED and miner not in self._fan_out.authorized:
            self._fan_out.authorized[miner] = None
            miner.session.vardiff.restart(self._clock_ms())
            self._fan_out.offer(miner)

    def respelt(self, session: Session, user: str) -> Login | None:
        """Return the connection's login that `user` is another spelling of, else None.

        Addresses in upper case, and space that firmware sends in one request and not in another.
        """
        try:
            spelt = parse_login(self._params, user)
        except LoginError:
            return None
        for login in session.logins.values():
            if (login.account, login.worker) == spelt:
                return login
        return None

    def difficulty_suggested(self, miner: Miner, event: DifficultySuggested, _now_ms: int) -> None:
        """Start at the wished difficulty, as long as the miner has shown no hashrate."""
        weight = self._weight(event.difficulty)
        if weight is not None:
            miner.session.vardiff.suggest(weight)
            self._fan_out.offer(miner)

    def target_suggested(self, miner: Miner, event: TargetSuggested, _now_ms: int) -> None:
        """Start at the wished target, as long as the miner has shown no hashrate."""
        weight = max(1, weight_of_target(event.target, self._params.shift))
        miner.session.vardiff.suggest(weight)
        self._fan_out.offer(miner)

    def minimum_asked(self, miner: Miner, event: MinimumDifficultyAsked, _now_ms: int) -> None:
        """Send nothing easier than this from now on."""
        weight = self._weight(event.difficulty)
        if weight is not None:
            miner.session.vardiff.raise_minimum(weight)
            self._fan_out.offer(miner)

    def _refuse(self, miner: Miner, request_id: bytes, text: str) -> None:
        miner.write(encoding.error(request_id, Code.UNAUTHORIZED, text))
        miner.refused_logins += 1
        if miner.refused_logins >= REFUSED_LOGINS_MAX and not miner.gone:
            metrics.CLOSED.labels("refused-logins").inc()
            miner.close()

    def _login(self, account: str, worker: str, slot: int) -> Login:
        key = (account, worker, slot)
        login = self.logins.get(key)
        if login is None:
            login = self.logins[key] = Login(account, worker, slot)
        return login

    def _apply_wishes(self, miner: Miner, password: str) -> None:
        wishes = parse_password(password)
        vardiff = miner.session.vardiff
        minimum = None if wishes.minimum is None else self._weight(wishes.minimum)
        if minimum is not None:
            vardiff.raise_minimum(minimum)
        start = None if wishes.start is None else self._weight(wishes.start)
        if start is not None:
            vardiff.suggest(start)

    def _weight(self, difficulty: Decimal) -> int | None:
        try:
            return weight_of_difficulty(difficulty, self._params)
        except WeightError:
            # Beyond what any target can express: a wish that can not be granted.
            return None
