"""Replays a log through the dataflow and writes the outputs in the order of the log."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from dataflows.detect import FlowOptions, Sinks, build_flow
from dataflows.model_registry.version_file import ReplayError, load_model
from dataflows.operators.profile import Late
from dataflows.replay.summary import summarise
from dataflows.reports import write_report
from dataflows.reports.drawing import why_undrawn
from dataflows.runtime.atomic import BusyError, written_together
from dataflows.runtime.engine import run_flow
from dataflows.runtime.telemetry import Telemetry
from dataflows.sinks.jsonl import JsonlSink
from dataflows.sinks.memory import MemorySink
from dataflows.sinks.parquet import FeatureTable, write_table
from dataflows.sources.files.log import LogError, LogSource
from detectors.features.catalogue import NAMES
from detectors.models.catalogue import freeze
from detectors.models.river.trial import refusals
from detectors.policy.policy import Policy
from detectors.profiles.results import Outcome, cause_of
from detectors.scoring.shard import ModelUpdate, Publication
from detectors.text.scorer import TextScorer
from evaluation.run_directory import POLICY
from schemas.codec.inputs import EARLIEST_TIME, Codec
from schemas.codec.outputs import encode_json
from schemas.records.decisions import ModelVersion, RiskEvent
from schemas.records.rejects import Reject

__all__ = ["ReplayError", "Replayed", "load_model", "replay"]

SUMMARY = "summary.json"
"""The file that is moved into place last: without it, no other file of the run is read."""
REPORT = "report.html"
EVALUATION = ("evaluation.json", "evaluation.html")
"""Files that `forewarn evaluate` writes into the run directory."""
INDENTED = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
Keyed = tuple[str, Publication]
"""A user id and a publication, keyed as in the flow."""


@dataclass(frozen=True)
class Replayed:
    """The summary of a replay and the path of its report, None if none was asked for."""

    summary: dict[str, Any]
    report: Path | None
    undrawn: str | None = None
    """The reason why the report has no pictures; None if it has them."""


def replay(
    source: LogSource,
    policy: Policy,
    out: Path,
    *,
    log_name: str,
    model: ModelVersion | None = None,
    text: TextScorer | None = None,
    workers: int = 1,
    partitions: int = 1,
    report: bool = True,
    on_stage: Callable[[str], None] = lambda _stage: None,
) -> Replayed:
    """Run the dataflow over a log and write its outputs into the directory `out`, all of them or none.

    Files of an earlier replay in `out` are replaced, and its evaluation is removed. Channel state is kept as in a run
    over `partitions` source partitions. Without `report` no report is drawn, and one of an earlier replay is removed.
    `on_stage` is called with the name of each stage after the dataflow.

    Raises:
        ReplayError: if the directory cannot be written, another process is writing there, or a River model cannot run.
        LogError: if the log turns out to be damaged; then nothing is written.
    """
    if model is None and (problems := refusals(policy, live=False)):
        raise ReplayError(*problems)
    begun, undrawn = False, None
    try:
        with written_together(out, SUMMARY, gone=EVALUATION if report else (*EVALUATION, REPORT)) as folder:
            begun = True
            summary = _replayed(
                source,
                policy,
                folder,
                log_name=log_name,
                model=model,
                text=text,
                workers=workers,
                partitions=partitions,
                on_stage=on_stage,
            )
            if report:
                on_stage("drawing the report")
                write_report(folder)
                undrawn = why_undrawn(folder)
    except BusyError:
        raise ReplayError(f"{out}: another forewarn is writing there; wait for it, or choose another --out.") from None
    except OSError as error:
        if not begun:
            raise ReplayError(f"{out}: cannot be made ({error.strerror}); choose another directory.") from None
        raise ReplayError(
            f"{out}: cannot be written ({error.strerror or error}), and what was there is as it was; make room, or "
            "choose another --out."
        ) from None
    return Replayed(summary, out / REPORT if report else None, undrawn)


def _replayed(
    source: LogSource,
    policy: Policy,
    out: Path,
    *,
    log_name: str,
    model: ModelVersion | None,
    text: TextScorer | None,
    workers: int,
    partitions: int,
    on_stage: Callable[[str], None],
) -> dict[str, Any]:
    """Replay into an empty directory and return the summary."""
    (out / "models").mkdir()
    risk = JsonlSink[Keyed](out / "risk-events.jsonl", _render_publication, lambda item: item[1].at.seq)
    rejects = JsonlSink[Reject](out / "rejects.jsonl", _render_record, lambda item: item.seq)
    late = JsonlSink[Late](out / "late.jsonl", _render_late, lambda item: item.at.seq)
    features, models = FeatureTable(NAMES), _UpdateSink()
    outcomes = JsonlSink[Outcome](
        out / "outcomes.jsonl",
        lambda item: _render_outcome(item, features.record_of(item.at)),
        lambda item: item.at.seq,
    )
    telemetry = Telemetry()
    flow = build_flow(
        source,
        Sinks(risk=risk, features=features, models=models, rejects=rejects, late=late, outcomes=outcomes),
        policy,
        Codec(earliest_ms=EARLIEST_TIME),
        FlowOptions(
            telemetry=telemetry,
            lanes=workers,  # a file is one partition, so more lanes than workers would only cut its batches up
            pinned=None if model is None else freeze(model),
            one_partition=True,
            as_partitions=partitions,
            text=text,
        ),
    )
    damage: list[LogError] = []
    source.on_damage = damage.append
    run_flow(flow, workers)
    if damage:
        raise damage[0]
    on_stage("writing the outputs")
    for sink in (risk, rejects, late, outcomes):
        sink.finish()
    challengers = policy.learning.challengers if model is None else ()
    served, shadow = features.table(challengers)
    write_table(served, out / "features.parquet")
    write_table(shadow, out / "shadow.parquet")
    versions = _write_models(models.items, model, out / "models")
    summary = summarise(
        log_name=log_name,
        policy=policy,
        telemetry=telemetry,
        served=served,
        shadow=shadow,
        places=features.places,
        offsets=features.offsets,
        publications=sorted((item for _, item in risk.items), key=lambda item: item.at.seq),
        outcomes=sorted(outcomes.items, key=lambda item: item.at.seq),
        versions=versions,
        pinned=model is not None,
    )
    (out / POLICY).write_bytes(orjson.dumps(policy.model_dump(mode="json"), option=INDENTED))
    (out / SUMMARY).write_bytes(orjson.dumps(summary, option=INDENTED))
    return summary


class _UpdateSink(MemorySink[ModelUpdate]):
    """Sink that stores model updates without the trained objects of River models, which a log has thousands of."""

    def keep(self, items: list[ModelUpdate]) -> None:
        """Store a batch."""
        for item in items:
            super().keep([item._replace(published=[one._replace(trained=None) for one in item.published])])


def _write_models(updates: list[ModelUpdate], pinned: ModelVersion | None, folder: Path) -> dict[str, ModelVersion]:
    """Write all versions to `versions.jsonl`, in the order they came into force, and each model's last to its own file.

    Return the last versions by model name.
    """
    published = [item for update in updates for item in update.published]
    published.sort(key=lambda item: (item.seq, item.version.name))
    records = [item.version for item in published] + ([] if pinned is None else [pinned])
    with (folder / "versions.jsonl").open("wb") as file:
        file.writelines(encode_json(record) + b"\n" for record in records)
    last = {record.name: record for record in records}
    for record in last.values():
        (folder / f"{record.name}.json").write_bytes(encode_json(record) + b"\n")
    return last


def _render_record(record: Reject) -> dict[str, Any]:
    document: dict[str, Any] = orjson.loads(encode_json(record))
    return document


def _render_publication(item: Keyed) -> dict[str, Any]:
    event = item[1].event
    document: dict[str, Any] = orjson.loads(encode_json(event))
    if not isinstance(event, RiskEvent):
        document["tombstone"] = True
    return {**document, "seq": item[1].at.seq}


def _render_late(item: Late) -> dict[str, Any]:
    document: dict[str, Any] = orjson.loads(encode_json(item.event))
    return {"topic": item.at.topic, "partition": item.at.partition, "offset": item.at.offset, "event": document}


def _render_outcome(item: Outcome, record: int) -> dict[str, Any]:
    """Return an outcome as written; an escalation and the outcome that overturns it have the same `cause`."""
    return {
        "user_id": item.user_id,
        "as_of": item.as_of,
        "kind": item.kind,
        "offset": item.at.offset,
        "seq": item.at.seq,
        "record_seq": record,
        "cause": cause_of(item),
        "escalated_at": item.escalated_at,
        "escalated_seq": item.escalated_seq,
    }
