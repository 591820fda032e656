"""A real Apache Kafka broker for tests: an address given, a container, or a JVM on this machine, in that order.

It is usable without pytest: `with find_broker() as broker: use(broker.address)`. Nothing is started before `start`.
"""

from __future__ import annotations

import contextlib
import os
import shutil

from tests.kit.kafka.base import VERSION, Broker, NoBrokerError
from tests.kit.kafka.container import IMAGE, ContainerBroker, find_docker, has_image
from tests.kit.kafka.jvm import CACHE, JvmBroker, find_java

__all__ = ["Broker", "ContainerBroker", "GivenBroker", "JvmBroker", "NoBrokerError", "find_broker"]

ADDRESS_VARIABLE = "FOREWARN_TEST_KAFKA"
IMAGE_VARIABLE = "FOREWARN_TEST_KAFKA_IMAGE"


class GivenBroker(Broker):
    """A broker somebody else runs, at the address in `FOREWARN_TEST_KAFKA`."""

    can_restart = False

    def __init__(self, address: str) -> None:
        super().__init__()
        self.address = address
        self.description = f"the broker at {address} ({ADDRESS_VARIABLE})"

    def start(self) -> None:
        self._wait_until_ready()

    def stop(self) -> None:
        raise NotImplementedError("a broker that somebody else runs is not ours to stop")

    def kill(self) -> None:
        raise NotImplementedError("a broker that somebody else runs is not ours to kill")

    def close(self) -> None:
        """Nothing of it is ours."""


def find_broker() -> Broker:
    """The first broker of the three that can be had here, not yet started.

    Errors: `NoBrokerError`, saying what was looked for.
    """
    if address := os.environ.get(ADDRESS_VARIABLE):
        return GivenBroker(address)
    image = os.environ.get(IMAGE_VARIABLE, IMAGE)
    client = find_docker()
    if client is not None:
        with contextlib.closing(client):
            if has_image(client, image):
                return ContainerBroker(image)
    java, maven = find_java(), shutil.which("mvn")
    if java is None:
        raise NoBrokerError(f"{ADDRESS_VARIABLE} is not set, no Docker engine offers {image}, and no Java 17 is here")
    if maven is None and not (CACHE / VERSION / "jars").is_dir():
        raise NoBrokerError(f"{ADDRESS_VARIABLE} is not set, no Docker engine offers {image}, and no Maven is here")
    return JvmBroker(java, maven)
