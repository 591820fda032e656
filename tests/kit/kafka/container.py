"""A broker in a container, through testcontainers, where a Docker engine answers."""

from __future__ import annotations

import atexit
import contextlib
import gc
import warnings
from typing import TYPE_CHECKING

from tests.kit.kafka.base import LOOPBACK, STOP_SECONDS, VERSION, Broker, free_ports, properties

if TYPE_CHECKING:
    from docker import DockerClient
    from testcontainers.core.container import DockerContainer

IMAGE = f"apache/kafka:{VERSION}"


class ContainerBroker(Broker):
    """A broker in a container, through testcontainers."""

    def __init__(self, image: str) -> None:
        super().__init__()
        self.description = f"container of {image}"
        self._image = image
        self._container: DockerContainer | None = None

    def start(self) -> None:
        if self._container is None:
            self._container = self._create()
        else:
            self._container.get_wrapped_container().start()
        self._wait_until_ready()

    def _create(self) -> DockerContainer:
        from testcontainers.core.config import testcontainers_config  # noqa: PLC0415 - only where Docker is used
        from testcontainers.core.container import DockerContainer  # noqa: PLC0415

        client = find_docker()
        assert client is not None
        # The reaper removes what a crashed run leaves behind, but it is an image too, and may not be had offline.
        testcontainers_config.ryuk_disabled = not has_image(client, testcontainers_config.ryuk_image)
        client.close()
        (port,) = free_ports(1)
        self.address = f"{LOOPBACK}:{port}"
        settings = properties(
            listen="PLAINTEXT://0.0.0.0:9092",
            advertise=f"PLAINTEXT://{self.address}",
            controller="localhost:9093",
            log_dir="/tmp/kafka-data",  # noqa: S108 - inside the container
        )
        container = DockerContainer(self._image)
        container.ports["9092/tcp"] = (LOOPBACK, port)  # `with_bind_ports` would open it to the whole network
        for name, value in settings.items():
            container.with_env(f"KAFKA_{name.upper().replace('.', '_')}", value)
        container.with_env("KAFKA_HEAP_OPTS", "-Xmx256m -Xms256m")
        atexit.register(self.close)
        return container.start()

    def stop(self) -> None:
        if self._container is not None:
            self._container.get_wrapped_container().stop(timeout=int(STOP_SECONDS))

    def kill(self) -> None:
        if self._container is not None:
            self._container.get_wrapped_container().kill()

    def close(self) -> None:
        atexit.unregister(self.close)
        if self._container is not None:
            self._container.stop()
            self._container.get_docker_client().client.close()
            self._container = None

    def _alive(self) -> str | None:
        assert self._container is not None
        wrapped = self._container.get_wrapped_container()
        wrapped.reload()
        if wrapped.status in ("created", "running", "restarting"):
            return None
        return f"{self.description} ended while starting; it said: {wrapped.logs()[-2_000:].decode(errors='replace')}"


def find_docker() -> DockerClient | None:
    """A Docker engine that answers, or None."""
    try:
        import docker  # noqa: PLC0415 - the suite runs without it
        from docker.errors import DockerException  # noqa: PLC0415
    except ImportError:
        return None
    client = None
    with warnings.catch_warnings():
        # Where no engine listens the library drops its socket unclosed, and the suite takes warnings for errors.
        warnings.simplefilter("ignore", ResourceWarning)
        with contextlib.suppress(DockerException):
            client = docker.from_env(timeout=5)
        gc.collect()
    if client is None:
        return None
    try:
        client.ping()
    except Exception:  # whatever is wrong with it, it is no engine that answers
        client.close()
        return None
    return client


def has_image(client: DockerClient, image: str) -> bool:
    """Whether the engine has the image or can pull it."""
    from docker.errors import DockerException  # noqa: PLC0415

    try:
        client.images.get(image)
    except DockerException:
        try:
            client.images.pull(image)
        except Exception:  # no network, no such image, no room: all the same to us
            return False
    return True
