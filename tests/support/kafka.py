"""A private Kafka broker of one node (KRaft), without containers: for tests and for the test bed.

The jars come by Maven from a pom of a few lines, once, into a folder outside the repository that is
named by the version (`PITHEAD_CACHE`, else the user's cache). Java is the system's. Nothing is
written but `folder`: configuration, certificates and data of one broker, which live through kills.

The flags make a broker of 0.2 GB that is up in some seconds; a killed one is back as soon as its
old registration has expired, which the session timeout below makes three seconds.
"""

import asyncio
import datetime
import fcntl
import ipaddress
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from pithead.config import KafkaSettings, TopicSettings
from pithead.log.errors import LogError
from pithead.log.kafka_client import look, start_admin, stop_admin
from pithead.log.topics import kafka_topic
from pithead.log.topics_admin import ensure_topics

VERSION = "4.1.1"
POM = f"""<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
<groupId>dev.pithead</groupId><artifactId>broker</artifactId><version>1</version><dependencies>
<dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId>
<version>{VERSION}</version></dependency></dependencies></project>
"""
DOWNLOAD_LIMIT_S = 600
FORMAT_LIMIT_S = 60
START_LIMIT_S = 60.0
STOP_LIMIT_S = 20.0

JVM = (
    "-Xmx160m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-Djava.net.preferIPv4Stack=true",
)


def cache() -> Path:
    """The folder of this version's jars."""
    named = os.environ.get("PITHEAD_CACHE")
    base = Path(named) if named else Path("~/.cache/pithead").expanduser()
    return base / "kafka" / VERSION


def no_kafka() -> str | None:
    """Why no broker can be started here, or None."""
    missing = [] if shutil.which("java") else ["default-jre-headless"]
    if not (cache() / "libs").is_dir() and shutil.which("mvn") is None:
        missing.append("maven")
    if not missing:
        return None
    return f"a Kafka broker cannot be started (Debian: apt-get install {' '.join(missing)})"


def libraries() -> Path:
    """The folder of the jars, fetched when they are not there; one process fetches."""
    target = cache() / "libs"
    if target.is_dir():
        return target
    cache().mkdir(parents=True, exist_ok=True)
    with (cache() / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if target.is_dir():
            return target
        with tempfile.TemporaryDirectory(prefix=".fetch-", dir=cache()) as work:
            pom = Path(work) / "pom.xml"
            pom.write_text(POM)
            subprocess.run(
                [
                    *("mvn", "-q", "-B", "-f", str(pom), "dependency:copy-dependencies"),
                    f"-DoutputDirectory={work}/libs",
                ],
                check=True,
                timeout=DOWNLOAD_LIMIT_S,
            )
            (Path(work) / "libs").rename(target)
    return target


def free_ports(number: int) -> list[int]:
    """Ports of the loopback that were free a moment ago, all different."""
    probes = [socket.socket() for _ in range(number)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]
    finally:
        for probe in probes:
            probe.close()


def new_cluster_id() -> str:
    """A random id as Kafka wants it: 16 bytes in base 64, not beginning with a hyphen."""
    return urlsafe_b64encode(b"p" + secrets.token_bytes(15))[:22].decode()


@dataclass
class KafkaFiles:
    """One broker's files and how to start it; the broker itself is anybody's process.

    With `users` (name -> password) clients need TLS and SASL SCRAM-SHA-512, else neither.
    """

    folder: Path
    host: str = "127.0.0.1"
    """Where it listens for clients."""
    port: int = 0
    """0: any free one, the same for the life of this object."""
    advertised_host: str = ""
    """Where it tells clients to come; `host` when empty."""
    users: dict[str, str] = field(default_factory=dict)
    also_named: tuple[str, ...] = ()
    """Further names that its certificate is good for."""
    cluster_id: str = field(default_factory=new_cluster_id)

    def __post_init__(self) -> None:
        ports = free_ports(3)
        self.port = self.port or ports[0]
        self._inner, self._controller = ports[1:]
        self.advertised_host = self.advertised_host or self.host

    @property
    def ca(self) -> Path:
        """What signed the broker's certificate."""
        return self.folder / "ca.crt"

    def settings(self, user: str = "") -> KafkaSettings:
        """How clients reach it, as one of its users when it has any."""
        servers = (f"{self.advertised_host}:{self.port}",)
        if not self.users:
            return KafkaSettings(bootstrap_servers=servers)
        user = user or next(iter(self.users))
        return KafkaSettings(
            bootstrap_servers=servers, ca=self.ca, username=user, password=self.users[user]
        )

    def command(self) -> list[str]:
        """The broker's command line, after `prepare`."""
        return [*self._java(*JVM), "kafka.Kafka", str(self.folder / "server.properties")]

    def prepare(self) -> None:
        """Fetch the jars, write the configuration and format the data folder, once."""
        libraries()
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.users and not self.ca.exists():
            _write_certificates(self.folder, {self.host, self.advertised_host, *self.also_named})
        (self.folder / "server.properties").write_text(self._properties())
        if not (self.folder / "data" / "meta.properties").exists():
            self._format()

    def write_certificates(self) -> None:
        """Make an authority and a certificate of it for the broker."""
        self.folder.mkdir(parents=True, exist_ok=True)
        _write_certificates(self.folder, {self.host, self.advertised_host, "localhost"})

    def wipe(self) -> None:
        """Forget all data; the next start makes another cluster."""
        shutil.rmtree(self.folder / "data")
        self.cluster_id = new_cluster_id()

    def _format(self) -> None:
        command = [
            *self._java("-Xmx64m", "-XX:TieredStopAtLevel=1"),
            "kafka.tools.StorageTool",
            "format",
            "-t",
            self.cluster_id,
            "-c",
            str(self.folder / "server.properties"),
        ]
        for name, password in self.users.items():
            command += ["--add-scram", f"SCRAM-SHA-512=[name={name},password={password}]"]
        done = subprocess.run(
            command, check=False, capture_output=True, text=True, timeout=FORMAT_LIMIT_S
        )
        if done.returncode:
            raise RuntimeError(f"Kafka's data folder was not formatted: {done.stdout}{done.stderr}")

    def _java(self, *flags: str) -> list[str]:
        return ["java", *flags, "-cp", f"{libraries()}/*"]

    def _properties(self) -> str:
        protocol = "SASL_SSL" if self.users else "PLAINTEXT"
        lines = {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.voters": f"1@127.0.0.1:{self._controller}",
            "controller.listener.names": "CONTROLLER",
            "inter.broker.listener.name": "INNER",
            "listeners": f"CLIENT://{self.host}:{self.port},INNER://127.0.0.1:{self._inner},"
            f"CONTROLLER://127.0.0.1:{self._controller}",
            "advertised.listeners": f"CLIENT://{self.advertised_host}:{self.port},"
            f"INNER://127.0.0.1:{self._inner}",
            "listener.security.protocol.map": f"CLIENT:{protocol},INNER:PLAINTEXT,"
            "CONTROLLER:PLAINTEXT",
            "log.dirs": str(self.folder / "data"),
            "auto.create.topics.enable": "false",
            "num.network.threads": "2",
            "num.io.threads": "2",
            "log.cleaner.dedupe.buffer.size": "4194304",
            "offsets.topic.num.partitions": "1",
            "offsets.topic.replication.factor": "1",
            "transaction.state.log.num.partitions": "1",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "share.coordinator.state.topic.replication.factor": "1",
            "share.coordinator.state.topic.min.isr": "1",
            "group.initial.rebalance.delay.ms": "0",
            "group.coordinator.threads": "1",
            "broker.session.timeout.ms": "3000",
            "broker.heartbeat.interval.ms": "500",
        }
        if self.users:
            lines |= {
                "ssl.keystore.type": "PEM",
                "ssl.keystore.location": str(self.folder / "server.pem"),
                "sasl.enabled.mechanisms": "SCRAM-SHA-512",
                "listener.name.client.scram-sha-512.sasl.jaas.config": (
                    "org.apache.kafka.common.security.scram.ScramLoginModule required;"
                ),
            }
        return "".join(f"{key}={value}\n" for key, value in lines.items())


class KafkaBroker:
    """A broker as a process of the test; it can be killed and started again on its data."""

    def __init__(self, files: KafkaFiles) -> None:
        self.files = files
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def settings(self) -> KafkaSettings:
        """How clients reach it."""
        return self.files.settings()

    @property
    def pid(self) -> int:
        """Process id while it runs."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it; `until_ready` waits until it serves."""
        self.files.prepare()
        with (self.files.folder / "output").open("ab") as output:
            self._process = subprocess.Popen(
                self.files.command(), stdout=output, stderr=output, cwd=self.files.folder
            )

    async def until_ready(self) -> None:
        """Wait until clients are answered; fails when the process ends before."""
        deadline = asyncio.get_running_loop().time() + START_LIMIT_S
        while True:
            try:
                admin = await start_admin(self.settings)
            except LogError as error:
                trouble = str(error)
            else:
                try:
                    if (await look(admin)).brokers:
                        return
                finally:
                    await stop_admin(admin)
                trouble = "it knows no broker yet"
            if self._process is None or self._process.poll() is not None:
                output = (self.files.folder / "output").read_text(errors="replace")
                raise RuntimeError(f"the Kafka broker has ended: {output[-2000:]}")
            if asyncio.get_running_loop().time() > deadline:
                raise TimeoutError(f"the Kafka broker does not serve: {trouble}")
            await asyncio.sleep(0.1)

    def kill(self) -> None:
        """SIGKILL it; nothing when it does not run."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(STOP_LIMIT_S)
            self._process = None

    def stop(self) -> None:
        """SIGTERM it and wait for its end."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(STOP_LIMIT_S)
        self._process = None


@contextmanager
def running_broker(files: KafkaFiles) -> Iterator[KafkaBroker]:
    """A broker that serves, for the length of the context; outside of any event loop."""
    broker = KafkaBroker(files)
    broker.start()
    try:
        # In a thread of its own: a test's loop may wait in this one.
        with ThreadPoolExecutor(1) as thread:
            thread.submit(asyncio.run, broker.until_ready()).result()
        yield broker
    finally:
        broker.stop()


async def make_topics(broker: KafkaBroker, *names: str, partitions: int = 2) -> None:
    """Make topics of one replica, named as in the log."""
    wanted = [
        TopicSettings(name=kafka_topic(name), partitions=partitions, replicas=1) for name in names
    ]
    await ensure_topics(broker.settings, wanted)


def _write_certificates(folder: Path, hosts: set[str]) -> None:
    """An authority, and a certificate of it for `hosts` with its key in one PEM file."""
    now = datetime.datetime.now(datetime.UTC)
    ca_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    ca_name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "kafka of a test")])

    def builder(subject: x509.Name, public: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(ca_name)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(days=30))
        )

    ca = (
        builder(ca_name, ca_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(ca_key, hashes.SHA256())
    )
    names = [_general_name(host) for host in sorted(hosts)]
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "broker")])
    certificate = (
        builder(subject, key.public_key())
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(
        pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "server.pem").touch(mode=0o600)
    (folder / "server.pem").write_bytes(
        private + certificate.public_bytes(pem) + ca.public_bytes(pem)
    )
    (folder / "ca.crt").write_bytes(ca.public_bytes(pem))


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
