"""Makes one PostgreSQL database ready for all services: roles, schemas, newest tables."""

from collections.abc import Mapping

from pithead.store.migrate import Place, migrate_all
from pithead.store.roles import RoleSecret, provision


async def provision_all(admin_url: str, services: Mapping[str, tuple[str, str]]) -> dict[str, str]:
    """Make or repair roles and schemas, then upgrade; return the revision each service reached.

    `services` maps a service (`ledger`) to its username and password. Safe to repeat and
    from two places at once; killed anywhere, it is run again. The administrator acts
    as each schema's owner for the upgrade, so everything belongs to that role. Raises
    StoreUnreachable (try again), StoreRefused, StoreTooNew and ValueError (nothing but
    another configuration helps).
    """
    secrets = {service: RoleSecret(*login) for service, login in services.items()}
    await provision(admin_url, secrets)
    places = {
        service: Place(admin_url, secret.schema, secret.owner, secret.username)
        for service, secret in secrets.items()
    }
    return await migrate_all(places)
