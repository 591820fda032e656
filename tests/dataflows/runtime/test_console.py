"""Nothing that comes from outside steers a terminal, forges a line, or cannot be printed."""

from __future__ import annotations

import io
import json
import logging
import os
import subprocess
import sys
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

import orjson
import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from dataflows.cli.common import tell
from dataflows.cli.main import main
from dataflows.runtime import console
from dataflows.runtime.escaping import printable, visible, visible_json
from schemas.errors import ExpectedError
from tests.kit.paths import ROOT

pytestmark = pytest.mark.slow

START = 1_704_067_200_000
HOSTILE = (
    "\x1b]0;owned\x07\x1b[2J",
    "\x1b[31mred\x1b[0m",
    "\x9b31m\x9dtitle\x9c",
    "line\nError: forged\r\n",
    "\x08\x7f\x00end",
    "\u202egnp.exe\u2066\u2069",
    "\u2028\u2029\ufeff\u200b\U000e0041",
    "[red]markup[/red][link=file:///etc]x[/link]",
    "zoë 日本 \N{MINUS SIGN}",
)
QUIET = ("ann", "bob", "cat", "dan")
"""Users of whom nothing is reported."""
POLICY = """
name = "hostile {odd}"
[target]
horizon = "24h"
when = [{{ event = "sanction", min_severity = 5 }}]
reset_after = "4h"
[learning]
publish_every = "1m"
min_positives = 1
challengers = []
[tiers]
watch = {{ enter = 0.3, leave = 0.2 }}
high = {{ enter = 0.6, leave = 0.5 }}
[rules]
report_burst = {{ tier = "high", limit = {limit} }}
"""


def hidden(text: str) -> list[str]:
    """The characters of a text that show nothing of their own, but for line breaks."""
    return sorted(
        {c for c in text if c != "\n" and unicodedata.category(c) in ("Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp")}
    )


def forewarn(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log in which hostile ids are reported and banned, and two policies that warn of them differently."""
    made = tmp_path_factory.mktemp("hostile")
    events: list[dict[str, Any]] = []
    for step in range(40):
        for index, user in enumerate((*HOSTILE, *QUIET)):
            time = START + (step * 240 + index) * 60_000
            one = {"event_id": f"{user}{step}", "event_time": time, "user_id": user}
            if user in HOSTILE and step in (10, 11, 12, 20, 21, 22):
                report = {"reporter_id": f"{user}reporter{step}"}
                events.append({"subject": "moderation_event", **one, "kind": "report", "report": report})
            elif user in HOSTILE and step in (15, 25):
                sanction = {"action": "ban", "severity": 5, "policy": user}
                events.append({"subject": "moderation_event", **one, "kind": "sanction", "sanction": sanction})
            else:
                events.append({"subject": "chat_message", **one, "channel": user})
    lines = [json.dumps(event) for event in events]
    (made / "log\x1b[7m.jsonl").write_text("\n".join(lines) + "\n")
    odd = json.dumps("\x1b[5m\u202e\u0085")[1:-1]
    (made / "before.toml").write_text(POLICY.format(odd=odd, limit=50))
    (made / "after.toml").write_text(POLICY.format(odd=odd, limit=2))
    for name in ("before", "after"):
        out = made / f"{name}\u202e\x1b[1m"
        result = forewarn(
            "replay", made / "log\x1b[7m.jsonl", "--policy", made / f"{name}.toml", "--out", out, "--top", 20
        )
        assert result.exit_code == 0, result.output
        (made / f"{name}.said").write_text(result.output)
    return made


COMMANDS: dict[str, Callable[[Path], list[object]]] = {
    "evaluate": lambda made: ["evaluate", made / "before\u202e\x1b[1m", "--no-boosting"],
    "evaluate as JSON": lambda made: ["evaluate", made / "before\u202e\x1b[1m", "--no-boosting", "--json"],
    "compare": lambda made: ["compare", made / "before\u202e\x1b[1m", made / "after\u202e\x1b[1m"],
    "compare as JSON": lambda made: ["compare", made / "before\u202e\x1b[1m", made / "after\u202e\x1b[1m", "--json"],
    "explain": lambda made: ["explain", HOSTILE[0], "--run", made / "after\u202e\x1b[1m"],
    "explain with the log": lambda made: [
        "explain",
        HOSTILE[6],
        "--run",
        made / "after\u202e\x1b[1m",
        "--log",
        made / "log\x1b[7m.jsonl",
    ],
    "explain as JSON": lambda made: ["explain", HOSTILE[3], "--run", made / "after\u202e\x1b[1m", "--json"],
    "explain nobody": lambda made: ["explain", HOSTILE[1] + "x", "--run", made / "after\u202e\x1b[1m"],
    "explain an event that is not there": lambda made: [
        "explain",
        HOSTILE[2],
        "--run",
        made / "after\u202e\x1b[1m",
        "--event",
        "\x1b[31m\nError: forged",
    ],
    "whatif": lambda made: [
        "whatif",
        "--run",
        made / "before\u202e\x1b[1m",
        "--policy",
        made / "lower.toml",
    ],
    "models": lambda made: ["models", "show", "--policy", made / "before.toml"],
    "a file that is not there": lambda made: [
        "replay",
        made / "no\x1b[2J\n.jsonl",
        "--policy",
        made / "before.toml",
        "--out",
        made / "x",
    ],
    "a directory that is not there": lambda made: ["evaluate", made / "no\x1b[2J\u202e\n"],
    "a directory that holds nothing": lambda made: ["evaluate", made],
    "no such command": lambda _: ["\x1b]0;owned\x07\n"],
    "no such option": lambda _: ["replay", "--\x1b[31m\n"],
    "a value of an option": lambda made: ["evaluate", made / "before\u202e\x1b[1m", "--where", "\x1b[31m\n=x"],
    "a policy": lambda made: ["models", "show", "--policy", made / "spoiled.toml"],
    "settings": lambda made: ["topics", "create", "--settings", made / "settings.toml"],
    "a mapping": lambda made: [
        "replay",
        made / "log\x1b[7m.jsonl",
        "--policy",
        made / "before.toml",
        "--out",
        made / "x",
        "--mapping",
        made / "mapping.toml",
    ],
    "a model": lambda made: [
        "models",
        "promote",
        "\x1b[31mbayes\n",
        "--policy",
        made / "before.toml",
        "--evidence",
        made / "before.toml",
    ],
}


@pytest.mark.parametrize("name", COMMANDS)
def test_whatever_a_command_prints_steers_no_terminal(folder: Path, name: str) -> None:
    """Ids, names of files, keys and values of policies, settings and mappings, on both streams."""
    (folder / "spoiled.toml").write_text('"\\u001b[31m\\n" = 1\n[rules]\n"\\u202ex" = {}\n')
    lower = (folder / "before.toml").read_text().replace("0.3", "0.01").replace("0.2", "0.01")
    (folder / "lower.toml").write_text(lower)
    (folder / "settings.toml").write_text('[kafka]\nbootstrap_servers = "x"\n"\\u001b[31m\\n" = 1\n')
    (folder / "mapping.toml").write_text('[[events]]\n"\\u001b[31m\\n" = 1\n')
    result = forewarn(*COMMANDS[name](folder))
    assert result.output
    assert hidden(result.output) == []
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert not any(line.startswith("Error: forged") for line in result.output.splitlines())


def test_a_replay_and_a_comparison_name_hostile_users_visibly(folder: Path) -> None:
    """Each on one line of its own, with every character that could do harm written out."""
    for said in ((folder / "after.said").read_text(), forewarn(*COMMANDS["compare"](folder)).output):
        assert hidden(said) == []
        shown = [user for user in HOSTILE if visible(user) in said]
        assert len(shown) >= 2, said
        for user in shown:
            assert sum(visible(user) in line for line in said.splitlines()) >= 1


def test_json_for_a_terminal_holds_the_same_values(folder: Path) -> None:
    """It is what `models promote` takes as evidence."""
    document = orjson.loads(forewarn(*COMMANDS["compare as JSON"](folder)).stdout)
    named = {one["user_id"] for ones in document["worth_reading"].values() for one in ones}
    assert named
    assert named <= set(HOSTILE)


@given(text=st.text(), encoding=st.sampled_from(["utf-8", "ascii", "latin-1", "cp1252", "shift_jis", "koi8-r"]))
def test_any_text_becomes_one_line_that_any_terminal_can_show(text: str, encoding: str) -> None:
    """Nothing hidden is left, and every character can be encoded."""
    shown = printable(visible(text), encoding)
    assert hidden(shown) == []
    assert "\n" not in shown
    shown.encode(encoding)
    assert visible(shown) == shown


@given(
    value=st.recursive(
        st.none() | st.text(st.characters(exclude_categories=["Cs"])),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner),
    ),
    encoding=st.sampled_from(["utf-8", "ascii", "latin-1"]),
)
def test_any_json_stays_the_same_document(value: Any, encoding: str) -> None:
    """Escaped for terminal and encoding alike."""
    text = visible_json(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode(), encoding)
    assert hidden(text) == []
    text.encode(encoding)
    assert json.loads(text) == value


class Terminal(io.TextIOWrapper):
    """A terminal that shows styles."""

    def __init__(self, encoding: str) -> None:
        super().__init__(io.BytesIO(), encoding=encoding)

    def isatty(self) -> bool:
        return True

    def shown(self) -> str:
        self.flush()
        assert isinstance(self.buffer, io.BytesIO)
        return self.buffer.getvalue().decode(self.encoding)


@pytest.mark.parametrize("columns", ["0", "1", "80", "-5", "many"])
def test_a_styled_line_is_printed_whole_whatever_the_terminal_says_of_its_width(
    monkeypatch: pytest.MonkeyPatch, columns: str
) -> None:
    """COLUMNS of 0 used to print nothing; markup in the text is text."""
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    terminal = Terminal("utf-8")
    monkeypatch.setattr(sys, "stdout", terminal)
    console.say("[red]a user[/red] who has\x1b[2J a long name " + "x" * 200, style="bold")
    assert terminal.shown() == "\x1b[1m[red]a user[/red] who has\\u001b[2J a long name " + "x" * 200 + "\x1b[0m\n"


@pytest.mark.parametrize("setting", [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_colours_are_left_out_where_they_are_not_wanted(
    monkeypatch: pytest.MonkeyPatch, setting: tuple[str, str]
) -> None:
    """Whoever sets NO_COLOR, or has a dumb terminal, reads no escape for a colour."""
    monkeypatch.setenv(*setting)
    terminal = Terminal("ascii")
    monkeypatch.setattr(sys, "stdout", terminal)
    console.say("zoë", style="red")
    assert "[31" not in terminal.shown()
    assert "zo\\xeb" in terminal.shown()


def test_a_bar_is_drawn_on_a_terminal_of_no_width(monkeypatch: pytest.MonkeyPatch) -> None:
    """And in any encoding."""
    monkeypatch.setenv("COLUMNS", "0")
    terminal = Terminal("ascii")
    monkeypatch.setattr(sys, "stderr", terminal)
    with console.progress("replaying", total=1.0) as advance:
        advance(0.5)
    assert "replaying" in terminal.shown()


def test_a_stream_that_is_not_there_is_no_obstacle(monkeypatch: pytest.MonkeyPatch) -> None:
    """As with `>&-`, when Python has none."""
    monkeypatch.setattr(sys, "stdout", None)
    console.say("nobody reads this")
    console.say_json({"nor": "this"})


def test_every_sentence_of_an_error_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    """And a line break within one is not."""
    tell(ExpectedError("first\nError: forged", "second").problems)
    assert capsys.readouterr().err == "Error: first\\u000aError: forged\nsecond\n"


def test_log_lines_and_tracebacks_are_made_visible_too(capsys: pytest.CaptureFixture[str]) -> None:
    """What went wrong may quote what came from outside."""
    record = logging.LogRecord("x", logging.WARNING, "", 1, "topic %s", ("\x1b[31m\n",), None)
    assert console.VisibleFormatter().format(record) == "topic \\u001b[31m\\u000a"
    with pytest.raises(ValueError, match="id") as caught:
        int("id \x1b[31m\u202e")
    console._tell_bug(caught.type, caught.value, caught.tb)
    said = capsys.readouterr().err
    assert said.startswith("Traceback (most recent call last):\n  File ")
    assert said.endswith("'id \\x1b[31m\\u202e'\n")
    assert hidden(said) == []


def _run(arguments: list[object], stdout: TextIO | int, **environment: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "dataflows.cli.main", *map(str, arguments)]
    root = ROOT
    return subprocess.run(
        command, cwd=root, env={**os.environ, **environment}, stdout=stdout, stderr=subprocess.PIPE, check=False
    )


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "ascii:strict", "shift_jis"])
def test_a_command_prints_in_any_encoding(folder: Path, encoding: str) -> None:
    """A minus sign and names of other scripts used to end it with a traceback, its work done."""
    done = _run(COMMANDS["compare"](folder), subprocess.PIPE, PYTHONIOENCODING=encoding)
    assert (done.returncode, done.stderr) == (0, b"")
    assert hidden(done.stdout.decode(encoding.partition(":")[0])) == []


def test_output_that_nobody_reads_any_more_is_no_error_to_speak_of(folder: Path) -> None:
    """`forewarn compare ... | head -1` ends without a word."""
    reading, writing = os.pipe()
    os.close(reading)
    done = _run(COMMANDS["compare"](folder), writing)
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the device that is always full")
def test_output_that_a_full_disk_does_not_take_is_told_in_a_sentence(folder: Path) -> None:
    """Once, without a traceback."""
    with Path("/dev/full").open("w") as full:
        done = _run(COMMANDS["compare"](folder), full)
    assert done.returncode == 1
    assert (
        done.stderr.decode()
        == "Error: Output cannot be written (No space left on device): make room, or send it elsewhere.\n"
    )
