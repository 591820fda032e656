"""The catalogue of released schemas: subjects, their versions, the parsed Avro schemas and their fingerprints.

A *subject* is one kind of record (`chat_message`), a *version* one released file of it (`avro/chat_message.v1.avsc`).
Files are read on first use.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from types import MappingProxyType
from typing import Any

import fastavro
import orjson
from fastavro.schema import fingerprint as avro_fingerprint
from fastavro.schema import to_parsing_canonical_form

from schemas.errors import ExpectedError
from schemas.records.base import CHAT, MODERATION, Record
from schemas.records.decisions import FeatureRow, ModelVersion, RiskEvent
from schemas.records.events import ChatMessage, ModerationEvent
from schemas.records.rejects import Reject

AvroSchema = dict[str, Any]
"""A parsed record schema: every name in it is full and resolvable within it."""

MODELS: Mapping[str, type[Record]] = MappingProxyType(
    {
        CHAT: ChatMessage,
        MODERATION: ModerationEvent,
        "risk_event": RiskEvent,
        "feature_row": FeatureRow,
        "model_version": ModelVersion,
        "reject": Reject,
    }
)
"""Every subject and the record class that validates it."""

FILE_NAME = re.compile(r"(?P<subject>[a-z][a-z0-9_]*)\.v(?P<version>[1-9][0-9]*)\.avsc")


class CatalogueError(ExpectedError):
    """A released schema is missing or cannot be read; the sentence names it."""


class Catalogue:
    """The released schemas below one folder, which holds `avro/`, `examples/` and `lock.json`.

    Files are read once, on first use. Tests pass a folder of their own to check the effect of a change.
    """

    def __init__(self, root: Traversable) -> None:
        self.root = root
        self._versions: dict[str, tuple[int, ...]] | None = None
        self._parsed: dict[tuple[str, int], AvroSchema] = {}

    def file_names(self) -> list[str]:
        """Return the names of all files in `avro/`, sorted.

        Raises:
            CatalogueError: if the folder cannot be read.
        """
        try:
            return sorted(entry.name for entry in self.root.joinpath("avro").iterdir() if entry.is_file())
        except OSError as error:
            raise CatalogueError(f"the folder avro/ cannot be read: {type(error).__name__}") from error

    def subjects(self) -> tuple[str, ...]:
        """Return the subjects with at least one released version, sorted."""
        return tuple(sorted(self._all_versions()))

    def versions(self, subject: str) -> tuple[int, ...]:
        """Return the released versions of a subject, oldest first.

        Raises:
            CatalogueError: if there is none.
        """
        found = self._all_versions().get(subject)
        if not found:
            raise CatalogueError(f"no schema is released for the subject {subject!r}: know {list(self.subjects())}")
        return found

    def latest(self, subject: str) -> int:
        """Return the newest released version of a subject: records are written with it, and read into it."""
        return self.versions(subject)[-1]

    def text(self, subject: str, version: int) -> str:
        """Return the text of a released file.

        Raises:
            CatalogueError: if it cannot be read.
        """
        name = f"{subject}.v{version}.avsc"
        try:
            return self.root.joinpath("avro", name).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise CatalogueError(f"avro/{name} cannot be read: {type(error).__name__}") from error

    def schema(self, subject: str, version: int | None = None) -> AvroSchema:
        """Return one parsed version, by default the latest.

        Raises:
            CatalogueError: if there is none, or if it is not the Avro schema of a record.
        """
        key = (subject, self.latest(subject) if version is None else version)
        if key not in self._parsed:
            name = f"avro/{subject}.v{key[1]}.avsc"
            try:
                parsed = fastavro.parse_schema(orjson.loads(self.text(*key)))
            except orjson.JSONDecodeError as error:
                raise CatalogueError(f"{name} is not JSON: {error}") from error
            except Exception as error:
                raise CatalogueError(f"{name} is not an Avro schema: {type(error).__name__}: {error}") from error
            if not isinstance(parsed, dict) or parsed.get("type") != "record":
                raise CatalogueError(f"{name} is not a record: every subject is one")
            self._parsed[key] = parsed
        return self._parsed[key]

    def fingerprint(self, subject: str, version: int) -> bytes:
        """Return the CRC-64-AVRO fingerprint used in single-object encoding, 8 bytes, little-endian."""
        return fingerprint(self.schema(subject, version))

    def fingerprints(self, subject: str) -> dict[bytes, int]:
        """Return the version by fingerprint, for every version of a subject."""
        return {self.fingerprint(subject, version): version for version in self.versions(subject)}

    def _all_versions(self) -> dict[str, tuple[int, ...]]:
        if self._versions is None:
            found: dict[str, list[int]] = {}
            for name in self.file_names():
                match = FILE_NAME.fullmatch(name)
                if match:
                    found.setdefault(match["subject"], []).append(int(match["version"]))
            self._versions = {subject: tuple(sorted(versions)) for subject, versions in found.items()}
        return self._versions


def fingerprint(schema: AvroSchema) -> bytes:
    """Return the CRC-64-AVRO of a schema's parsing canonical form, 8 bytes, little-endian (Avro specification 1.12)."""
    return bytes.fromhex(avro_fingerprint(to_parsing_canonical_form(schema), "CRC-64-AVRO"))


@cache
def released() -> Catalogue:
    """Return the schemas released with this distribution."""
    return Catalogue(files("schemas"))
