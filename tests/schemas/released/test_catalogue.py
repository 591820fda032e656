"""The catalogue finds what is released, from wherever the package was installed."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import avro.schema
import pytest

from schemas.released.catalogue import MODELS, Catalogue, CatalogueError, released
from tests.kit.paths import ROOT
from tests.kit.records import copy_of_released, release


def test_every_record_that_crosses_a_topic_has_a_released_schema() -> None:
    """And nothing else has one."""
    assert set(released().subjects()) == set(MODELS)


@pytest.mark.parametrize("subject", sorted(MODELS))
def test_fingerprints_are_those_of_the_reference_implementation(subject: str) -> None:
    """Single-object frames of ours are found by anybody who follows the Avro specification."""
    for version in released().versions(subject):
        reference = avro.schema.parse(released().text(subject, version)).fingerprint("CRC-64-AVRO")
        assert released().fingerprint(subject, version) == reference


def test_versions_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    """The tenth comes after the ninth."""
    folder = copy_of_released(tmp_path)
    schema = released().schema("moderation_event")
    for version in (10, 9, 2):
        content = {key: value for key, value in schema.items() if not key.startswith("__")}
        catalogue = release(folder, "moderation_event", version, content)
    assert catalogue.versions("moderation_event") == (1, 2, 9, 10)
    assert catalogue.latest("moderation_event") == 10


def test_the_catalogue_is_read_from_inside_an_archive(tmp_path: Path) -> None:
    """Only what every resource reader offers is used, never a path of this machine."""
    folder = copy_of_released(tmp_path / "plain")
    archive = tmp_path / "package.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        for file in folder.rglob("*"):
            packed.write(file, Path("schemas") / file.relative_to(folder))
    with zipfile.ZipFile(archive) as packed:
        catalogue = Catalogue(zipfile.Path(packed, "schemas/"))
        for subject in released().subjects():
            assert catalogue.schema(subject) == released().schema(subject)


def test_an_unknown_subject_is_answered_with_the_known_ones() -> None:
    """The sentence says what there is to choose from."""
    with pytest.raises(CatalogueError, match=r"'gossip'.*chat_message.*risk_event"):
        released().latest("gossip")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"{", "avro/moderation_event.v1.avsc is not JSON"),
        (b'{"type": "record"}', "avro/moderation_event.v1.avsc is not an Avro schema"),
        (b'"string"', "avro/moderation_event.v1.avsc is not a record"),
        (b"\xff", "avro/moderation_event.v1.avsc cannot be read"),
    ],
)
def test_a_file_that_is_no_schema_is_named(content: bytes, sentence: str, tmp_path: Path) -> None:
    """Whatever is wrong with it."""
    folder = copy_of_released(tmp_path)
    (folder / "avro" / "moderation_event.v1.avsc").write_bytes(content)
    with pytest.raises(CatalogueError, match=sentence):
        Catalogue(folder).schema("moderation_event")


def test_importing_the_package_opens_no_schema() -> None:
    """Nothing happens at import: no file of ours is read but Python's own, and no registry client is loaded."""
    program = (
        "import sys\n"
        "opened = []\n"
        "sys.addaudithook(lambda name, args: opened.append(str(args[0])) if name == 'open' else None)\n"
        "import schemas.codec.inputs, schemas.checks.check\n"
        "assert not [name for name in opened if name.endswith(('.avsc', '.json'))], opened\n"
        "assert 'confluent_kafka.schema_registry' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT)
