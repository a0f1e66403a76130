"""One cluster as a test sees it, in whichever form of the bed."""

import json
from pathlib import Path
from typing import Any, Protocol

from tests.e2e.bed import build
from tests.e2e.bed.api import Api
from tests.e2e.bed.shell import COMMAND_S_MAX, run


class Control(Protocol):
    """What runs a cluster, and the ways to hurt its API server."""

    @property
    def region(self) -> str: ...
    @property
    def kubeconfig(self) -> Path: ...
    @property
    def server(self) -> str: ...
    @property
    def api(self) -> Api: ...
    def pause_api(self) -> None: ...
    def resume_api(self) -> None: ...
    def kill_api(self) -> None: ...
    def start_api(self) -> None: ...
    def kubeconfig_for(self, token: str, user: str) -> str: ...
    def diagnosis(self) -> str: ...


class Cluster:
    """A region's API server, with the commands for it and the faults that it can be given."""

    def __init__(self, control: Control) -> None:
        self.control = control
        self.region = control.region

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig, credentials inline: good where `server` is reached."""
        return self.control.kubeconfig

    @property
    def server(self) -> str:
        """The URL of the API server."""
        return self.control.server

    @property
    def api(self) -> Api:
        """A small JSON client with all rights."""
        return self.control.api

    def kubectl(
        self, *arguments: str, stdin: str | None = None, limit_s: float = COMMAND_S_MAX
    ) -> str:
        """Return what kubectl printed; raises CommandFailed."""
        command = [self.program("kubectl"), "--kubeconfig", str(self.kubeconfig)]
        return run([*command, *arguments], stdin=stdin, limit_s=limit_s)

    def helm(self, *arguments: str, limit_s: float = 180) -> str:
        """Return what helm printed; raises CommandFailed."""
        command = [self.program("helm"), "--kubeconfig", str(self.kubeconfig)]
        return run([*command, *arguments], limit_s=limit_s)

    def program(self, name: str) -> str:
        """Return the path of kubectl or helm, built if need be."""
        build.build({"kubectl": "kube"}.get(name, name))
        return str(build.program(name))

    def apply(self, manifest: dict[str, Any], manager: str = "bed") -> None:
        """Server-side apply one object, taking over every field that it names."""
        arguments = ["apply", "--server-side", "--force-conflicts", f"--field-manager={manager}"]
        self.kubectl(*arguments, "-f", "-", stdin=json.dumps(manifest))

    def diagnosis(self) -> str:
        """Return what a person would look at first, such as the ends of logs."""
        return f"===== {self.region}\n{self.parts()}"

    def parts(self) -> str:
        """Return the ends of the logs of what the cluster is made of."""
        return self.control.diagnosis()

    def pause_api(self) -> None:
        """Make the API server hang: connections are accepted, nothing is answered."""
        self.control.pause_api()

    def resume_api(self) -> None:
        """Let a hanging API server go on."""
        self.control.resume_api()

    def kill_api(self) -> None:
        """Make the API server refuse connections, without a farewell."""
        self.control.kill_api()

    def start_api(self) -> None:
        """Start a killed API server and wait until it is ready."""
        self.control.start_api()
