"""A scripted registry, and codecs that are closed when the test ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from schemas.codec.inputs import Codec, RegistrySettings
from tests.kit.scripted_registry import Scripted, answering


@pytest.fixture
def registry() -> Iterator[Scripted]:
    """A registry over HTTP that knows no schema but lists its types."""
    with answering() as scripted:
        yield scripted


@pytest.fixture
def codec_of() -> Iterator[Callable[[RegistrySettings], Codec]]:
    """Codecs whose connections are closed when the test ends."""
    made: list[Codec] = []

    def make(settings: RegistrySettings) -> Codec:
        made.append(Codec(settings))
        return made[-1]

    yield make
    for codec in made:
        codec.close()
