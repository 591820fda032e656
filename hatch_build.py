"""Build hook that compiles the modules on the path of every event with mypyc, if there is a C compiler.

Without a compiler they stay Python, with the same source and the same results. `FOREWARN_COMPILE=0` disables
compilation.
"""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

MODULES = (
    "detectors/base/beta.py",
    "detectors/base/elementary.py",
    "detectors/base/log_clock.py",
    "detectors/base/packed.py",
    "detectors/features/context.py",
    "detectors/features/layout.py",
    "detectors/features/plan.py",
    "detectors/features/profile.py",
    "detectors/features/rulings.py",
    "detectors/features/signals.py",
    "detectors/features/stored.py",
    "detectors/features/strikes.py",
    "detectors/features/tokens.py",
    "detectors/features/vector.py",
    "detectors/features/window.py",
    "detectors/labels/reservoir.py",
    "detectors/labels/target.py",
    "detectors/learning/order.py",
    "detectors/models/adagrad.py",
    "detectors/models/naive_bayes/gaussians.py",
    "detectors/profiles/channels.py",
    "detectors/profiles/delta.py",
    "detectors/profiles/idle.py",
    "detectors/profiles/results.py",
    "detectors/profiles/user.py",
    "detectors/profiles/users.py",
    "schemas/released/avro_rows.py",
)
FOLDERS = (
    "detectors/base",
    "detectors/features",
    "detectors/labels",
    "detectors/policy",
    "detectors/profiles",
    "detectors/text",
    "schemas/records",
)
"""Folders of the project's modules that the compiled modules import."""
GROUP = "forewarn"
"""Name of the shared library that contains the code of all compiled modules."""
SWITCH = "FOREWARN_COMPILE"
FLAGS = ("-ffp-contract=off", "-fno-semantic-interposition")
"""Flags of the C compiler.

No multiplication is fused with an addition, so that every processor gives the same sums as Python. Functions may be
inlined into each other, because nothing replaces a function of the loaded library.
"""


def libraries(root: Path) -> list[Path]:
    """Return the paths of the shared library, in the root, and of the compiled modules, beside their sources."""
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    return [root / f"{GROUP}__mypyc{suffix}", *((root / module).with_suffix(suffix) for module in MODULES)]


def compiled(root: Path) -> set[Path]:
    """Return all existing compiled modules, for any Python version and from any list of modules."""
    folders = [root / package for package in ("schemas", "detectors", "evaluation", "dataflows", "forewarn")]
    return {*root.glob(f"{GROUP}__mypyc.*.so"), *(found for folder in folders for found in folder.rglob("*.so"))}


def sources(root: Path) -> list[Path]:
    """Return the sources of the compiled modules: the modules, the project's modules they import, and this file."""
    found = {file for folder in FOLDERS for file in (root / folder).glob("*.py")}
    return [*found, *({root / module for module in MODULES} - found), root / "hatch_build.py"]


def stale(root: Path) -> bool:
    """Return whether compiled modules exist but are incomplete, superfluous or older than the sources."""
    there = compiled(root)
    if not there:
        return False
    newest = max(source.stat().st_mtime for source in sources(root))
    return there != {*libraries(root)} or min(library.stat().st_mtime for library in there) < newest


def remove(root: Path) -> None:
    """Delete all compiled modules."""
    for library in compiled(root):
        library.unlink()


def compile_modules(root: Path) -> bool:
    """Compile the modules unless they are compiled and current; return whether they are compiled now."""
    if os.environ.get(SWITCH) == "0":
        remove(root)
        return False
    if compiled(root) and not stale(root):
        return True
    remove(root)
    before = Path.cwd()
    try:
        os.chdir(root)
        with tempfile.TemporaryDirectory() as folder:
            _build(root, Path(folder))
    except (Exception, SystemExit) as error:
        reason = str(error).strip().splitlines()[-1:] or [type(error).__name__]
        sys.stderr.write(f"forewarn is not compiled, and a third as fast: {reason[0]}\n")
        remove(root)
        return False
    finally:
        os.chdir(before)
    return True


def _build(root: Path, folder: Path) -> None:
    """Build the libraries in a folder, and move them to their places."""
    from mypyc.build import mypycify  # noqa: PLC0415 - only where there is something to compile
    from setuptools import Distribution  # noqa: PLC0415
    from setuptools.command.build_ext import build_ext  # noqa: PLC0415

    modules = mypycify(
        ["--config-file=pyproject.toml", *MODULES],
        opt_level="3",
        debug_level="0",
        group_name=GROUP,
        target_dir=str(folder / "c"),
    )
    for module in modules:
        module.extra_compile_args += FLAGS
    build = build_ext(Distribution({"name": GROUP, "ext_modules": modules}))
    build.build_lib, build.build_temp = str(folder / "lib"), str(folder / "temp")
    build.ensure_finalized()
    build.run()
    for library in libraries(root):
        # replace in one step, because a running process may have the old library open
        made = folder / "lib" / library.relative_to(root)
        shutil.copy(made, library.with_suffix(".new"))
        library.with_suffix(".new").replace(library)


class CompileHook(BuildHookInterface[Any]):
    """Build hook that compiles before a wheel or an editable installation is made."""

    def initialize(self, _version: str, build_data: dict[str, Any]) -> None:
        """Compile the modules; if that succeeds, mark the wheel as specific to this platform."""
        root = Path(self.root)
        if compile_modules(root):
            build_data["pure_python"] = False
            build_data["infer_tag"] = True
            build_data["artifacts"] += [library.relative_to(root).as_posix() for library in libraries(root)]
