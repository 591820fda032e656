"""The corpus: example records in `examples/`, each of which specifies one behaviour.

A file is named `<subject>.v<version>.<why>.pass.json` or `.fail.json`. It holds one object with these keys:

- `record` (an object), or `text` or `hex` for bytes that a JSON parser would not accept
- `received` in ms, for an input subject, if it matters
- `expect`, the reject reason; only in a failing example
- `mended`, the optional parts that are mended; only in a passing example

A passing example is decoded. It must come back unchanged through JSON, and through the Avro of every released version
from its own on. A failing example must be refused for the stated reason.
"""

from __future__ import annotations

import re
from io import BytesIO
from typing import Any, Literal, NamedTuple, cast, get_args

import orjson
from fastavro import schemaless_writer

from schemas.codec.framing import SINGLE_OBJECT
from schemas.codec.inputs import Codec
from schemas.codec.outputs import Decoder, encode_json
from schemas.records.base import Position, Raw, Record, Subject
from schemas.records.refusal import UnreadableError
from schemas.records.rejects import Reject, RejectReason
from schemas.released.catalogue import Catalogue

FILE_NAME = re.compile(
    r"(?P<subject>[a-z][a-z0-9_]*)\.v(?P<version>[1-9][0-9]*)\.(?P<why>[a-z0-9_]+)\.(?P<verdict>pass|fail)\.json"
)
_VALUES = {"record", "text", "hex"}
_KEYS = {"expect", "mended", "received"}


class Example(NamedTuple):
    """One file of the corpus. `expect` is None for a passing example; `mended` names the parts mended in it."""

    name: str
    subject: str
    version: int
    value: bytes
    received: int | None
    expect: RejectReason | None
    mended: frozenset[str] = frozenset()


def examples(catalogue: Catalogue) -> tuple[list[Example], list[str]]:
    """Return every example, and one sentence per file that is not a valid example."""
    found: list[Example] = []
    problems: list[str] = []
    try:
        entries = sorted(catalogue.root.joinpath("examples").iterdir(), key=lambda entry: entry.name)
    except OSError as error:
        return found, [f"the folder examples/ cannot be read: {type(error).__name__}."]
    for entry in entries:
        try:
            found.append(_example(entry.name, entry.read_bytes(), catalogue))
        except (AttributeError, OSError, TypeError, ValueError) as error:
            problems.append(f"examples/{entry.name} is no example: {error}.")
    return found, problems


def example_problems(example: Example, catalogue: Catalogue) -> list[str]:
    """Return one sentence per difference from what the example states; empty if there is none."""
    name = f"examples/{example.name}"
    read, mended = _read(example, catalogue)
    if isinstance(read, RejectReason):
        if example.expect is None:
            return [f"{name} is refused ({read.value}) and should pass."]
        return (
            [] if read is example.expect else [f"{name} is refused for {read.value}, not for {example.expect.value}."]
        )
    if example.expect is not None:
        return [f"{name} passes and should be refused for {example.expect.value}."]
    if mended != example.mended:
        return [f"{name} has {sorted(mended)} mended, not {sorted(example.mended)}."]
    written: dict[str, bytes | None] = {"JSON": encode_json(read)}
    for version in catalogue.versions(example.subject):
        if version >= example.version:
            written[f"the Avro of v{version}"] = _avro(read, example.subject, version, catalogue)
    decoder = Decoder(example.subject, catalogue=catalogue)
    return [
        f"{name} does not come back through {way}."
        for way, value in written.items()
        if value is None or _decoded(decoder, value) != read
    ]


def corpus_problems(catalogue: Catalogue) -> list[str]:
    """Return one sentence per invalid or wrong example, and per subject without both a passing and a failing one."""
    found, problems = examples(catalogue)
    for example in found:
        problems.extend(example_problems(example, catalogue))
    for subject in catalogue.subjects():
        verdicts = {example.expect is None for example in found if example.subject == subject}
        if verdicts != {True, False}:
            problems.append(f"{subject} needs at least one example that passes and one that fails.")
    return problems


def _example(name: str, content: bytes, catalogue: Catalogue) -> Example:
    match = FILE_NAME.fullmatch(name)
    if match is None:
        raise ValueError("it is not named <subject>.v<version>.<why>.pass.json or .fail.json")
    subject, version = match["subject"], int(match["version"])
    if subject not in catalogue.subjects() or version not in catalogue.versions(subject):
        raise ValueError(f"{subject} v{version} is not released")
    stated = orjson.loads(content)
    if not isinstance(stated, dict) or not stated.keys() <= _KEYS | _VALUES or len(stated.keys() & _VALUES) != 1:
        raise ValueError("it holds one of record, text and hex, and else only expect, mended and received")
    if ("expect" in stated) != (match["verdict"] == "fail"):
        raise ValueError("a failing example states what to expect, a passing one does not")
    return Example(
        name=name,
        subject=subject,
        version=version,
        value=_value(stated),
        received=stated.get("received"),
        expect=RejectReason(stated["expect"]) if "expect" in stated else None,
        mended=frozenset(stated.get("mended", ())),
    )


def _value(stated: dict[str, Any]) -> bytes:
    if "hex" in stated:
        return bytes.fromhex(stated["hex"])
    if "text" in stated:
        return cast("str", stated["text"]).encode()
    return orjson.dumps(stated["record"])


def _read(example: Example, catalogue: Catalogue) -> tuple[Record | RejectReason, frozenset[str]]:
    """Return the record, or the reason why there is none, and the parts mended in it.

    Input subjects are decoded by `Codec`, as in the dataflow; all others by `Decoder`.
    """
    if example.subject in get_args(Subject):
        subject = cast("Literal['chat_message', 'moderation_event']", example.subject)
        raw = Raw(subject, example.value, None, Position("corpus", 0, 0, 0), example.received)
        codec = Codec(catalogue=catalogue)
        event = codec.decode(raw)
        mended = frozenset(part.partition(".")[2] for part in codec.take_mended())
        return event.reason if isinstance(event, Reject) else event, mended
    return _decoded(Decoder(example.subject, catalogue=catalogue), example.value), frozenset()


def _decoded(decoder: Decoder, value: bytes) -> Record | RejectReason:
    try:
        return decoder.decode(value)
    except UnreadableError as error:
        return error.reason


def _avro(record: Record, subject: str, version: int, catalogue: Catalogue) -> bytes | None:
    """Return the record written with one schema version; None if that version cannot represent it."""
    stream = BytesIO()
    stream.write(SINGLE_OBJECT + catalogue.fingerprint(subject, version))
    try:
        schemaless_writer(stream, catalogue.schema(subject, version), record.model_dump(), disable_tuple_notation=True)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):  # fastavro has no error class
        return None
    return stream.getvalue()
