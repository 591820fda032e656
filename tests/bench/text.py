"""Messages scored per CPU second by a text model: `python -m tests.bench.text MODEL MESSAGES --text COLUMN`."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from dataflows.model_registry.text_model import load_text_model
from dataflows.sources.files.formats import open_rows
from dataflows.sources.files.rows import BadRow

REPEATS = 5


def main() -> None:
    """Score all messages a few times over, and print each time's figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("messages", type=Path)
    parser.add_argument("--text", required=True)
    arguments = parser.parse_args()
    scorer = load_text_model(arguments.model)
    rows = open_rows(arguments.messages, [arguments.text])
    place = list(rows.columns).index(arguments.text)
    texts = [str(row[place] or "") for row in rows if not isinstance(row, BadRow)]
    for _ in range(REPEATS):
        begin = time.process_time()
        scorer.score_many(texts)
        print(f"{len(texts):,} messages, {len(texts) / (time.process_time() - begin):,.0f} per CPU second")


if __name__ == "__main__":
    main()
