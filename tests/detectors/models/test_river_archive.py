"""River's objects as plain data: a restored one is the original, and nothing but River's own is ever looked up."""

from __future__ import annotations

import random
import zlib
from collections import Counter, defaultdict, deque
from functools import partial
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from river import drift, proba, stats

from detectors.models.river.archive import NotRestorableError, decode, encode, modules_in

LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary()
PLAIN = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(st.text(), inner)
        | st.tuples(inner, inner)
        | st.sets(st.integers() | st.text())
    ),
)


@given(PLAIN)
def test_plain_data_comes_back_as_it_was(data: Any) -> None:
    """Types included: a tuple is no list, True is not 1, and an integer may be larger than 64 bits."""
    found = decode(encode([data]))
    assert repr(found) == repr([data]) or found == [data]
    assert type(found[0]) is type(data)


def test_numbers_arrays_and_collections_come_back_as_they_were() -> None:
    """With their types, the order of keys, and the state of random generators."""
    chance = random.Random(3)
    chance.random()
    held = [
        np.float64(0.1),
        np.arange(6, dtype=np.int32).reshape(2, 3),
        deque([1, 2], maxlen=5),
        Counter("abca"),
        defaultdict(stats.Mean, {"b": stats.Mean(), "a": stats.Mean()}),
        partial(stats.Var, ddof=0),
        chance,
        np.random.RandomState(4),
    ]
    number, array, recent, counts, means, made, twin, old = decode(encode(held))
    assert type(number) is np.float64
    assert (array.dtype, array.tolist()) == (np.int32, [[0, 1, 2], [3, 4, 5]])
    assert (recent, recent.maxlen, counts) == (deque([1, 2]), 5, Counter("abca"))
    assert (list(means), type(means["new"])) == (["b", "a"], stats.Mean)
    assert made().ddof == 0
    assert twin.random() == chance.random()
    assert old.random() == held[7].random()  # type: ignore[attr-defined]


def test_shared_and_circular_references_stay_what_they_are() -> None:
    """A tree's node knows its parent, and a detector that two nodes share is one."""
    shared, ring = drift.ADWIN(), list[Any]()
    ring.append((ring, shared))
    first, second, found = decode(encode([shared, shared, ring]))
    assert first is second
    assert found[0][0] is found
    assert found[0][1] is first


def test_a_detector_of_compiled_code_goes_on_where_it_was() -> None:
    """Its buckets are in the bytes."""
    detector, rng = drift.ADWIN(), random.Random(1)
    for number in range(500):
        detector.update(rng.random() + (number > 300))
    twin = decode(encode(detector))
    for _ in range(300):
        value = rng.random() + 2
        detector.update(value)
        twin.update(value)
        assert (twin.estimation, twin.width, twin.drift_detected) == (
            detector.estimation,
            detector.width,
            detector.drift_detected,
        )


def test_the_generator_of_an_unseeded_distribution_is_not_stored() -> None:
    """It differs from process to process, is drawn from by `sample` only, and would be most of a model's bytes."""
    first, second = (proba.Gaussian() for _ in range(2))
    assert encode(first) == encode(second)
    assert len(encode([proba.Gaussian() for _ in range(100)])) < 10_000
    assert encode(proba.Gaussian(seed=1)) != encode(proba.Gaussian(seed=2))


@pytest.mark.parametrize(
    "value",
    [lambda: None, open, random.SystemRandom(), np.array([object()], dtype=object), iter([])],
    ids=["a function", "a built-in", "the system's randomness", "an array of objects", "an iterator"],
)
def test_what_is_not_rivers_is_not_stored(value: Any) -> None:
    """Code, files, and objects of other libraries."""
    with pytest.raises(NotRestorableError):
        encode([value])


def bytes_of(*rows: list[Any]) -> bytes:
    """Bytes as a stranger could put them into a store."""
    return zlib.compress(msgpack.packb([rows, [*range(len(rows))][::-1]]))


@pytest.mark.parametrize(
    "rows",
    [
        (["call", 1, 0, [1], "true", None], ["name", "os", "system"]),
        (["call", 1, 0, [1], "1 + 1", None], ["name", "builtins", "eval"]),
        (["object", [1]], ["name", "subprocess", "Popen"]),
        (["object", [1]], ["name", "river.utils.math", "np.ndarray"]),
        (["name", "river.base.base", "logging.os.system"],),
        (["name", "river.datasets.base", "Path"],),
        (["call", 0, 0, [1], None], ["name", "river.tree.hoeffding_tree_classifier", "HoeffdingTreeClassifier"]),
        (["call", 1, 0, [1], 3, None], ["name", "builtins", "list"]),
        (["method", "__init_subclass__", [1]], ["list"]),
        (["object", 5],),
        (["bomb"],),
    ],
    ids=str,
)
def test_bytes_of_a_stranger_call_nothing(rows: tuple[list[Any], ...]) -> None:
    """A row may name River's classes and a few containers, and may call fewer still."""
    with pytest.raises(NotRestorableError):
        decode(bytes_of(*rows))


def test_the_modules_that_bytes_name_are_listed() -> None:
    """By which a run refuses classes that keep whole examples."""
    assert modules_in(encode(stats.Mean())) == {"river.stats.mean"}
