"""Ways in which a wallet can refuse: one class for each thing a caller can do about it.

WalletError
├── WalletUnavailable   cannot be loaded or made: an operator has to look
├── WalletLocked        needs its passphrase
├── InsufficientFunds   pay less, or wait for coins to mature
├── BadDestination      leave this payee out
├── PaymentTooLarge     pay fewer at once
├── InputGone           an earlier attempt, or another spend, is on the chain: reconcile
├── SigningRefused      the node did not sign what it was given
└── BroadcastRefused    the network does not take it; `conflict` tells whether because
                        its inputs are spent by another transaction
"""


class WalletError(Exception):
    """Base of all."""


class WalletUnavailable(WalletError):
    """Raised when the node has the wallet neither loaded nor loadable."""

    def __init__(self, wallet: str, reason: str) -> None:
        self.wallet = wallet
        super().__init__(f"wallet {wallet} cannot be loaded: {reason[:256]}")


class WalletLocked(WalletError):
    """Raised when the wallet's keys are encrypted."""

    def __init__(self, wallet: str) -> None:
        self.wallet = wallet
        super().__init__(f"wallet {wallet} is locked; unlock it with walletpassphrase at the node")


class InsufficientFunds(WalletError):
    """Raised when `have` base units of usable coins do not cover the `need`, fee included."""

    def __init__(self, wallet: str, have: int, need: int) -> None:
        self.wallet = wallet
        self.have = have
        self.need = need
        super().__init__(f"wallet {wallet} has {have} spendable base units, {need} are needed")


class BadDestination(WalletError):
    """Raised when an output cannot be paid."""

    def __init__(self, script: bytes, reason: str) -> None:
        self.script = script
        super().__init__(f"output script {script.hex()[:80]} cannot be paid: {reason}")


class PaymentTooLarge(WalletError):
    """Raised when the transaction would be too heavy to be relayed."""

    def __init__(self, wallet: str, inputs: int, outputs: int) -> None:
        self.inputs = inputs
        self.outputs = outputs
        super().__init__(
            f"a payment of wallet {wallet} with {inputs} inputs and {outputs} outputs is too "
            "heavy to be relayed; pay fewer payees at once"
        )


class InputGone(WalletError):
    """Raised when the output that must be spent is spent on the chain, or not there at all."""

    def __init__(self, txid: bytes, index: int) -> None:
        self.txid = txid
        self.index = index
        super().__init__(f"output {txid[::-1].hex()}:{index} is no longer unspent on the chain")


class SigningRefused(WalletError):
    """Raised when the wallet did not sign the transaction that it was given."""

    def __init__(self, wallet: str, reason: str) -> None:
        self.wallet = wallet
        super().__init__(f"wallet {wallet} did not sign: {reason[:256]}")


class BroadcastRefused(WalletError):
    """Raised when the node does not take a transaction."""

    def __init__(self, wallet: str, reason: str, *, conflict: bool) -> None:
        self.wallet = wallet
        self.reason = reason
        self.conflict = conflict
        super().__init__(f"node of wallet {wallet} refuses the transaction: {reason[:256]}")
