"""Commands start where little is there: no disk to write to, no home, foreign variables, as the first process."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path

import bytewax.operators as op
import pytest
from bytewax.dataflow import Dataflow
from bytewax.testing import TestingSink, TestingSource

from dataflows.cli.main import PLACES, main
from dataflows.live.run import _draining
from dataflows.reports import drawing
from dataflows.runtime.atomic import UNFINISHED
from dataflows.runtime.engine import run_flow
from evaluation.runs import EvaluationError, read_outputs
from tests.kit.paths import ROOT

pytestmark = pytest.mark.slow

POLICY = ROOT / "deploy" / "policies" / "example.toml"
BARE = {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent"}
NAMESPACES = (
    os.geteuid() == 0
    and shutil.which("unshare") is not None
    and subprocess.run(["unshare", "-m", "--pid", "--fork", "true"], capture_output=True, check=False).returncode == 0
)
needs_namespaces = pytest.mark.skipif(not NAMESPACES, reason="takes root, and a kernel that lets it unshare")

LOADED = """
import sys
from dataflows.cli.main import main
names = sys.argv[1].split()
try:
    main(sys.argv[2:])
except SystemExit as end:
    assert not end.code, end.code
print("loaded:", *[name for name in names if name in sys.modules])
"""
LIBRARIES = (
    "matplotlib",
    "sklearn",
    "scipy",
    "pyarrow",
    "river",
    "bytewax",
    "confluent_kafka",
    "pydantic",
    "rich",
    "duckdb",
)


def run(
    *arguments: object, environment: Mapping[str, str] = BARE, cwd: Path = ROOT, **more: object
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "dataflows.cli.main", *map(str, arguments)]
    path = {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", **environment}
    return subprocess.run(command, cwd=cwd, env=path, capture_output=True, text=True, check=False, **more)  # type: ignore[call-overload,no-any-return]


def loaded(*arguments: str) -> set[str]:
    """Which of the large libraries a command loads."""
    command = [sys.executable, "-c", LOADED, " ".join(LIBRARIES), *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].removeprefix("loaded:").split())


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small log to replay."""
    path = tmp_path_factory.mktemp("log") / "log.jsonl"
    assert run("simulate", "--events", 1_500, "--users", 40, "--seed", 3, "--out", path).returncode == 0
    return path


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def clean(log: Path) -> dict[str, bytes]:
    """What a replay writes where nothing is odd."""
    out = log.parent / "clean"
    assert run("replay", log, "--policy", POLICY, "--out", out).returncode == 0
    return files(out)


@pytest.mark.parametrize(
    ("arguments", "needed"),
    [
        (("--version",), {"pydantic"}),
        (("--help",), set()),
        (("simulate", "--help"), {"pydantic", "confluent_kafka", "pyarrow"}),
        (("topics", "create", "--help"), {"pydantic", "confluent_kafka"}),
        (("replay", "--help"), {"pydantic", "confluent_kafka", "bytewax", "pyarrow"}),
        (("evaluate", "--help"), {"pydantic", "confluent_kafka", "bytewax", "pyarrow", "rich"}),
        (("run", "--help"), {"pydantic", "confluent_kafka", "bytewax"}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_command_loads_no_library_that_it_does_not_need(arguments: tuple[str, ...], needed: set[str]) -> None:
    """Each loads its own only, and none loads River or scikit-learn to start."""
    assert loaded(*arguments) - {"bytewax"} <= needed


def test_no_command_loads_matplotlib_before_it_draws() -> None:
    """It needs a disk to start, and obeys variables and files that others set."""
    code = (
        "import sys; from dataflows.cli.main import main; [one.name for one in main.commands.values()];"
        "print('matplotlib' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_a_listing_says_of_each_command_what_the_command_says_of_itself() -> None:
    """The listing is written without loading the commands."""
    for name, entry in PLACES.items():
        text = " ".join((main.commands[name].help or "").split())
        assert text.startswith(entry.summary), name


HOSTILE = {
    **BARE,
    "MPLBACKEND": "module://matplotlib_inline.backend_inline",
    "MPLCONFIGDIR": "/nonexistent/matplotlib",
    "COLUMNS": "0",
    "LINES": "0",
    "NO_COLOR": "1",
    "TERM": "dumb",
    "LANG": "C",
    "LC_ALL": "POSIX",
    "PYTHONIOENCODING": "ascii",
    "PYTHONWARNINGS": "error",
    "PYTHONHASHSEED": "17",
    "OMP_NUM_THREADS": "1",
    "BYTEWAX_DATAFLOW_API_ENABLED": "0",
    "TMPDIR": "/nonexistent",
    "TZ": "Pacific/Auckland",
}


def test_variables_and_files_that_others_set_change_nothing_that_is_written(
    log: Path, clean: dict[str, bytes], tmp_path: Path
) -> None:
    """Every file is the same to the byte, pictures included, and nothing is said of them."""
    (tmp_path / "matplotlibrc").write_bytes(b"font.size: 40\nbackend: \xff\nsvg.fonttype: path\n")
    (tmp_path / "rc").write_text("axes.facecolor: red\nbackend: TkAgg\n")
    environment = {**HOSTILE, "MATPLOTLIBRC": str(tmp_path / "rc"), "XDG_CONFIG_HOME": str(tmp_path)}
    out = tmp_path / "out"
    done = run("replay", log, "--policy", POLICY, "--out", out, environment=environment, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert files(out) == clean
    assert sorted(path.name for path in tmp_path.iterdir()) == ["matplotlibrc", "out", "rc"]


READ_ONLY = """
mount --make-rprivate /
mount -t tmpfs none {kept}
mount -o remount,ro,bind / 2>/dev/null || mount -o remount,ro /
for place in /tmp /var/tmp /dev/shm; do mountpoint -q $place && mount -o remount,ro,bind $place; done
touch /tmp/written 2>/dev/null && exit 99
exec "$@"
"""


def read_only(kept: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a command where nothing can be written but in a directory, which is empty at first and gone at the end."""
    command = ["unshare", "-m", "bash", "-c", READ_ONLY.format(kept=kept), "-", *map(str, arguments)]
    environment = {**BARE, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


@needs_namespaces
@pytest.mark.parametrize("arguments", [("--version",), ("run", "--help"), ("topology",)], ids=" ".join)
def test_a_command_works_where_nothing_can_be_written(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """As in a read-only container, for a user without a home."""
    done = read_only(tmp_path, sys.executable, "-m", "dataflows.cli.main", *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout


@needs_namespaces
def test_a_replay_writes_into_the_only_place_that_takes_it_pictures_too(
    log: Path, clean: dict[str, bytes], tmp_path: Path
) -> None:
    """Matplotlib starts in the directory of the outputs, and leaves nothing there."""
    out = tmp_path / "out"
    python = [sys.executable, "-m", "dataflows.cli.main"]
    script = f"set -e; {' '.join(python)} replay {log} --policy {POLICY} --out {out}; cd {out}; find . -type f | sort; "
    done = read_only(tmp_path, "bash", "-c", f"{script} sha256sum report.html; ls -A")
    assert (done.returncode, done.stderr) == (0, "")
    assert {line.removeprefix("./") for line in done.stdout.splitlines() if line.startswith("./")} == set(clean)
    assert UNFINISHED not in done.stdout
    assert sha256(clean["report.html"]).hexdigest() in done.stdout


@needs_namespaces
def test_a_full_disk_is_told_in_a_sentence_and_leaves_the_run_of_before(log: Path, tmp_path: Path) -> None:
    """On a disk with room for one run and a half: what `evaluate` reads then is the first one, whole."""
    out = tmp_path / "out"
    forewarn = f"{sys.executable} -m dataflows.cli.main"
    script = f"""
        mount -o remount,size=64M {tmp_path}
        {forewarn} replay {log} --policy {POLICY} --out {out} >/dev/null || exit 90
        before=$(cd {out}; find . -type f | sort | xargs md5sum)
        head -c $(( $(df --output=avail -B1 {tmp_path} | tail -1) - 100000 )) /dev/zero > {tmp_path}/ballast
        {forewarn} replay {log} --policy {POLICY} --out {out}
        echo "status $?"
        test "$before" = "$(cd {out}; find . -type f | sort | xargs md5sum)" && echo unchanged
        {forewarn} evaluate {out} --no-boosting
        echo "status $?"
    """
    done = subprocess.run(
        ["unshare", "-m", "bash", "-c", f"mount --make-rprivate /; mount -t tmpfs none {tmp_path}; {script}"],
        cwd=ROOT,
        env={**BARE, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    lines = done.stderr.splitlines()
    assert len(lines) == 2, done.stderr
    assert lines[0].startswith(f"Error: {out}: cannot be written (")
    assert "No space left on device" in lines[0]
    assert lines[1].startswith("Error: ")
    assert [line for line in done.stdout.splitlines() if line in ("status 1", "unchanged")] == [
        "status 1",
        "unchanged",
        "status 1",
    ]


@pytest.mark.parametrize("command", ["replay", "simulate", "evaluate"])
def test_a_limit_on_what_may_be_written_is_told_in_a_sentence(
    log: Path, clean: dict[str, bytes], tmp_path: Path, command: str
) -> None:
    """As a quota does; no half of anything is left, and what was there is as it was."""
    out = tmp_path / "out"
    for name, data in clean.items():
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_bytes(data)
    (tmp_path / "made.jsonl").write_bytes(b"old\n")
    arguments: dict[str, tuple[object, ...]] = {
        "replay": (log, "--policy", POLICY, "--out", out),
        "simulate": ("--events", 1_500, "--users", 40, "--out", tmp_path / "made.jsonl"),
        "evaluate": (out, "--no-boosting"),
    }
    done = run(
        command, *arguments[command], preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
    )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith("Error: ")
    assert files(out) == clean
    assert (tmp_path / "made.jsonl").read_bytes() == b"old\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["made.jsonl", "out"]


def test_a_report_without_pictures_says_so_in_one_sentence(log: Path, tmp_path: Path) -> None:
    """Where Matplotlib is missing or broken: the replay is done, and page and terminal say what is not there."""
    (tmp_path / "matplotlib").mkdir()
    (tmp_path / "matplotlib" / "__init__.py").write_text("raise ImportError('libfreetype.so.6 is not there')\n")
    environment = {**BARE, "PYTHONPATH": f"{tmp_path}:{ROOT}"}
    out = tmp_path / "out"
    done = run("replay", log, "--policy", POLICY, "--out", out, environment=environment)
    sentence = (
        "The pictures could not be drawn: Matplotlib does not start (ImportError: libfreetype.so.6 is not there)."
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines().count(sentence) == 1
    page = (out / "report.html").read_text()
    assert page.count(sentence) == 1
    assert "Not drawn." in page
    assert "<svg" not in page


def test_where_no_directory_can_be_had_for_matplotlib_that_is_the_reason(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Neither the system's place for temporary files nor the outputs' own."""
    monkeypatch.setattr(drawing, "_LAST_LOADED", "never loaded")

    def refuse(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(drawing, "TemporaryDirectory", refuse)
    assert drawing.why_undrawn(tmp_path) == (
        "The pictures could not be drawn: no directory for temporary files can be written (Read-only file system)."
    )


def test_the_engine_serves_nothing_whatever_its_variables_say(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set to 0 or to anything, one of them opens a web server for everybody."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    monkeypatch.setenv("BYTEWAX_DATAFLOW_API_ENABLED", "0")
    monkeypatch.setenv("BYTEWAX_DATAFLOW_API_PORT", str(port))
    seen: list[object] = []

    def look(item: int) -> int:
        with socket.socket() as caller:
            seen.append(caller.connect_ex(("127.0.0.1", port)) == 0)
        seen.append("BYTEWAX_DATAFLOW_API_ENABLED" in os.environ)
        return item

    flow = Dataflow("served")
    op.output("out", op.map("look", op.input("in", flow, TestingSource([1, 2])), look), TestingSink([]))
    run_flow(flow)
    assert seen == [False] * 4
    assert os.environ["BYTEWAX_DATAFLOW_API_ENABLED"] == "0"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_run_drains_on_every_signal_that_asks_it_to_end(number: signal.Signals) -> None:
    """A terminal that is closed is no crash."""
    stop = threading.Event()
    with _draining(stop, last=False):
        signal.raise_signal(number)
        assert stop.is_set()


def test_a_run_that_nohup_started_goes_on_when_its_terminal_is_closed() -> None:
    """What is ignored at the start stays ignored."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        stop = threading.Event()
        with _draining(stop, last=False):
            signal.raise_signal(signal.SIGHUP)
            assert not stop.is_set()
    finally:
        signal.signal(signal.SIGHUP, before)


def catches(process: int, number: int) -> bool:
    status = Path(f"/proc/{process}/status").read_text()
    caught = next(line for line in status.splitlines() if line.startswith("SigCgt:"))
    return bool(int(caught.split()[1], 16) >> (number - 1) & 1)


@pytest.fixture
def started(log: Path, tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A long command and its process number, as the first of a container where that can be had."""
    big = tmp_path / "big.jsonl"
    big.write_bytes(log.read_bytes() * 20)
    prefix = ["unshare", "--pid", "--fork", "--kill-child"] if NAMESPACES else []
    command = [sys.executable, "-m", "dataflows.cli.main", "replay", str(big), "--policy", str(POLICY)]
    process = subprocess.Popen([*prefix, *command, "--out", str(tmp_path / "out")], cwd=ROOT)
    number = process.pid
    children = Path(f"/proc/{number}/task/{number}/children")
    while NAMESPACES and number == process.pid:
        number = int((children.read_text().split() or [number])[0])
    yield process, number
    process.kill()
    process.wait()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("moment", ["at its start", "in the engine"])
def test_a_long_command_ends_when_it_is_asked_to_also_as_the_first_of_a_container(
    started: tuple[subprocess.Popen[bytes], int], tmp_path: Path, number: signal.Signals, moment: str
) -> None:
    """The kernel drops a signal that a container's first process has no handler for: there is one from the start."""
    process, inside = started
    while not catches(inside, number):
        assert process.poll() is None
    while moment == "in the engine" and not (tmp_path / "out" / UNFINISHED / "new" / "models").exists():
        assert process.poll() is None
    os.kill(inside, number)
    assert process.wait(30) in (128 + number, -number)
    if (tmp_path / "out").exists():
        with pytest.raises(EvaluationError, match=r"not the outputs of a replay|cut short"):
            read_outputs(tmp_path / "out")
