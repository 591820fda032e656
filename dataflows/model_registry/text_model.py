"""Text models as JSON files."""

from __future__ import annotations

from pathlib import Path

import orjson

from dataflows.runtime.atomic import write_whole
from dataflows.runtime.text_files import decode_text
from detectors.text.scorer import TextScorer
from schemas.errors import ExpectedError

ADVICE = "take one that `forewarn train-text` wrote"


class TextModelError(ExpectedError, ValueError):
    """A text model that cannot be written or used; the text is one sentence with the file and what to do."""


def save_text_model(scorer: TextScorer, path: Path) -> None:
    """Write a text model as JSON, atomically.

    Raises:
        TextModelError: if it cannot be written.
    """
    data = orjson.dumps(scorer.document(), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, data)
    except OSError as error:
        raise TextModelError(f"{path}: cannot be written ({error.strerror}): choose another --out") from None


def load_text_model(path: Path) -> TextScorer:
    """Return the text model in a file.

    Raises:
        TextModelError: if the file cannot be read, contains no text model, or one that this version cannot use.
    """
    try:
        return TextScorer.of(orjson.loads(decode_text(path.read_bytes())))
    except OSError as error:
        raise TextModelError(f"{path}: cannot be read ({error.strerror}); {ADVICE}.") from None
    except orjson.JSONDecodeError:
        raise TextModelError(f"{path}: is no text model; {ADVICE}.") from None
    except ValueError as error:
        raise TextModelError(f"{path}: {error}; {ADVICE}.") from None
