"""Text that people write: a byte order mark is ignored wherever it is read, and another encoding is named."""

from __future__ import annotations

from codecs import BOM_UTF8
from collections.abc import Callable
from pathlib import Path

import numpy as np
import orjson
import pytest

from dataflows.config.kafka import with_secret
from dataflows.config.policy import PolicyError, load_policy
from dataflows.config.settings import Settings, SettingsError
from dataflows.mapping.errors import MappingError
from dataflows.mapping.mapping import LogMapping
from dataflows.model_registry.promote import changed_champion, edited
from dataflows.model_registry.promotion_check import PromotionError, weigh
from dataflows.model_registry.text_model import load_text_model
from dataflows.replay.replay import load_model
from dataflows.runtime import text_files
from dataflows.runtime.text_files import TextError, decode_text, read_text
from dataflows.sources.files.log import LogError, read_log
from dataflows.testing import hand_made_model, small_policy
from detectors.text.ngrams import BITS
from detectors.text.scorer import TextScorer
from schemas.codec.outputs import encode_json
from schemas.records.base import Raw
from tests.kit.kafka.secure import Authority
from tests.kit.paths import ROOT

POLICY = (ROOT / "deploy" / "policies" / "example.toml").read_bytes()
MAPPING = b"""name = "tiny"
[time]
column = "time"
format = "iso"
[[event]]
kind = "message"
user = { column = "user" }
channel = "main"
"""
SETTINGS = b"[kafka]\nbootstrap_servers = 'localhost:1'\n"
ROWS = {
    "log.csv": b"time,user\n2024-01-01,ann\n2024-01-02,bob\n",
    "log.tsv": b"time\tuser\n2024-01-01\tann\n2024-01-02\tbob\n",
    "log.jsonl": b'{"time":"2024-01-01","user":"ann"}\n{"time":"2024-01-02","user":"bob"}\n',
}


def _file(folder: Path, name: str, data: bytes) -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def _secret(path: Path) -> str:
    secret: str = with_secret({"password_file": str(path)}, "password")["password"]
    return secret


def _log(path: Path) -> list[tuple[bytes | None, object]]:
    mapping = LogMapping.model_validate(
        {
            "name": "tiny",
            "time": {"column": "time", "format": "iso"},
            "event": [{"kind": "message", "user": {"column": "user"}, "channel": "main"}],
        }
    )
    return [(item.key, item.value) for item in read_log(path, mapping) if isinstance(item, Raw)]


READERS: list[tuple[str, bytes, Callable[[Path], object], type[Exception]]] = [
    ("policy.toml", POLICY, load_policy, PolicyError),
    ("mapping.toml", MAPPING, LogMapping.load, MappingError),
    ("settings.toml", SETTINGS, Settings.load, SettingsError),
    ("secret", b"s3cret\n", _secret, ValueError),
    *((name, data, _log, LogError) for name, data in ROWS.items()),
]


@pytest.mark.parametrize(("name", "data", "read", "_error"), READERS)
def test_a_byte_order_mark_changes_nothing(
    tmp_path: Path, name: str, data: bytes, read: Callable[[Path], object], _error: type[Exception]
) -> None:
    """Policy, mapping, settings, secrets and the rows of logs: with the mark they read as without it."""
    without = read(_file(tmp_path, name, data))
    assert without
    assert read(_file(tmp_path, name, BOM_UTF8 + data)) == without


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
@pytest.mark.parametrize(("name", "data", "read", "error"), READERS)
def test_another_unicode_encoding_is_named(
    tmp_path: Path, name: str, data: bytes, read: Callable[[Path], object], error: type[Exception], encoding: str
) -> None:
    """As Windows' editors and shells save text: one sentence that says what it is and what to do."""
    path = _file(tmp_path, name, ("\ufeff" + data.decode()).encode(encoding))
    with pytest.raises(error, match=rf"{encoding[:6].upper()}.*save .* as UTF-8") as caught:
        read(path)
    assert "s3cret" not in str(caught.value)


def test_lines_of_joined_files_may_each_begin_with_a_mark(tmp_path: Path) -> None:
    """As when files that each have one were joined."""
    lines = ROWS["log.jsonl"].splitlines(keepends=True)
    assert len(_log(_file(tmp_path, "log.jsonl", BOM_UTF8 + lines[0] + BOM_UTF8 + lines[1]))) == 2
    header, *rows = ROWS["log.csv"].splitlines(keepends=True)
    joined = BOM_UTF8 + header + BOM_UTF8 + rows[1].replace(b"2024-01-02", b"2024-01-03")
    assert [key for key, _ in _log(_file(tmp_path, "log.csv", joined))] == [b"bob"]


def test_text_that_is_not_utf8_or_never_ends_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sentence says what is wrong; nothing of the text is in it."""
    with pytest.raises(TextError, match="is not UTF-8: save it as UTF-8 text"):
        decode_text(b"caf\xe9")
    monkeypatch.setattr(text_files, "LARGEST", 10)
    with pytest.raises(TextError, match="is larger than 10 bytes: name the right file"):
        read_text(_file(tmp_path, "large", b"x" * 11))
    assert read_text(_file(tmp_path, "fits", b"x" * 10)) == "x" * 10


def test_documents_that_commands_wrote_may_have_gained_a_mark(tmp_path: Path) -> None:
    """As when an editor saved a model, or a shell redirected a comparison: it is read, or its encoding is named."""
    text = orjson.dumps(TextScorer(np.zeros(1 << BITS, np.float32), 0.0, messages=1, positives=0).document())
    assert load_text_model(_file(tmp_path, "text.json", BOM_UTF8 + text)).document() == orjson.loads(text)
    policy = load_policy(_file(tmp_path, "policy.toml", POLICY))
    version = encode_json(hand_made_model(0.5))
    assert load_model(_file(tmp_path, "model.json", BOM_UTF8 + version), small_policy()) == hand_made_model(0.5)
    evidence = _file(tmp_path, "evidence.json", "\ufeff{}".encode("utf-16-le"))
    with pytest.raises(PromotionError, match=r"evidence\.json: is UTF-16: save it as UTF-8 text\."):
        weigh(evidence, policy, policy, "roc_auc")
    with pytest.raises(PromotionError, match="not what `forewarn compare"):
        weigh(_file(tmp_path, "evidence.json", BOM_UTF8 + b"{}"), policy, policy, "roc_auc")


def test_a_policy_with_a_mark_can_be_edited(tmp_path: Path) -> None:
    """A promotion changes the champion in place."""
    path = _file(tmp_path, "policy.toml", BOM_UTF8 + POLICY)
    policy = load_policy(path)
    wanted = changed_champion(policy, policy.learning.challengers[0])
    assert "champion" in edited(read_text(path), policy, wanted)


def test_certificates_and_keys_may_have_a_mark(tmp_path: Path) -> None:
    """OpenSSL skips it; settings that name such files load."""
    authority = Authority(tmp_path, "ours")
    cert, key = authority.issue("client")
    lines = ["[kafka]", "bootstrap_servers = 'localhost:1'", "security_protocol = 'SSL'"]
    for name, path in (("ssl_ca_file", authority.ca), ("ssl_cert_file", cert), ("ssl_key_file", key)):
        path.write_bytes(BOM_UTF8 + path.read_bytes())
        lines.append(f"{name} = '{path}'")
    assert Settings.load(_file(tmp_path, "settings.toml", "\n".join(lines).encode())).kafka.ssl_key_file == key
