"""The HTTP server of probes; `health` starts it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest


@asynccontextmanager
async def probe_server(
    host: str, port: int, ready: Callable[[], bool | str]
) -> AsyncIterator[None]:
    """Answer probes for the length of the context; raises OSError when the port is taken."""
    runner = web.AppRunner(_application(ready), access_log=None, handle_signals=False)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port, reuse_address=True).start()
        yield
    finally:
        await runner.cleanup()


def _application(ready: Callable[[], bool | str]) -> web.Application:
    async def livez(_request: web.Request) -> web.Response:
        return web.Response(text="alive\n")

    async def readyz(_request: web.Request) -> web.Response:
        said = ready()
        if said is True:
            return web.Response(text="ready\n")
        return web.Response(status=503, text=f"{said or 'not ready'}\n")

    async def metrics(_request: web.Request) -> web.Response:
        body = await asyncio.to_thread(generate_latest)
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})

    application = web.Application()
    application.add_routes(
        [web.get("/livez", livez), web.get("/readyz", readyz), web.get("/metrics", metrics)]
    )
    return application
