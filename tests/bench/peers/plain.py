"""The job with a consumer and a producer and nothing else: what a careful engineer writes without a framework.

A restart goes on from the committed offsets with empty memory: profiles and model are gone. That is what a framework
is for, and what it costs is to be seen beside this.
"""

from __future__ import annotations

import gc

from tests.bench.peers.checks import InvalidError, decode
from tests.bench.peers.job import Job
from tests.bench.peers.kafka import Inputs, Output, place, report


def main() -> None:
    """Read both topics to their end."""
    where = place()
    gc.set_threshold(100_000, 20, 20)  # as forewarn does: nothing here makes cycles
    job, output = Job(), Output(where)
    for batch in Inputs(where).batches():
        for subject, time, value in batch:
            try:
                event = decode(subject, value, time)
            except InvalidError:
                job.counts["invalid"] += 1
                continue
            answer = job.handle(subject, event)
            if answer is not None:
                output.send(answer)
    output.finish()
    report(**job.counts, examples=job.model.examples, positives=job.model.positives)


if __name__ == "__main__":
    main()
