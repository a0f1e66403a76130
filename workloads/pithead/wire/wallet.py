"""Asks a coin's wallet for the script that coinbases pay: the same for ever."""

from sqlalchemy.exc import DBAPIError

from pithead.coins.node_errors import NodeError
from pithead.coins.wallet import WalletError
from pithead.config import Unusable, WireWalletSettings
from pithead.payouts.single import receive_address
from pithead.process import Result, until_there
from pithead.store import StoreTooNew, StoreTooOld, StoreUnreachable


async def ask_wallet(settings: WireWalletSettings, *, within_s: float) -> Result:
    """Return the script in hex; raises TaskFailed, Unusable.

    Payouts' database remembers it, so it stays when the wallet is restored or the
    node replaced.
    """

    async def ask() -> str:
        row = await receive_address(settings.database, settings.coin)
        return (row.script or b"").hex()

    try:
        return {"script": await until_there(ask, _away, within_s)}
    except StoreTooNew as error:
        raise Unusable(str(error)) from error


def _away(error: Exception) -> str:
    match error:
        case DBAPIError():
            return f"payouts' database: {str(error.orig)[:300]}"
        case NodeError() | WalletError() | StoreUnreachable() | StoreTooOld():
            return str(error)
        case _:
            return ""
