"""Makes the services' roles and schemas, and brings each to the newest revision."""

from sqlalchemy import make_url
from sqlalchemy.exc import DBAPIError

from pithead.config import Unusable, WireDatabasesSettings
from pithead.process import Result, TaskFailed, until_there
from pithead.store.errors import StoreRefused, StoreTooNew, StoreUnreachable
from pithead.store.provision import provision_all


async def make_databases(settings: WireDatabasesSettings, *, within_s: float) -> Result:
    """Return the revisions reached, by service; raises TaskFailed, Unusable."""
    url = make_url(settings.admin_url).set(username=settings.username, password=settings.password)
    services = {each.service: (each.username, each.password) for each in settings.services}

    async def provision() -> dict[str, str]:
        return await provision_all(url.render_as_string(hide_password=False), services)

    try:
        revisions = await until_there(provision, _away, within_s)
    except StoreRefused as error:
        # Whoever runs the server can mend it, with the same settings here.
        raise TaskFailed(str(error)) from error
    except (StoreTooNew, ValueError) as error:
        raise Unusable(str(error)) from error
    return {"revisions": revisions}


def _away(error: Exception) -> str:
    match error:
        case DBAPIError():
            return f"the database does not do it: {str(error.orig)[:300]}"
        case StoreUnreachable() | OSError():
            return str(error) or type(error).__name__
        case _:
            return ""
