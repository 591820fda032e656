"""Files that belong together are there whole or not at all, whatever fails and whenever the process is killed."""

from __future__ import annotations

import errno
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from dataflows.runtime.atomic import BusyError, whole_file, write_whole, written_together
from evaluation.run_directory import UNFINISHED, unfinished

OLD = {"a.txt": b"old a", "models/m.json": b"old m", "models/gone.json": b"old g", "page.html": b"old", "last": b"old"}
NEW = {"a.txt": b"new a", "b.txt": b"new b", "models/m.json": b"new m", "last": b"new"}
GONE = ("page.html",)
MINE = {"notes.md": b"mine"}
"""A file that somebody else keeps in the same directory."""


def put(directory: Path, files: dict[str, bytes]) -> None:
    for name, data in files.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_bytes(data)


def found(directory: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file() and UNFINISHED not in path.parts
    }


def replaced(directory: Path) -> None:
    with written_together(directory, "last", gone=GONE) as folder:
        put(folder, NEW)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A directory with files of before, and one that is none of theirs."""
    put(tmp_path / "out", {**OLD, **MINE})
    return tmp_path / "out"


def test_new_files_take_the_place_of_the_old_ones_and_nothing_else_is_touched(directory: Path) -> None:
    """A folder is replaced whole, what belonged to the old ones goes, and no trace of the writing is left."""
    replaced(directory)
    assert found(directory) == NEW | MINE
    assert not (directory / UNFINISHED).exists()


def test_a_directory_is_made_where_there_is_none_and_not_left_where_nothing_comes_of_it(tmp_path: Path) -> None:
    """With those above it."""
    replaced(tmp_path / "deep" / "out")
    assert found(tmp_path / "deep" / "out") == NEW
    with pytest.raises(ZeroDivisionError), written_together(tmp_path / "other" / "out", "last"):
        raise ZeroDivisionError
    assert not (tmp_path / "other").exists()


def test_a_block_that_fails_changes_nothing(directory: Path) -> None:
    """However much it had written."""
    with pytest.raises(KeyboardInterrupt), written_together(directory, "last", gone=GONE) as folder:  # noqa: PT012
        put(folder, NEW)
        raise KeyboardInterrupt
    assert found(directory) == OLD | MINE
    assert not (directory / UNFINISHED).exists()


def count(monkeypatch: pytest.MonkeyPatch, work: Callable[[], None]) -> int:
    """How many moves and writes to disk some work takes."""
    done = 0
    rename, fsync = os.rename, os.fsync

    def counted(call: Callable[..., None]) -> Callable[..., None]:
        def one(*arguments: object) -> None:
            nonlocal done
            done += 1
            call(*arguments)

        return one

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", counted(rename))
        patch.setattr(os, "fsync", counted(fsync))
        work()
    return done


def test_whichever_step_fails_the_old_files_stay(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk may take no more at any of them; what was moved already comes back."""
    steps = count(monkeypatch, lambda: replaced(directory))
    assert steps > 10
    for failing in range(steps):
        for path in [*directory.rglob("*")][::-1]:
            path.rmdir() if path.is_dir() else path.unlink()
        put(directory, {**OLD, **MINE})
        left = failing
        rename, fsync = os.rename, os.fsync

        def fails(call: Callable[..., None]) -> Callable[..., None]:
            def one(*arguments: object) -> None:
                nonlocal left
                left -= 1
                if left == -1:
                    raise OSError(errno.ENOSPC, "No space left on device")
                call(*arguments)

            return one

        with monkeypatch.context() as patch:
            patch.setattr(os, "rename", fails(rename))
            patch.setattr(os, "fsync", fails(fsync))
            with pytest.raises(OSError, match="No space"):
                replaced(directory)
        assert found(directory) == OLD | MINE, failing


KILLED = """
import os, sys
from pathlib import Path
from dataflows.runtime.atomic import written_together
left = int(sys.argv[2])
rename = os.rename

def dies(*arguments):
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), 9)
    rename(*arguments)

os.rename = dies
with written_together(Path(sys.argv[1]), "last", gone=("page.html",)) as folder:
    for name, data in {"a.txt": b"new a", "b.txt": b"new b", "models/m.json": b"new m", "last": b"new"}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
"""


def test_killed_at_any_move_it_leaves_old_files_new_files_or_none_that_are_read(directory: Path) -> None:
    """And the next to write there makes it whole."""
    seen = set()
    for moves in range(20):
        done = subprocess.run([sys.executable, "-c", KILLED, directory, str(moves)], check=False)
        state = found(directory)
        seen.add("last" in state)
        if "last" in state:
            assert state in (OLD | MINE, NEW | MINE)
        assert unfinished(directory, "last") == ("last" not in state)
        if done.returncode == 0:
            break
        replaced(directory)
        assert found(directory) == NEW | MINE
        for path in directory.iterdir():
            if path.name in ("a.txt", "b.txt", "last"):
                path.unlink()
        put(directory, OLD)
    else:
        pytest.fail("it never came to its end")
    assert seen == {True, False}


def _hold(directory: Path, begun: object, end: object) -> None:
    with written_together(directory, "last"):
        begun.set()  # type: ignore[attr-defined]
        end.wait()  # type: ignore[attr-defined]


def test_two_do_not_write_into_a_directory_at_the_same_time(directory: Path) -> None:
    """The second is refused and changes nothing; when the first is gone, the next may."""
    context = multiprocessing.get_context("spawn")
    begun, end = context.Event(), context.Event()
    first = context.Process(target=_hold, args=(directory, begun, end))
    first.start()
    begun.wait(60)
    with pytest.raises(BusyError), written_together(directory, "last"):
        pass
    assert found(directory) == OLD | MINE
    first.kill()
    first.join()
    replaced(directory)
    assert found(directory) == NEW | MINE


def test_a_file_is_written_whole_or_stays_as_it_is(tmp_path: Path) -> None:
    """Also behind a link, which stays one; permissions stay too."""
    path, link = tmp_path / "model.json", tmp_path / "link.json"
    write_whole(path, b"first")
    path.chmod(0o640)
    link.symlink_to(path)
    with pytest.raises(OSError, match="No space"), whole_file(link) as file:  # noqa: PT012
        file.write(b"half of the seco")
        raise OSError(errno.ENOSPC, "No space left on device")
    assert path.read_bytes() == b"first"
    write_whole(link, b"second")
    assert link.is_symlink()
    assert path.read_bytes() == b"second"
    assert path.stat().st_mode & 0o777 == 0o640
    assert sorted(one.name for one in tmp_path.iterdir()) == ["link.json", "model.json"]


def test_a_named_pipe_is_written_to_and_stays_one(tmp_path: Path) -> None:
    """As `mkfifo` makes it for another program to read from."""
    pipe = tmp_path / "log.jsonl"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    write_whole(pipe, b"line\n")
    assert os.read(reader, 100) == b"line\n"
    os.close(reader)
    assert pipe.is_fifo()
