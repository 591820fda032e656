"""Execution of a flow on the engine in this process, with the settings common to all kinds of runs."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path

from bytewax.dataflow import Dataflow
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.testing import cluster_main, run_main

from dataflows.config.settings import engine_apart

_run_main: Callable[..., None] = run_main  # the engine's native functions have no types
_cluster_main: Callable[..., None] = cluster_main
_init_db_dir: Callable[..., None] = init_db_dir
_recovery_config: Callable[..., RecoveryConfig] = RecoveryConfig

NO_EPOCHS = timedelta(days=365)
"""Epoch interval of a run without recovery, where nothing may depend on the end of an epoch."""
FEW = 1_000_000
"""Allocations between garbage collections.

Python's default of 700 spends a sixth of the time traversing tuples, and 100,000 a tenth of a run with many users. Our
code creates no reference cycles, which are all that a collection would free.
"""


def run_flow(
    flow: Dataflow,
    workers: int = 1,
    *,
    epoch: timedelta = NO_EPOCHS,
    recovery: RecoveryConfig | None = None,
    process: int = 0,
    addresses: Sequence[str] = (),
) -> None:
    """Run a flow to its end on this process's worker threads, or as number `process` of the processes at `addresses`.

    If a single worker fails, the engine prints a stack trace in addition to raising the error. An error that can be
    foreseen should therefore end a source and be raised after the run.
    """
    before = gc.get_threshold()
    gc.set_threshold(FEW, 20, 20)
    try:
        with engine_apart():
            if workers == 1 and not addresses:
                _run_main(flow, epoch_interval=epoch, recovery_config=recovery)
            else:
                _cluster_main(
                    flow,
                    list(addresses),
                    process,
                    epoch_interval=epoch,
                    recovery_config=recovery,
                    worker_count_per_proc=workers,
                )
    finally:
        gc.set_threshold(*before)


def open_recovery(directory: Path, partitions: int) -> RecoveryConfig:
    """Return the recovery store in a directory; create it with this permanent number of partitions if there is none."""
    directory.mkdir(parents=True, exist_ok=True)
    if not any(directory.glob("part-*.sqlite3")):
        _init_db_dir(directory, partitions)
    return _recovery_config(str(directory))
