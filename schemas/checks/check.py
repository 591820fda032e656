"""Everything that must be true of the released schemas, checked in one go: what `forewarn schemas check` prints."""

from __future__ import annotations

from schemas.checks.agreement import agreement_problems
from schemas.checks.corpus import corpus_problems
from schemas.checks.lock import lock_problems
from schemas.released.catalogue import Catalogue, CatalogueError, released
from schemas.released.compat import transitive_problems
from schemas.released.datum import hazard


def check_all(catalogue: Catalogue | None = None) -> list[str]:
    """Problems as sentences; empty means good.

    The lock is checked first: where a released file changed or does not parse, nothing else is worth saying.
    """
    catalogue = released() if catalogue is None else catalogue
    problems = lock_problems(catalogue) + _parse_problems(catalogue)
    if problems:
        return problems
    return [*transitive_problems(catalogue), *agreement_problems(catalogue), *corpus_problems(catalogue)]


def _parse_problems(catalogue: Catalogue) -> list[str]:
    problems: list[str] = []
    for subject in catalogue.subjects():
        for version in catalogue.versions(subject):
            try:
                schema = catalogue.schema(subject, version)
            except CatalogueError as error:
                problems.append(f"{error}.")
                continue
            danger = hazard(schema, schema["__named_schemas"])
            if danger is not None:
                problems.append(f"avro/{subject}.v{version}.avsc is not safe to decode: {danger}.")
    return problems
