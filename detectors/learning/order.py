"""Training events in the order of the log, without those that have no effect."""

from __future__ import annotations

from detectors.base.log_clock import LogClock
from detectors.profiles.results import TrainingEvent


class InOrder:
    """Returns training events in the order of their dense positions within each partition."""

    def __init__(self, following: dict[int, int] | None = None, waiting: list[TrainingEvent] | None = None) -> None:
        self.following = {} if following is None else following
        self._waiting: dict[tuple[int, int], TrainingEvent] = {}
        for lesson in waiting or []:
            self._waiting[lesson.partition, lesson.seq] = lesson

    def take(self, lessons: list[TrainingEvent]) -> list[TrainingEvent]:
        """Return the training events whose predecessors in the partition have all arrived."""
        waiting, following = self._waiting, self.following
        if lessons and not waiting and (stretch := _stretch(lessons, following)) is not None:
            return stretch
        partitions = set()
        for lesson in lessons:
            waiting[lesson.partition, lesson.seq] = lesson
            partitions.add(lesson.partition)
        ready = []
        for partition in sorted(partitions):
            seq = following.get(partition, 0)
            while (lesson_due := waiting.pop((partition, seq), None)) is not None:
                ready.append(lesson_due)
                seq += 1
            following[partition] = seq
        return ready

    def begin_where_heard(self) -> None:
        """Skip the gap before buffered training events; nothing earlier can still arrive."""
        for partition, seq in sorted(self._waiting, reverse=True):
            self.following[partition] = seq

    @property
    def waiting(self) -> list[TrainingEvent]:
        """Return the training events that arrived early, in order."""
        return [self._waiting[key] for key in sorted(self._waiting)]


def pass_over(lessons: list[TrainingEvent], at: int, clock: LogClock, low: int, high: int) -> int:
    """Advance the clock; return the index, from `at` on, of the next training event that has an effect.

    A training event has an effect if it contains examples or an erasure, or moves the clock to `high` or later, or
    below `low` (ms). The clock has already advanced by the returned training event, and may do so again: a time seen
    twice changes nothing.
    """
    for place in range(at, len(lessons)):
        _, _, user_id, time, examples, erased, _, _ = lessons[place]
        if time >= 0:
            clock.advance(user_id, time)
            if erased or clock.now >= high or clock.now < low:
                return place
        if examples:
            return place
    return len(lessons)


def _stretch(lessons: list[TrainingEvent], following: dict[int, int]) -> list[TrainingEvent] | None:
    """Return the training events in order if they are the next of one partition without a gap, else None.

    This is the usual case. The partition's next position advances past them.
    """
    partition = lessons[0].partition
    first, many = following.get(partition, 0), len(lessons)
    stretch = lessons.copy()
    for lesson in lessons:
        place = lesson.seq - first
        if lesson.partition != partition or not 0 <= place < many:
            return None
        stretch[place] = lesson
    for place in range(many):
        if stretch[place].seq != first + place:  # one came twice, so another is missing
            return None
    following[partition] = first + many
    return stretch
