"""Settings: the file, the environment over it, and the sentences wrong ones are answered with."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer

from dataflows.config.settings import Settings, SettingsError, kafka_client_config

SECRET = "correct-horse-battery"  # noqa: S105 - the secret that must never show


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings of whoever runs the tests do not reach them."""
    for name in list(os.environ):
        if name.upper().startswith("FOREWARN_"):
            monkeypatch.delenv(name)


def _file(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "forewarn.toml"
    path.write_text(text, encoding="utf-8")
    return path


def _problems(path: Path | None) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as caught:
        Settings.load(path)
    assert SECRET not in str(caught.value)
    assert str(caught.value).splitlines() == list(caught.value.problems)
    return caught.value.problems


WRONG = "(from FILE) cannot be used:"
MINIMAL = '[kafka]\nbootstrap_servers = "127.0.0.1:9092"\n'


def test_one_address_is_all_that_must_be_said(tmp_path: Path) -> None:
    """Everything but the broker's address has a default, and the defaults are the documented ones."""
    settings = Settings.load(_file(tmp_path, MINIMAL))
    assert settings.kafka.bootstrap_servers == "127.0.0.1:9092"
    assert settings.kafka.queued_max_kbytes == 16_384
    assert settings.topics.model_dump() == {
        "chat_messages": "chat.messages",
        "moderation_events": "moderation.events",
        "risk_events": "risk.events",
        "risk_models": "risk.models",
        "risk_features": "risk.features",
        "dead_letters": "risk.dead-letters",
        "late": "risk.late",
    }
    assert settings.registry is None
    assert (settings.recovery.directory, settings.recovery.epoch_interval_seconds) == (None, 3)
    assert (settings.recovery.partitions, settings.run.batch_size, settings.run.lanes) == (4, 1_000, 8)


def test_the_environment_wins_over_the_file_key_by_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable replaces its own key and leaves the rest of the section as the file has it."""
    monkeypatch.setenv("FOREWARN_RUN__LANES", "4")
    settings = Settings.load(_file(tmp_path, MINIMAL + "[run]\nlanes = 8\nbatch_size = 77\n"))
    assert (settings.run.lanes, settings.run.batch_size) == (4, 77)


def test_the_environment_alone_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """A container needs no settings file; options come as JSON, and an empty variable is one that is not set."""
    monkeypatch.setenv("FOREWARN_KAFKA__BOOTSTRAP_SERVERS", "127.0.0.1:1")
    monkeypatch.setenv("FOREWARN_KAFKA__OPTIONS", '{"fetch.min.bytes": 10}')
    monkeypatch.setenv("FOREWARN_RECOVERY__DIRECTORY", "state")
    monkeypatch.setenv("FOREWARN_RUN__METRICS_PORT", "")
    settings = Settings.load(None)
    assert settings.kafka.options == {"fetch.min.bytes": 10}
    assert settings.recovery.directory == Path("state")
    assert settings.run.metrics_port is None


def test_variables_that_steer_the_test_suite_are_not_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test run's own variables do not make the settings it loads wrong."""
    monkeypatch.setenv("FOREWARN_KAFKA__BOOTSTRAP_SERVERS", "127.0.0.1:1")
    monkeypatch.setenv("FOREWARN_TEST_KAFKA", "127.0.0.1:9092")
    monkeypatch.setenv("FOREWARN_REQUIRE_KAFKA", "1")
    assert Settings.load(None).kafka.bootstrap_servers == "127.0.0.1:1"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "[run]\nlanes = 1\n",
            "kafka.bootstrap_servers (settable as FOREWARN_KAFKA__BOOTSTRAP_SERVERS) is missing: set it.",
        ),
        (
            MINIMAL + "bootstrap_server = 'x'\n",
            "kafka.bootstrap_server (from FILE) is not a setting: did you mean kafka.bootstrap_servers?",
        ),
        (MINIMAL + "[topic]\nlate = 'x'\n", "topic (from FILE) is not a setting: did you mean topics?"),
        (
            MINIMAL + "[registry]\nurl = 'mock://x'\nuser = 'x'\n",
            "registry.user (from FILE) is not a setting: did you mean registry.username?",
        ),
        (
            MINIMAL + "[paths]\nxyzzy = 'x'\n",
            "paths.xyzzy (from FILE) is not a setting: known here: policy.",
        ),
        (
            MINIMAL + "[run]\nlanes = 0\n",
            f"run.lanes {WRONG} input should be greater than 0.",
        ),
        (
            MINIMAL + "[topics]\nlate = 'a'\nrisk_events = 'a'\n",
            f"topics {WRONG} a is named more than once, give every topic a name of its own.",
        ),
        (
            MINIMAL + "[kafka.options]\n'acks' = 1\n",
            f"kafka.options {WRONG} acks may not be changed because delivery rests on it, remove it.",
        ),
        (
            MINIMAL + f"[kafka.options]\n'sasl.password' = '{SECRET}'\n",
            (
                f"kafka.options {WRONG} sasl.password would hold a secret, use the password and key file "
                "settings instead."
            ),
        ),
        (
            MINIMAL + "[kafka.options]\n'group.id' = 'x'\n",
            f"kafka.options {WRONG} group.id has a setting of its own, use kafka.group_id instead.",
        ),
        (
            MINIMAL + f"[kafka.options]\n'fetch.min.byte' = '{SECRET}'\n",
            (f"kafka.options {WRONG} librdkafka refuses the option fetch.min.byte, check its name and value."),
        ),
        (
            MINIMAL + f"password = '{SECRET}'\n",
            (
                "kafka.password is written in FILE, where anyone who reads the file sees it: remove it and set "
                "FOREWARN_KAFKA__PASSWORD or kafka.password_file instead."
            ),
        ),
        (
            MINIMAL + "password_file = 'nowhere'\n",
            (f"kafka {WRONG} password_file cannot be read, make it a readable text file that holds the secret."),
        ),
        (
            MINIMAL + "security_protocol = 'SASL_SSL'\nsasl_mechanism = 'PLAIN'\nusername = 'x'\n",
            f"kafka {WRONG} SASL_SSL needs sasl_mechanism, username and a password (or password_file).",
        ),
        (
            MINIMAL + "sasl_mechanism = 'PLAIN'\n",
            (f"kafka {WRONG} sasl_mechanism works only with SASL_PLAINTEXT or SASL_SSL, change security_protocol."),
        ),
        (
            MINIMAL + "ssl_ca_file = 'nowhere.pem'\n",
            f"kafka.ssl_ca_file {WRONG} path does not point to a file.",
        ),
        ("[kafka\n", "The settings file FILE is not TOML (at line 1, column 7): correct it there."),
    ],
)
def test_each_mistake_in_the_file_is_answered_in_one_sentence(tmp_path: Path, text: str, problem: str) -> None:
    """What is wrong, where, and what to do, without the value that was given."""
    path = _file(tmp_path, text)
    assert _problems(path) == (problem.replace("FILE", str(path)),)


def test_every_mistake_is_told_at_once(tmp_path: Path) -> None:
    """Two mistakes in two sections are two sentences, so that nobody corrects them one run at a time."""
    problems = _problems(_file(tmp_path, MINIMAL + "[run]\nlanes = -1\n[recovery]\npartitions = 'many'\n"))
    assert [problem.split(" ")[0] for problem in problems] == ["recovery.partitions", "run.lanes"]


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    """A settings file that is not there is named."""
    path = tmp_path / "none.toml"
    assert _problems(path) == (f"The settings file {path} cannot be read (No such file or directory): check its name.",)


@pytest.mark.parametrize(
    ("variable", "value", "problem"),
    [
        (
            "FOREWARN_KAFAK__USERNAME",
            "x",
            "The environment variable FOREWARN_KAFAK__USERNAME is not a setting: did you mean FOREWARN_KAFKA?",
        ),
        (
            "FOREWARN_RUN__LANE",
            "3",
            "run.lane (from the environment variable FOREWARN_RUN__LANE) is not a setting: did you mean run.lanes?",
        ),
        (
            "FOREWARN_RUN__LANES",
            SECRET,
            (
                "run.lanes (from the environment variable FOREWARN_RUN__LANES) cannot be used: "
                "input should be a valid integer, unable to parse string as an integer."
            ),
        ),
        (
            "FOREWARN_RUN",
            SECRET,
            "An environment variable for a section or for kafka.options is not JSON: correct it.",
        ),
    ],
)
def test_each_mistake_in_the_environment_names_the_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, problem: str
) -> None:
    """A typing error in a variable's name is no less an error than one in the file."""
    monkeypatch.setenv(variable, value)
    assert _problems(_file(tmp_path, MINIMAL)) == (problem,)


LOGIN = MINIMAL + "security_protocol = 'SASL_PLAINTEXT'\nsasl_mechanism = 'SCRAM-SHA-512'\nusername = 'flow'\n"


def test_secrets_come_from_the_environment_or_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways reach librdkafka alike; the newline at the end of a secret's file is not part of the secret."""
    (tmp_path / "secret").write_text(SECRET + "\n", encoding="utf-8")
    from_file = Settings.load(_file(tmp_path, LOGIN + f"password_file = '{tmp_path / 'secret'}'\n"))
    monkeypatch.setenv("FOREWARN_KAFKA__PASSWORD", SECRET)
    from_variable = Settings.load(_file(tmp_path, LOGIN))
    for settings in (from_file, from_variable):
        assert kafka_client_config(settings.kafka)["sasl.password"] == SECRET
    assert _problems(_file(tmp_path, LOGIN + f"password_file = '{tmp_path / 'secret'}'\n"))[0].endswith(
        "password and password_file are both set, keep one."
    )


def test_the_registrys_password_may_stand_in_a_file_too(tmp_path: Path) -> None:
    """The registry's section takes `password_file` though its own model knows no files."""
    (tmp_path / "secret").write_text(SECRET, encoding="utf-8")
    text = MINIMAL + f"[registry]\nurl = 'https://r.test'\nusername = 'u'\npassword_file = '{tmp_path / 'secret'}'\n"
    registry = Settings.load(_file(tmp_path, text)).registry
    assert registry is not None
    assert registry.password is not None
    assert registry.password.get_secret_value() == SECRET


def test_secrets_never_show_when_settings_are_printed_or_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither repr, str nor a log line of the settings holds a secret."""
    monkeypatch.setenv("FOREWARN_KAFKA__PASSWORD", SECRET)
    monkeypatch.setenv("FOREWARN_KAFKA__SSL_KEY_PASSWORD", SECRET)
    settings = Settings.load(_file(tmp_path, LOGIN))
    with caplog.at_level(logging.DEBUG):
        logging.getLogger("test").info("settings %s %r", settings, settings)
    assert SECRET not in repr(settings) + str(settings) + caplog.text + settings.model_dump_json()


@pytest.mark.parametrize(
    ("protocol", "mechanism"),
    [
        ("PLAINTEXT", None),
        ("SSL", None),
        ("SASL_SSL", "PLAIN"),
        ("SASL_PLAINTEXT", "SCRAM-SHA-256"),
        ("SASL_SSL", "SCRAM-SHA-512"),
        ("SASL_SSL", "OAUTHBEARER"),
    ],
)
def test_librdkafka_accepts_the_configuration_of_every_login(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, protocol: str, mechanism: str | None
) -> None:
    """Producers and consumers can be built from each protocol and mechanism, with an option of one's own added."""
    text = f"[kafka]\nbootstrap_servers = '127.0.0.1:1'\nsecurity_protocol = '{protocol}'\n"
    if mechanism is not None:
        monkeypatch.setenv("FOREWARN_KAFKA__PASSWORD", SECRET)
        text += f"sasl_mechanism = '{mechanism}'\nusername = 'flow'\n"
        text += "oauth_token_url = 'http://127.0.0.1:1/token'\n" if mechanism == "OAUTHBEARER" else ""
    text += "[kafka.options]\n'socket.nagle.disable' = true\n'reconnect.backoff.max.ms' = 500\n"
    config = kafka_client_config(Settings.load(_file(tmp_path, text)).kafka)
    assert config["security.protocol"] == protocol
    assert config["socket.nagle.disable"] is True
    Producer({**config, "log_level": 0})
    Consumer({**config, "log_level": 0, "group.id": "x"}).close()
