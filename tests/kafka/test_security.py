"""Every login Kafka knows, set up as an operator does; what is said when it fails; and no secret anywhere."""

from __future__ import annotations

import base64
import contextlib
import os
import re
import socket
import struct
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result
from confluent_kafka import Producer

import dataflows.kafka.topics
from dataflows.cli.main import main
from dataflows.config.settings import Settings, SettingsError, TopicSettings
from dataflows.runtime.exit_codes import ExitCode
from schemas.codec.outputs import Decoder
from tests.conftest import REQUIRE_VARIABLE
from tests.kit.kafka.base import LOOPBACK, NoBrokerError
from tests.kit.kafka.logs import read_back
from tests.kit.kafka.secure import OUTSIDER, SCOPE, SCRAM, USER, SecureBroker, find_secure_broker
from tests.kit.paths import ROOT

pytestmark = pytest.mark.kafka

POLICY = ROOT / "deploy/policies/example.toml"
EVENTS = 400
LOGINS = ("TLS", "mTLS", "PLAIN", *SCRAM, "OAUTHBEARER")
VERBOSE: dict[str, object] = {"debug": "all", "log_level": 7}
"""The most that can be had: librdkafka tells everything it does, on standard error."""
BOUND_SECONDS = 12.0
"""A login that fails is told sooner than a broker that does not answer."""


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureBroker]:
    """A broker with every kind of login; where none can be had it is skipped, or fails where one is demanded."""
    try:
        broker = find_secure_broker(tmp_path_factory.mktemp("secure"))
    except NoBrokerError as error:
        if os.environ.get(REQUIRE_VARIABLE) == "1":
            pytest.fail(str(error), pytrace=False)
        pytest.skip(str(error))
    try:
        broker.start()
        yield broker
    finally:
        broker.close()


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short simulated log in which somebody is reported often enough for a warning."""
    path = tmp_path_factory.mktemp("log") / "log.jsonl"
    arguments = ["simulate", "--events", str(EVENTS), "--users", "40", "--days", "4", "--seed", "3", "--out", str(path)]
    assert CliRunner().invoke(main, arguments, catch_exceptions=False).exit_code == 0
    return path


class Place:
    """A deployment's settings file and environment, what it printed, and all that must not be found in it."""

    def __init__(self, secure: SecureBroker, folder: Path, patch: pytest.MonkeyPatch, read: Callable[[], str]) -> None:
        self.secure, self.folder, self._patch, self._read = secure, folder, patch, read
        self.name = uuid.uuid4().hex[:8]
        self.topics = TopicSettings(**{key: f"{self.name}.{at}" for key, at in TopicSettings().model_dump().items()})
        self.file = folder / "settings.toml"
        self.registry_password = f"hush-{uuid.uuid4().hex}"
        self.environment: dict[str, str] = {}
        self._printed = ""

    @property
    def printed(self) -> str:
        """Everything printed so far, by Python and by librdkafka."""
        self._printed += self._read()
        return self._printed

    @property
    def secrets(self) -> dict[str, bytes]:
        """Every secret there is, in every form a login sends it in."""
        mine, found = self.secure, {}
        plain = {
            "password": mine.password,
            "key password": mine.key_password,
            "client secret": mine.client_secret,
            "registry password": self.registry_password,
        }
        for name, secret in plain.items():
            found[name] = secret.encode()
            for user in (USER, OUTSIDER):
                found[f"{name} as {user} sends it"] = base64.b64encode(f"{user}:{secret}".encode())
                found[f"{name} as {user} sends it for PLAIN"] = f"\0{user}\0{secret}".encode()
        return found

    def leaks(self, *places: bytes) -> list[str]:
        """Which secrets stand in one of the places, or in what was printed."""
        said = (self.printed.encode(), *places)
        return [name for name, secret in self.secrets.items() if any(secret in place for place in said)]

    def write(self, login: str, options: Mapping[str, object] | None = None, **changes: object) -> None:
        """Settings for a login, as an operator writes them, with `changes` to the `kafka` section (None: left out)."""
        mine, keys, variables = (
            self.secure,
            dict[str, object](),
            {"FOREWARN_REGISTRY__PASSWORD": self.registry_password},
        )
        keys |= {"group_id": self.name, "ssl_ca_file": mine.ours.ca, "delivery_timeout_ms": 10_000}
        options = {} if options is None else dict(options)
        if login in {"TLS", "mTLS"}:
            keys |= {"bootstrap_servers": mine.at[login.lower()], "security_protocol": "SSL"}
        else:
            keys |= {"bootstrap_servers": mine.at["sasl"], "security_protocol": "SASL_SSL"}
            keys |= {"sasl_mechanism": login, "username": USER}
        if login == "mTLS":
            keys |= {"ssl_cert_file": mine.certificate[0], "ssl_key_file": mine.certificate[1]}
            keys["ssl_key_password_file"] = self._secret("key", mine.key_password)
        elif login == "OAUTHBEARER":
            keys |= {"oauth_token_url": mine.tokens.url, "oauth_scope": SCOPE}
            variables["FOREWARN_KAFKA__PASSWORD"] = mine.client_secret
            options = {"https.ca.location": mine.ours.ca, **options}
        elif login in SCRAM:
            keys["password_file"] = self._secret("password", mine.password)
        elif login == "PLAIN":
            variables["FOREWARN_KAFKA__PASSWORD"] = mine.password
        for key, value in changes.items():
            if key == "password":
                variables["FOREWARN_KAFKA__PASSWORD"] = str(value)
                keys.pop("password_file", None)
            elif value is None:
                keys.pop(key)
            else:
                keys[key] = value
        self.file.write_text(
            _section("kafka", keys)
            + _section("kafka.options", options)
            + _section("topics", self.topics.model_dump())
            + _section("registry", {"url": f"mock://{self.name}", "username": USER})
            + _section("recovery", {"directory": self.folder / "recovery"}),
            encoding="utf-8",
        )
        self.set(variables)

    def set(self, variables: Mapping[str, str]) -> None:
        """Set these environment variables, and no others of ours."""
        for name in [name for name in os.environ if name.upper().startswith("FOREWARN_")]:
            self._patch.delenv(name)
        self.environment = dict(variables)
        for name, value in variables.items():
            self._patch.setenv(name, value)

    def forewarn(self, *arguments: object) -> Result:
        """Run a command in this process."""
        result = CliRunner().invoke(main, [str(argument) for argument in arguments], catch_exceptions=False)
        self._printed += result.output
        return result

    def done(self, *arguments: object) -> str:
        """Run a command that succeeds, with the settings file; what it printed."""
        result = self.forewarn(*arguments, "--settings", self.file)
        assert result.exit_code == 0, result.output
        return result.output

    def error(self, *arguments: object, code: ExitCode | None = None) -> str:
        """Run a command that fails, with the settings file; the one sentence it says."""
        begin = time.monotonic()
        result = self.forewarn(*arguments, "--settings", self.file)
        assert time.monotonic() - begin < BOUND_SECONDS
        assert result.exit_code == (mending(arguments) if code is None else code), result.output
        (line,) = result.output.strip().splitlines()
        assert "Traceback" not in self.printed
        assert line.startswith("Error: ")
        assert line.endswith(".")
        return line

    def kept(self) -> list[bytes]:
        """Everything that it left: its recovery directory, and the records of its topics."""
        files = [file.read_bytes() for file in (self.folder / "recovery").rglob("*") if file.is_file()]
        for topic in self.topics.model_dump().values():
            for message in read_back(self.secure.address, topic):
                headers: Any = message.headers() or ()
                files += [message.value() or b"", message.key() or b"", repr(headers).encode()]
        return files

    def _secret(self, name: str, secret: str) -> Path:
        path = self.folder / name
        path.write_text(f"{secret}\n", encoding="utf-8")
        return path


def _section(name: str, keys: Mapping[str, object]) -> str:
    lines = (f'"{key}" = {value if isinstance(value, int) else repr(str(value))}\n' for key, value in keys.items())
    return f"[{name}]\n{''.join(lines)}"


@pytest.fixture
def place(
    secure: SecureBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Place:
    """A deployment that nobody has started yet."""

    def read() -> str:
        out, err = capfd.readouterr()
        return out + err

    return Place(secure, tmp_path, monkeypatch, read)


@pytest.mark.parametrize("login", LOGINS)
def test_everything_runs_over_each_login_and_shows_no_secret(place: Place, log: Path, login: str) -> None:
    """Topics, log, warnings, and a dead letter sent again; with librdkafka telling all it can, no secret is told."""
    place.write(login, VERBOSE)
    issued = place.secure.tokens.issued
    assert place.done("topics", "create", "--partitions", 2, "--keep-inputs").count("created, ") == 7
    assert "0 rejects not sent" in place.done("produce", log)
    plain = Producer({"bootstrap.servers": place.secure.address})
    plain.produce(place.topics.chat_messages, b"{poison", partition=0, timestamp=1)
    assert plain.flush(10) == 0
    assert "published: risk_event" in place.done("run", "--policy", POLICY, "--until-end")
    assert "1 records sent again." in place.done("redrive", "--send")
    settings = Settings.load(place.file)
    events = [message.value() for message in read_back(place.secure.address, place.topics.risk_events)]
    decoder = Decoder("risk_event", settings.registry)
    assert all(decoder.decode(value).model_dump()["risk_event_id"] for value in events if value is not None)
    assert events
    assert (place.secure.tokens.issued > issued) == (login == "OAUTHBEARER")
    kept = place.kept()
    assert len(kept) > 3 * EVENTS
    assert place.leaks(*kept, repr(settings).encode(), str(settings).encode()) == []
    assert "SSL_HANDSHAKE" in place.printed  # it was told indeed


TLS_ADVICE = r"does not let forewarn in \(.*(certificate verify failed|alert bad certificate).*\): check ssl_ca_file, "
LOGIN_ADVICE = r"does not let forewarn in \(.*Authentication failed.*\): check sasl_mechanism, username and password\.$"
OAUTH_ADVICE = r"does not let forewarn in \(.*{}.*\): check oauth_token_url, username, password, oauth_scope, "
FILES_ADVICE = r"kafka .*: the TLS files do not open \(.*\), check ssl_ca_file, ssl_cert_file, ssl_key_file and the key"


class Wrong:
    """A login, what is wrong with it, and what the sentence says of that."""

    def __init__(self, login: str, says: str, **changes: Any) -> None:
        self.login, self.says, self.changes = login, says, changes

    def write(self, place: Place, options: Mapping[str, object] | None = None) -> None:
        """Settings with the mistake in them; a change that is a function is asked of the broker."""
        changes = {key: change(place.secure) if callable(change) else change for key, change in self.changes.items()}
        place.write(self.login, {**(options or {}), **changes.pop("options", {})}, **changes)


WRONG = {
    "password of PLAIN": Wrong("PLAIN", LOGIN_ADVICE, password=lambda made: made.client_secret),
    "password of SCRAM": Wrong("SCRAM-SHA-256", LOGIN_ADVICE, password=lambda made: made.key_password),
    "unknown user": Wrong("SCRAM-SHA-512", LOGIN_ADVICE, username="nobody"),
    "client secret": Wrong(
        "OAUTHBEARER", OAUTH_ADVICE.format(r"invalid_client.*\*\*\*"), password=lambda made: made.password
    ),
    "scope": Wrong("OAUTHBEARER", OAUTH_ADVICE.format("invalid_scope"), oauth_scope="nonsense"),
    "untrusted token endpoint": Wrong(
        "OAUTHBEARER", OAUTH_ADVICE.format("certificate"), options=lambda made: {"https.ca.location": made.strange.ca}
    ),
    "no token endpoint": Wrong(
        "OAUTHBEARER", OAUTH_ADVICE.format("connect"), oauth_token_url=f"https://{LOOPBACK}:1/token"
    ),
    "untrusted authority": Wrong("TLS", TLS_ADVICE, ssl_ca_file=lambda made: made.strange.ca),
    "another host name": Wrong(
        "TLS", TLS_ADVICE, bootstrap_servers=lambda made: made.at["tls"].replace(LOOPBACK, "localhost")
    ),
    "no client certificate": Wrong(
        "mTLS", TLS_ADVICE, ssl_cert_file=None, ssl_key_file=None, ssl_key_password_file=None
    ),
    "a stranger's client certificate": Wrong(
        "mTLS",
        TLS_ADVICE,
        ssl_cert_file=lambda made: made.strange.issue(USER)[0],
        ssl_key_file=lambda made: made.strange.issue(USER)[1],
    ),
    "no key password": Wrong("mTLS", FILES_ADVICE, ssl_key_password_file=None),
    "key of another certificate": Wrong("mTLS", FILES_ADVICE, ssl_key_file=lambda made: made.ours.issue("other")[1]),
    "authority that is no certificate": Wrong("TLS", FILES_ADVICE, ssl_ca_file=POLICY),
    "user without rights": Wrong("PLAIN", r"authorization failed.*that this user is allowed to\.$", username=OUTSIDER),
    "token without rights": Wrong(
        "OAUTHBEARER", r"authorization failed.*that this user is allowed to\.$", username=OUTSIDER
    ),
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG.keys())
def test_a_login_that_fails_is_told_in_one_sentence(place: Place, wrong: Wrong) -> None:
    """In bounded time, with what to check, and without a secret even where the other side answers with it."""
    wrong.write(place)
    assert re.search(wrong.says, place.error("run", "--policy", POLICY), re.IGNORECASE)
    assert place.leaks() == []


def test_a_cluster_with_a_wrong_password_is_told_so_without_a_recovery_directory(place: Place) -> None:
    """Before its processes start: they would fail one after the other, and start again."""
    WRONG["password of PLAIN"].write(place)
    place.file.write_text(place.file.read_text().partition("[recovery]")[0])
    said = place.error("run", "--policy", POLICY, "--processes", 2)
    assert re.search(WRONG["password of PLAIN"].says, said, re.IGNORECASE)


@pytest.fixture
def resetting() -> Iterator[str]:
    """The address of something that takes what it is told, and resets the connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(60)

        def answer() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    with connection:
                        connection.recv(1)
                        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

        thread = threading.Thread(target=answer)
        thread.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


@pytest.mark.parametrize("ends", ["as a broker does", "by a reset"])
def test_a_listener_that_speaks_no_tls_is_told_as_no_answer_with_what_was_heard_and_what_to_check(
    place: Place, monkeypatch: pytest.MonkeyPatch, resetting: str, ends: str
) -> None:
    """What may be a broker on its way down is waited for. On a busy machine a real one resets the connection too."""
    monkeypatch.setattr(dataflows.kafka.topics, "ANSWER_SECONDS", 1.0)
    address = resetting if ends == "by a reset" else place.secure.address
    place.write("TLS", bootstrap_servers=address)
    said = place.error("redrive", code=ExitCode.TRY_AGAIN)
    assert re.search(r"could not be looked at \(.*Timed out; .*in state SSL_HANDSHAKE", said), said
    assert f"check that Kafka runs at {address}, that its listener there speaks TLS (security_protocol) and" in said


SETTINGS = ("--settings", "{file}")
COMMANDS: dict[tuple[str, ...], tuple[str, ...]] = {
    ("simulate",): ("--kafka", "--events", "10", "--users", "20", *SETTINGS),
    ("replay",): ("{log}", "--policy", str(POLICY), "--out", "{folder}/replayed"),
    ("evaluate",): ("{folder}",),
    ("compare",): ("{folder}", "{folder}"),
    ("explain",): ("somebody", "--run", "{folder}"),
    ("whatif",): ("--run", "{folder}", "--policy", str(POLICY)),
    ("train-text",): ("{log}", "--text", "text", "--label", "kind", "--positive", "x", "--out", "{folder}/text.json"),
    ("models", "promote"): ("bayes", "--policy", str(POLICY), "--evidence", "{folder}/compared.json"),
    ("models", "rollback"): ("--policy", str(POLICY)),
    ("models", "show"): ("--policy", str(POLICY)),
    ("run",): ("--policy", str(POLICY), "--until-end", *SETTINGS),
    ("produce",): ("{log}", *SETTINGS),
    ("redrive",): ("--send", *SETTINGS),
    ("recovery", "accept"): SETTINGS,
    ("topics", "create"): ("--partitions", "2", *SETTINGS),
    ("schemas", "check"): (),
    ("topology",): (),
}
"""Every command, as it is used; a test sees to it that none is missing."""
NEEDING = {command for command, arguments in COMMANDS.items() if "{file}" in arguments}
"""Those that read the settings."""
WANTING = {
    *{("evaluate",), ("compare",), ("explain",), ("whatif",), ("train-text",)},
    *{("models", "promote"), ("models", "rollback")},
}
"""Those that find nothing to work on here, and say so."""


def mending(command: Sequence[object]) -> ExitCode:
    """What a command ends with where something has to be mended."""
    return ExitCode.MEND if command[0] == "run" else ExitCode.BUG


def _commands(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, command in group.commands.items():
        yield from _commands(command, (*path, name)) if isinstance(command, click.Group) else [(*path, name)]


def test_every_command_is_looked_at() -> None:
    """A new command has to be added to the table above."""
    assert set(_commands(main)) == set(COMMANDS)


def _arguments(command: tuple[str, ...], place: Place, log: Path) -> list[str]:
    given = (part.format(file=place.file, log=log, folder=place.folder) for part in COMMANDS[command])
    return [*command, *given]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_no_command_shows_a_secret_of_a_login_that_fails(place: Place, log: Path, command: tuple[str, ...]) -> None:
    """Wherever the login is refused, with librdkafka telling all it can and the broker saying no; or in the help."""
    (place.folder / "recovery").mkdir()  # or `recovery accept` has nothing to ask the broker for
    for wrong in ("password of PLAIN", "a stranger's client certificate"):
        WRONG[wrong].write(place, VERBOSE)
        result = place.forewarn(*_arguments(command, place, log))
        assert result.exit_code == (mending(command) if command in NEEDING | WANTING else 0), result.output
    assert place.forewarn(*command, "--help").exit_code == 0
    assert place.leaks() == []
    assert command not in NEEDING or "SSL_HANDSHAKE" in place.printed


AT = "[kafka]\nbootstrap_servers = 'x:1'\n"
REGISTRY = "[registry]\nurl = 'https://{0}registry.test'\nusername = 'u'\n"
TEXTS = {
    "written in the file": [AT, "password = '{0}'\nssl_key_password = '{0}'\n", REGISTRY, "password = '{0}'\n"],
    "misspelt in the file": [AT, "pasword = '{0}'\n[registry]\npass = '{0}'\n"],
    "under other keys": [AT, "security_protocol = '{0}'\nssl_ca_file = '{0}'\n[run]\nlanes = '{0}'\n"],
    "as the name of its file": [AT, "password_file = '{0}'\n"],
    "among the options": [AT, "[kafka.options]\n'sasl.password' = '{0}'\n"],
    "among the options, by a name of its own": [
        AT,
        "[kafka.options]\n'sasl.oauthbearer.assertion.private.key.passphrase' = '{0}'\n",
    ],
    "in the token endpoint's address": [AT, "oauth_token_url = 'https://u:{0}@login.test'\n"],
    "in the registry's address": [AT, REGISTRY.replace("{0}", "u:{0}@")],
    "in a file that is not TOML": ["[kafka]\npassword = {0}\n"],
}
"""Settings files with a secret where none belongs."""
VARIABLES = {
    "in a variable that is misspelt": {"FOREWARN_KAFKA__PASWORD": "{0}", "FOREWARN_KAFKAPASSWORD": "{0}"},
    "in a variable that is not JSON": {"FOREWARN_KAFKA": '"password": "{0}"'},
    "in a variable for options": {"FOREWARN_KAFKA__OPTIONS": '[["ssl.key.password", "{0}"]]'},
    "in a variable for another setting": {"FOREWARN_RUN__LANES": "{0}"},
}
"""Variables, likewise."""


@pytest.mark.parametrize("mistake", [*TEXTS, *VARIABLES])
def test_no_command_shows_a_secret_that_is_in_the_wrong_place(place: Place, log: Path, mistake: str) -> None:
    """Each of them says what is wrong with the settings; none says the secret, nor does the error's own text."""
    secret = place.secure.password
    place.file.write_text("".join(TEXTS.get(mistake, [AT])).format(secret), encoding="utf-8")
    place.set({name: value.format(secret) for name, value in VARIABLES.get(mistake, {}).items()})
    for command in NEEDING:
        result = place.forewarn(*_arguments(command, place, log))
        assert result.exit_code == mending(command), result.output
        assert "Error: " in result.output
    with pytest.raises(SettingsError) as caught:
        Settings.load(place.file)
    assert place.leaks(repr(caught.value).encode()) == []


BUG = """
import dataflows.kafka.topics
class Broken:
    def __init__(self, config):
        raise RuntimeError("a bug beside the configuration")
dataflows.kafka.topics.AdminClient = Broken
from dataflows.cli.main import main
main()
"""


def test_processes_of_their_own_show_no_secret_not_even_in_a_traceback(place: Place, log: Path) -> None:
    """As operators start them: with the login in the environment, what each prints, and what a bug would."""
    place.write("PLAIN", VERBOSE)
    place.file.write_text(re.sub(r"\[registry\][^\[]*", "", place.file.read_text()))  # a mock is one process's own
    del place.environment["FOREWARN_REGISTRY__PASSWORD"]
    place.set(place.environment)
    place.done("topics", "create", "--partitions", 2, "--keep-inputs")
    place.done("produce", log)
    ran = _process(["-m", "dataflows.cli.main", *_arguments(("run",), place, log)])
    assert ran.returncode == 0, ran.stdout[-2_000:]
    assert b"published: risk_event" in ran.stdout
    assert b"SSL_HANDSHAKE" in ran.stdout
    broken = _process(["-c", BUG, *_arguments(("topics", "create"), place, log)])
    assert b"Traceback" in broken.stdout
    assert place.leaks(ran.stdout, broken.stdout, *place.kept()) == []


def _process(arguments: list[str]) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, timeout=120)
