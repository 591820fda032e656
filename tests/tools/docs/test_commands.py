from __future__ import annotations

from pathlib import Path

import click
import pytest

from tools.docs.commands import invocations, undocumented_commands, unknown_commands, usage_error


@click.group()
@click.option("--loud", is_flag=True)
def cli(*, loud: bool) -> None: ...


@cli.command("replay")
@click.argument("log")
@click.option("--out", required=True)
@click.option("--workers", type=int)
def _replay(log: str, out: str, workers: int) -> None: ...


@cli.group("topics")
def _topics() -> None: ...


@_topics.command("create")
def _create() -> None: ...


@cli.command("inner", hidden=True)
def _inner() -> None: ...


@pytest.mark.parametrize(
    "words",
    [
        "replay log --out x",
        "--loud replay --out=x --workers 2 log",
        "topics create",
        "replay --help",
        "--help",
    ],
)
def test_a_right_call_has_no_fault(words: str) -> None:
    """Options may stand anywhere, and help needs nothing else."""
    assert usage_error(cli, words.split()) is None


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        ("repaly log --out x", "has no command 'repaly'"),
        ("replay log --out x --wrokers 2", "--wrokers"),
        ("replay log --out", "--out"),
        ("replay log", "needs '--out'"),
        ("replay --out x", "needs 'LOG'"),
        ("replay log more --out x", "takes no argument 'more'"),
        ("topics", "needs one of its commands"),
        ("topics drop", "has no command 'drop'"),
        ("", "needs one of its commands"),
    ],
)
def test_a_wrong_call_is_told_what_is_wrong(words: str, fault: str) -> None:
    """Misspelt commands and options, missing and superfluous ones."""
    assert fault in str(usage_error(cli, words.split()))


def test_commands_are_found_behind_prompts_only() -> None:
    """Continued lines are one command, pipelines are several, output and other languages are none."""
    text = """
```console
$ A=1 forewarn replay log \\
    --out x > log.txt  # a comment
forewarn is printed here
$ make demo && forewarn topology | head -3
```

```text
$ forewarn nothing
```
"""
    assert [(" ".join(words), line) for words, line in invocations(text)] == [
        ("forewarn replay log --out x", 3),
        ("make demo", 6),
        ("forewarn topology", 6),
        ("head -3", 6),
    ]


def test_a_document_with_commands_that_do_not_exist_is_reported(tmp_path: Path) -> None:
    """Both of forewarn and of make; every problem has its own line, other programs are not looked at."""
    (tmp_path / "Makefile").write_text("demo: ready ## show\n\t@true\n")
    (tmp_path / "README.md").write_text(
        "```console\n$ make demo\n$ make tea\n$ forewarn replay log --out x\n$ forewarn fly\n$ ls --nothing\n```\n",
    )
    problems = list(unknown_commands(tmp_path, ["README.md"], cli))
    assert [problem.line for problem in problems] == [3, 5]
    assert "'tea'" in problems[0].sentence
    assert "'fly'" in problems[1].sentence


def test_a_command_nobody_mentions_is_reported(tmp_path: Path) -> None:
    """Groups and hidden commands need no mention; a longer word is none."""
    (tmp_path / "README.md").write_text("`forewarn replays` and `forewarn topics create`\n")
    (problem,) = undocumented_commands(tmp_path, ["README.md"], cli)
    assert "'forewarn replay'" in problem.sentence
