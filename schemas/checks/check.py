"""All checks of the released schemas, as run by `forewarn schemas check`."""

from __future__ import annotations

from schemas.checks.agreement import agreement_problems
from schemas.checks.corpus import corpus_problems
from schemas.checks.lock import lock_problems
from schemas.released.catalogue import Catalogue, CatalogueError, released
from schemas.released.compat import transitive_problems
from schemas.released.datum import hazard


def check_all(catalogue: Catalogue | None = None) -> list[str]:
    """Return the problems of all checks as sentences; empty if there are none.

    The lock and the parsing are checked first. If a released file changed or does not parse, the other checks are
    skipped.
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
