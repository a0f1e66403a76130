"""Answers for one operator process: from its settings to its end.

    hub client -> probes -> Lease -> the three kinds are served -> controller and kopf, until a
    signal or the loss of the Lease

Whoever loses the Lease ends at once, without tidying up: another works already.
"""

import asyncio
import logging

import kopf
from kubernetes.aio import config as client_config
from kubernetes.aio.client import ApiClient, Configuration

from pithead.config import HealthSettings
from pithead.telemetry.health import health_server
from pithead_operator.lease import Lease, LeaseLost
from pithead_operator.main import registry
from pithead_operator.reconcile.controller import Controller
from pithead_operator.regions.api import ClusterApi
from pithead_operator.regions.errors import ClusterError
from pithead_operator.regions.kinds import OUR_KINDS
from pithead_operator.settings import OperatorSettings

log = logging.getLogger(__name__)

AGAIN_SECONDS = 2.0
EXIT_FAILED = 1
EXIT_UNUSABLE = 2


class Unusable(Exception):
    """Raised when the hub's own access can not be read; the text says what to change."""


async def hub_configuration(settings: OperatorSettings) -> Configuration:
    """Access to the hub: a kubeconfig, or the pod's own service account; raises Unusable."""
    configuration = Configuration()
    try:
        if settings.kubeconfig is not None:
            await client_config.load_kube_config(  # type: ignore[no-untyped-call]  # no types there
                config_file=str(settings.kubeconfig),
                context=settings.context,
                client_configuration=configuration,
            )
        else:
            client_config.load_incluster_config(  # type: ignore[no-untyped-call]  # no types there
                client_configuration=configuration
            )
    except (client_config.ConfigException, OSError) as error:
        raise Unusable(
            f"the hub's API server is not known: {error}; run in a pod, or give --kubeconfig"
        ) from error
    # A watch holds a connection, and there are some for each hub namespace.
    configuration.connection_pool_maxsize = 0
    return configuration


def connection_info(configuration: Configuration) -> kopf.ConnectionInfo:
    """The same access as kopf wants it."""
    if configuration.refresh_api_key_hook is not None:
        configuration.refresh_api_key_hook(configuration)
    scheme, _, token = (configuration.api_key.get("BearerToken") or "").partition(" ")
    return kopf.ConnectionInfo(
        server=configuration.host,
        ca_path=configuration.ssl_ca_cert,
        ca_data=configuration.ca_cert_data,
        insecure=not configuration.verify_ssl,
        scheme=scheme.capitalize() or None,
        token=token or None,
        certificate_path=configuration.cert_file,
        private_key_path=configuration.key_file,
    )


class Process:
    """One operator process."""

    def __init__(self, settings: OperatorSettings) -> None:
        self._settings = settings
        self._controller: Controller | None = None

    async def run(self) -> int:
        """Work until a signal comes; returns an exit code."""
        settings = self._settings
        configuration = await hub_configuration(settings)
        api = ClusterApi(ApiClient(configuration), "")
        lease = Lease(api, settings.namespace, settings.identity) if settings.lease else None
        address = (
            HealthSettings(host=settings.health_host, port=settings.health_port)
            if settings.health_port
            else None
        )
        code = 0
        try:
            async with health_server(address, self._ready):
                if lease is not None:
                    await lease.acquire()
                await self._lead(api, configuration, lease)
                if lease is not None:
                    await lease.release()
        except* LeaseLost as lost:
            log.error("%s; this operator ends", lost.exceptions[0])
            code = EXIT_FAILED
        finally:
            await api.close()
        return code

    def _ready(self) -> bool | str:
        # Who stands by for the Lease is as ready as can be.
        return True if self._controller is None else self._controller.readiness

    async def _lead(
        self, api: ClusterApi, configuration: Configuration, lease: Lease | None
    ) -> None:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(lease.keep())] if lease is not None else []
            uid = await self._served(api)
            controller = self._controller = Controller(api, uid, self._settings)
            tasks.append(group.create_task(controller.run()))
            memo = kopf.Memo(controller=controller, login=lambda: connection_info(configuration))
            # It returns when a signal comes.
            await kopf.operator(
                registry=registry,
                settings=kopf.OperatorSettings(),
                memo=memo,
                standalone=True,
                clusterwide=True,
            )
            for task in tasks:
                task.cancel()

    async def _served(self, api: ClusterApi) -> str:
        """Wait until the hub serves the three kinds; its UID."""
        while True:
            try:
                for kind in OUR_KINDS:
                    await api.list(kind, "", metadata_only=True)
                return await api.uid()
            except ClusterError as error:
                log.warning("the hub is not as it must be: %s", error)
                await asyncio.sleep(AGAIN_SECONDS)
