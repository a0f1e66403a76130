"""A JSON client for one API server: enough for the bed's own needs, with nothing to install."""

import http.client
import json
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit


class Refused(Exception):
    """The API server answered with an error."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status


class Api:
    """Requests to one API server; a connection each, so it is fit for threads."""

    def __init__(self, server: str, authority: Path, token: str) -> None:
        parts = urlsplit(server)
        self._host, self._port = parts.hostname or "", parts.port
        self._tls = ssl.create_default_context(cafile=str(authority))
        self.token = token
        self._headers = {"Authorization": f"Bearer {token}"}

    def call(
        self,
        path: str,
        body: dict[str, Any] | None = None,
        *,
        method: str = "GET",
        kind: str = "application/json",
        limit_s: float = 5,
    ) -> Any:
        """Return the decoded answer; raises Refused, and OSError when nobody answers."""
        connection = self._connect(limit_s)
        try:
            text = json.dumps(body) if body is not None else None
            connection.request(method, path, text, {**self._headers, "Content-Type": kind})
            response = connection.getresponse()
            answer = response.read()
            if response.status >= 400:
                raise Refused(response.status, answer.decode(errors="replace")[:500])
            is_json = response.headers.get_content_type() == "application/json"
            return json.loads(answer) if is_json else answer.decode()
        except http.client.HTTPException as error:
            raise ConnectionError(f"{self._host}:{self._port}: {error!r}") from error
        finally:
            connection.close()

    def watch(self, path: str, version: str, seconds: int = 30) -> Iterator[dict[str, Any]]:
        """Yield the events of a watch for so many seconds; raises as `call` does."""
        connection = self._connect(seconds + 10)
        query = f"watch=1&resourceVersion={version}&timeoutSeconds={seconds}"
        try:
            connection.request("GET", f"{path}?{query}", headers=self._headers)
            response = connection.getresponse()
            if response.status >= 400:
                raise Refused(response.status, response.read(500).decode(errors="replace"))
            while line := response.readline():
                yield json.loads(line)
        except http.client.HTTPException as error:
            raise ConnectionError(f"{self._host}:{self._port}: {error!r}") from error
        finally:
            connection.close()

    def found(self, path: str) -> Any:
        """Return the answer, or None while there is no such object or nobody to ask."""
        try:
            return self.call(path)
        except (Refused, OSError):
            return None

    def _connect(self, limit_s: float) -> http.client.HTTPSConnection:
        return http.client.HTTPSConnection(
            self._host, self._port, timeout=limit_s, context=self._tls
        )
