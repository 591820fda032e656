"""The lock on released files: a released schema never changes; a change needs a new version."""

from __future__ import annotations

from hashlib import sha256

import orjson

from schemas.released.catalogue import FILE_NAME, Catalogue


def lock_problems(catalogue: Catalogue) -> list[str]:
    """Return one sentence per released file that changed, is missing, is not locked or is misnamed.

    A subject whose versions have a gap gets a sentence too. The list is empty if there is no problem.
    """
    try:
        locked = orjson.loads(catalogue.root.joinpath("lock.json").read_bytes())
    except (OSError, orjson.JSONDecodeError) as error:
        return [f"lock.json cannot be read ({type(error).__name__}): restore it from the last release."]
    if not isinstance(locked, dict):
        return ["lock.json is not an object of file names and checksums: restore it from the last release."]
    problems: list[str] = []
    names = catalogue.file_names()
    for name in names:
        digest = sha256(catalogue.root.joinpath("avro", name).read_bytes()).hexdigest()
        if not FILE_NAME.fullmatch(name):
            problems.append(f"avro/{name} is not named <subject>.v<version>.avsc: rename or remove it.")
        elif name not in locked:
            problems.append(f'avro/{name} is not locked: to release it, add "{name}": "{digest}" to lock.json.')
        elif locked[name] != digest:
            problems.append(f"avro/{name} changed after its release: restore it, and make a new version instead.")
    problems.extend(
        f"avro/{name} is locked but gone: restore it, records written with it may still be read."
        for name in sorted(set(locked) - set(names))
    )
    for subject in catalogue.subjects():
        versions = catalogue.versions(subject)
        if versions != tuple(range(1, len(versions) + 1)):
            problems.append(f"{subject} has versions {list(versions)}: they count from 1 without gaps.")
    return problems
