"""Which version may score which point: the newest that is strictly older and was in force."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.base.state import pack, unpack
from detectors.learning.learner import Published
from detectors.scoring.batch import Batch
from detectors.scoring.versions import Versions
from schemas.records.base import Position
from tests.kit.community import point_of, taught, vector_of
from tests.kit.streams import LAWFUL
from tests.kit.thorough import examples

RECORD = taught("logistic").version()


def published(until: int | None, seq: int, partition: int = 0) -> Published:
    """A ready version that has learnt until a time, in force from a position."""
    record = RECORD.model_copy(update={"learned_until": until, "version": f"v{until}-{seq}"})
    return Published(record, partition, seq)


@pytest.mark.parametrize(
    ("as_of", "seq", "chosen", "note"),
    [
        (100, 9, "v50-5", "ok"),  # the newest that is older than the point
        (50, 9, "v20-2", "ok"),  # strictly older: not the one that has learnt at the very time
        (51, 9, "v50-5", "ok"),
        (100, 4, "v20-2", "ok"),  # in force at its position only
        (20, 9, None, "insufficient_history"),  # none has ever been that old
        (100, 1, None, "insufficient_history"),
    ],
)
def test_the_version_for_a_point(as_of: int, seq: int, chosen: str | None, note: str) -> None:
    """Which of two versions may score, by as-of time and by position."""
    versions = Versions(keep=2)
    versions.hear([published(20, 2), published(50, 5)])
    model, said = versions.choose(as_of, 0, seq, one_partition=True)
    assert (model and model.version, said) == (chosen, note)


def test_where_no_kept_version_is_old_enough_the_note_says_so() -> None:
    """A point of a partition that lags behind finds only versions that know too much."""
    versions = Versions(keep=2)
    versions.hear([published(until, 0, partition=1) for until in (20, 50, 70)])
    assert versions.choose(30, 0, 9, one_partition=False) == (None, "no_version")
    versions.trim(9, one_partition=False)
    assert versions.choose(30, 0, 9, one_partition=False) == (None, "no_version")
    assert versions.choose(60, 0, 9, one_partition=False)[0] is not None


def test_what_a_lane_heard_beyond_a_points_own_position_does_not_score_it() -> None:
    """Within the point's partition a version counts from its position on; of another partition, once it is heard."""
    versions = Versions(keep=4)
    versions.hear([published(10, 3, partition=0), published(20, 8, partition=1), published(30, 9, partition=0)])
    chosen = [versions.choose(100, 0, seq, one_partition=False)[0] for seq in (2, 8, 9)]
    assert [model and model.version for model in chosen] == ["v20-8", "v20-8", "v30-9"]
    versions = Versions(keep=4)
    versions.hear([published(10, 3, partition=0)])
    assert versions.choose(100, 0, 2, one_partition=False) == (None, "insufficient_history")


def test_a_version_that_is_not_ready_is_chosen_but_says_so() -> None:
    """Too few positives: the newest old enough is named, with the note that it will not say."""
    versions = Versions(keep=2)
    fresh = RECORD.model_copy(update={"positives": 1, "learned_until": 20})
    versions.hear([Published(fresh, 0, 0)])
    model, note = versions.choose(100, 0, 9, one_partition=True)
    assert (model and model.version, note) == (RECORD.version, "insufficient_history")


def test_only_the_latest_versions_in_force_are_kept() -> None:
    """What no later point may choose is dropped; what is in force only later is not."""
    versions = Versions(keep=3)
    versions.hear([published(seq, seq) for seq in range(10)])
    versions.trim(6, one_partition=True)
    kept = [record["version"] for record, _, _ in versions.state()[1]]
    assert kept == [f"v{seq}-{seq}" for seq in range(4, 10)]
    assert versions.choose(100, 0, 6, one_partition=True)[0] is not None
    assert versions.choose(5, 0, 6, one_partition=True)[0] is not None
    assert versions.choose(4, 0, 6, one_partition=True) == (None, "no_version")


@settings(LAWFUL, max_examples=examples(100))
@given(
    untils=st.lists(st.integers(0, 30), min_size=1, max_size=12),
    points=st.lists(st.tuples(st.integers(0, 40), st.integers(0, 30)), max_size=12),
    keep=st.integers(1, 4),
)
def test_trimming_never_changes_what_a_later_point_chooses(
    untils: list[int],
    points: list[tuple[int, int]],
    keep: int,
) -> None:
    """With versions dropped after every point, choice and note are those of a lane that keeps everything."""
    news = [published(until, 2 * seq) for seq, until in enumerate(untils)]
    trimmed, whole = Versions(keep), Versions(keep)
    for versions in (trimmed, whole):
        versions.hear(news)
    for as_of, seq in sorted(points, key=lambda point: point[1]):
        got = trimmed.choose(as_of, 0, seq, one_partition=True)
        wanted = whole.choose(as_of, 0, seq, one_partition=True)
        assert (got[0] and got[0].version, got[1]) == (wanted[0] and wanted[0].version, wanted[1])
        trimmed.trim(seq, one_partition=True)


@settings(LAWFUL, max_examples=examples(150))
@given(
    news=st.lists(st.tuples(st.integers(0, 30), st.integers(0, 2), st.integers(0, 20)), max_size=10),
    points=st.lists(st.tuples(st.integers(0, 40), st.integers(0, 2), st.integers(0, 25)), min_size=1, max_size=12),
    keep=st.integers(1, 4),
    one_partition=st.booleans(),
)
def test_a_batch_of_points_chooses_what_each_point_would_choose_alone(
    news: list[tuple[int, int, int]],
    points: list[tuple[int, int, int]],
    keep: int,
    one_partition: bool,
) -> None:
    """The quick way through a batch, against one `choose` at a time: same versions, same notes, runs end to end."""
    versions = Versions(keep)
    points.sort(key=lambda row: row[2])
    if one_partition:
        points = [(as_of, 0, seq) for as_of, _, seq in points]
        news = sorted(((until, 0, seq) for until, _, seq in news), key=lambda row: row[2])
    versions.hear([published(until, seq, partition) for until, partition, seq in news])
    batch = Batch(
        [
            point_of(vector_of(), as_of=as_of)._replace(at=Position("events", partition, seq, seq))
            for as_of, partition, seq in points
        ]
    )
    wanted = [versions.choose(as_of, part, seq, one_partition=one_partition) for as_of, part, seq in points]
    runs = versions.choose_all(batch, one_partition=one_partition)
    assert [(run.model, run.note) for run in runs for _ in range(run.start, run.stop)] == wanted
    assert [run.start for run in runs] == [0, *(run.stop for run in runs[:-1])]
    assert runs[-1].stop == len(batch)
    alike = pairwise((run.model, run.note) for run in runs)
    assert all(one != other for one, other in alike)


def test_versions_survive_a_restart() -> None:
    """Restored from their state they choose as before, what was forgotten included."""
    versions, restored = Versions(keep=2), Versions(keep=2)
    versions.hear([published(seq * 10, seq) for seq in range(6)])
    versions.trim(5, one_partition=True)
    restored.restore(unpack(pack({"versions": versions.state()}, 1), 1, "lane")[1]["versions"])
    assert restored.state() == versions.state()
    for as_of in (5, 41, 51):
        got, wanted = (each.choose(as_of, 0, 9, one_partition=True) for each in (restored, versions))
        assert (got[0] and got[0].version, got[1]) == (wanted[0] and wanted[0].version, wanted[1])
