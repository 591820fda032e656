"""The public face: its names are there, and a subscriber loads no engine."""

from __future__ import annotations

import subprocess
import sys

import forewarn
from schemas.codec.outputs import Decoder
from tests.kit.paths import ROOT

HEAVY = (
    "bytewax",
    "river",
    "sklearn",
    "matplotlib",
    "scipy",
    "confluent_kafka.schema_registry",
    "pyarrow",
    "dataflows",
)
SUBSCRIBER = "import sys; from forewarn import Decoder; Decoder('risk_event'); print(*sys.modules, sep='\\n')"


def test_every_public_name_is_there() -> None:
    """Each is the object that its own module defines, and `dir` and `__all__` name the same."""
    assert dir(forewarn) == sorted(forewarn.__all__)
    assert all(getattr(forewarn, name) is not None for name in forewarn.__all__)
    assert forewarn.Decoder is Decoder
    assert not hasattr(forewarn, "Lane")


def test_a_subscriber_loads_no_engine() -> None:
    """Decoding risk events takes neither the stream engine nor a model, a plot or a registry client."""
    done = subprocess.run([sys.executable, "-c", SUBSCRIBER], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = done.stdout.split()
    assert "schemas.codec.outputs" in loaded
    assert [name for name in loaded if name.startswith((*HEAVY, "dataflows"))] == []
