"""Quality and cost of River's classifiers on the public logs: *River's models* in docs/lab-book/learning.md.

Quality is that of a replay of the log, or of its first rows, with all models as challengers of `bayes`. Versions are
published rarely, forewarn's own too, because copying a forest takes up to a second. Cost is CPU time for an event: that
of a replay of the first rows with one challenger, less that of the same replay without one.
"""

from __future__ import annotations

import csv
import gzip
import resource
import sys
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import click
import orjson
import tomlkit

from tools.studies.evaluate_logs import asked, log_of, replay

ROWS = {"wikipedia_bans": 40_000, "ubuntu_irc": 300_000, "conda": 25_000}
"""Rows of each log whose quality is measured, from its beginning."""
COST_ROWS = 20_000
"""Rows whose cost is measured, from the beginning of each log."""
CHAMPION = "bayes"
PUBLISH_EVERY = {"wikipedia_bans": "6h", "ubuntu_irc": "6h", "conda": "1d"}
"""The interval of versions on each log: a dozen matches on CONDA, whose clock the mapping makes up."""
OWN = ("logistic", "additive")
ADAGRAD = {"river": "optim.AdaGrad", "parameters": {"lr": 0.05}}
RIVER: dict[str, dict[str, Any]] = {
    "naive_bayes": {"river": "naive_bayes.GaussianNB"},
    "regression": {"river": "linear_model.LogisticRegression", "scale": True, "parameters": {"optimizer": ADAGRAD}},
    "adaptive_tree": {"river": "tree.HoeffdingAdaptiveTreeClassifier"},
    "mondrian": {"river": "forest.AMFClassifier", "parameters": {"n_estimators": 5, "max_nodes": 200}},
    "adaptive_forest": {"river": "forest.ARFClassifier", "parameters": {"n_models": 5}},
    "passive_aggressive": {"river": "linear_model.PAClassifier", "scale": True},
}
"""The six families of River's, by the name of the model; each may grow as it likes."""
BYTES = 100_000_000


class Measured(NamedTuple):
    """A replay's CPU time (s), number of events, and progressive quality by model."""

    seconds: float
    events: int
    quality: dict[str, Any]


def cut(log: Path, rows: int, out: Path) -> None:
    """Write the first rows of a gzipped CSV file."""
    with (
        gzip.open(log, "rt", newline="", encoding="utf-8") as file,
        gzip.open(out, "wt", newline="", encoding="utf-8") as short,
    ):
        csv.writer(short).writerows(islice(csv.reader(file), rows + 1))


def policy_with(name: str, challengers: Sequence[str]) -> str:
    """Return the text of a log's policy with these challengers."""
    document = tomlkit.parse(Path(f"deploy/policies/{name}.toml").read_text(encoding="utf-8")).unwrap()
    document["learning"] |= {
        "champion": CHAMPION,
        "challengers": list(challengers),
        "publish_every": PUBLISH_EVERY[name],
    }
    document["models"] = {name: {**RIVER[name], "max_bytes": BYTES} for name in challengers if name in RIVER}
    return tomlkit.dumps(document)


def measured(log: Path, name: str, challengers: Sequence[str], out: Path) -> Measured:
    """Replay a log with these challengers."""
    policy = out / "policy.toml"
    policy.write_text(policy_with(name, challengers), encoding="utf-8")
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    replay(log, name, str(policy), out / "run")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    summary = orjson.loads((out / "run" / "summary.json").read_bytes())
    models = summary["models"]
    quality = {model: models[model]["progressive"] for model in (CHAMPION, *models["challengers"])}
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Measured(seconds, sum(summary["events"].values()), quality)


def row(model: str, found: dict[str, Any], cost: str) -> str:
    """Return a row of a log's table."""
    words = f"{model} (`{RIVER[model]['river']}`)" if model in RIVER else f"`{model}`"
    points = f"{found['points']:,} | {found['positives']:,}"
    return f"| {words} | {points} | {_figure(found['roc_auc'])} | {_figure(found['average_precision'])} | {cost} |"


def _figure(value: float | None) -> str:
    return "none" if value is None else f"{value:.3f}"


def table(log: Path, name: str, out: Path) -> Iterator[str]:
    """Yield the lines of a log's table."""
    models = (*OWN, *RIVER)
    short = out / "short.csv.gz"
    cut(log, COST_ROWS, short)
    measured(short, name, (), out)  # not counted: it warms the file cache
    base = measured(short, name, (), out)
    costs = {}
    for model in models:
        found = measured(short, name, (model,), out)
        costs[model] = f"{(found.seconds - base.seconds) / found.events * 1e6:,.0f} µs"
    cut(log, ROWS[name], short)
    whole = measured(short, name, models, out)
    yield f"{name}, {whole.events:,} events; without a challenger, {base.seconds / base.events * 1e6:,.0f} µs an event"
    yield ""
    yield "| model | points | positives | AUC | AP | CPU, an event |"
    yield "|" + "---|" * 6
    yield row(CHAMPION, whole.quality[CHAMPION], "")
    for model in models:
        yield row(model, whole.quality[model], costs[model])


def main() -> int:
    """Measure every model on the requested logs that exist, and print a table of each; return 1 if none exists."""
    arguments = asked(__doc__, "out/river")
    for name in arguments.found:
        out = arguments.out / name
        out.mkdir(parents=True, exist_ok=True)
        click.echo("\n".join([*table(log_of(arguments.logs, name), name, out), ""]))
    return 0 if arguments.found else 1


if __name__ == "__main__":
    sys.exit(main())
