"""The shape of the code, held still: who imports whom, who may look at the world, how long a module is."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence

import pytest

from tests.kit.lazy import Lazy
from tests.kit.paths import ROOT
from tools.docs.source import Module, imports, modules, uses

ARROW = ("schemas", "detectors", "evaluation", "dataflows", "forewarn")
"""Each package may import itself and those before it."""

MODULES = Lazy[str, list[Module]](lambda package: modules(ROOT, package))
LONGEST = 500
MOST_MODULES = 20
"""Modules of a folder, its `__init__` apart."""

CLOCK = "dataflows/runtime/clock.py"
SETTINGS = "dataflows/config/settings.py"
CONSOLE = "dataflows/runtime/console.py"

OUTSIDE = [
    "asyncio",
    "builtins.input",
    "builtins.open",
    "builtins.print",
    "bytewax",
    "confluent_kafka",
    "glob",
    "http",
    "io",
    "logging",
    "multiprocessing",
    "os",
    "pathlib",
    "requests",
    "shutil",
    "signal",
    "socket",
    "sqlite3",
    "subprocess",
    "sys",
    "tempfile",
    "threading",
    "time",
    "urllib",
]
"""What a detector cannot know: the engine, Kafka, files, clocks, processes, the environment."""

WALL_CLOCK = [
    "datetime.date.today",
    "datetime.datetime.now",
    "datetime.datetime.today",
    "datetime.datetime.utcnow",
    "time.asctime",
    "time.clock_gettime",
    "time.clock_gettime_ns",
    "time.ctime",
    "time.gmtime",
    "time.localtime",
    "time.time",
    "time.time_ns",
]

ENVIRONMENT = ["os.environ", "os.environb", "os.getenv", "os.getenvb", "os.path.expandvars", "os.putenv"]

CODE_FROM_DATA = [
    "_pickle",
    "builtins.__import__",
    "builtins.eval",
    "builtins.exec",
    "cloudpickle",
    "dill",
    "joblib",
    "marshal",
    "numpy.load",
    "pickle",
    "shelve",
    "yaml.full_load",
    "yaml.load",
    "yaml.unsafe_load",
]
"""What could run something it was given to read."""

CHANCE = ["builtins.hash", "numpy.random", "os.urandom", "random", "secrets", "uuid.uuid1", "uuid.uuid4"]
"""Answers that differ from one process to the next."""

BY_LIBRARY = [
    *(f"math.{name}" for name in ("cbrt", "dist", "exp", "exp2", "expm1", "hypot", "lgamma", "gamma", "erf", "erfc")),
    *(f"math.{name}" for name in ("log", "log10", "log1p", "log2", "pow", "sumprod", "sin", "cos", "tan", "atan2")),
    *(f"math.{name}" for name in ("asin", "acos", "atan", "sinh", "cosh", "tanh", "asinh", "acosh", "atanh")),
    "cmath",
    "builtins.pow",
    "scipy.special",
    "scipy.stats",
    *(f"numpy.{name}" for name in ("exp", "exp2", "expm1", "log", "log10", "log1p", "log2", "logaddexp", "power")),
    *(f"numpy.{name}" for name in ("sin", "cos", "tan", "tanh", "arctan2", "hypot", "cbrt", "float_power", "sinc")),
    *(f"numpy.{name}" for name in ("dot", "vdot", "inner", "outer", "matmul", "tensordot", "einsum", "linalg", "fft")),
    *(f"numpy.{name}" for name in ("mean", "nanmean", "average", "std", "nanstd", "var", "nanvar", "nansum")),
    *(f"numpy.{name}" for name in ("polyfit", "corrcoef", "cov", "convolve", "geomspace", "logspace")),
]
"""What depends on the processor: functions of the C library, vectorised ones, linear algebra, sums in no order."""

IN_NO_ORDER = {"dot", "mean", "std", "var"}
"""The same as methods of arrays."""

SEEDED = ["numpy.random.default_rng", "numpy.random.Generator", "numpy.random.SeedSequence", "random.Random"]

PRINTING = [
    "builtins.print",
    "click.echo",
    "click.echo_via_pager",
    "click.secho",
    "click.style",
    "rich",
    "sys.__stderr__",
    "sys.__stdout__",
    "sys.stderr",
    "sys.stdout",
]
"""Ways to a terminal: text from outside must go through the one that makes it fit to be seen."""

IMPORT_QUIETLY = """
import builtins, importlib, os, sys

foreign, own = sys.argv[1].split(","), sys.argv[2].split(",")
for name in foreign:
    try:
        importlib.import_module(name)
    except ImportError:
        pass  # a name out of a module, or a library that only type checking sees

import pydantic
pydantic.create_model("First", x=int)  # the first model of a process makes pydantic look for plugins

loaded = (".py", ".pyc", ".so")

def watch(event, args):
    if event == "open" and not str(args[0]).endswith(loaded):
        refuse(f"opened {args[0]}")
    if event.startswith(("socket.", "subprocess.", "os.exec", "os.fork", "os.posix_spawn", "os.system", "os.mkdir",
                         "os.remove", "os.rename", "os.putenv", "sqlite3.", "shutil.", "urllib.", "tempfile.")):
        refuse(f"{event} {args}")

def refuse(what):
    os.write(2, f"importing {now} {what}\\n".encode())
    os._exit(1)

sys.addaudithook(watch)
for now in own:
    importlib.import_module(now)
os.write(1, b"quiet")
"""


def find(sources: list[Module], forbidden: list[str], allowed: Sequence[str] = ()) -> list[str]:
    """Where the sources use one of the names, or anything below it; importing what holds an allowed name is allowed."""
    return [
        f"{module.path}:{use.line} uses {use.name}"
        for module in sources
        for use in uses(module)
        if any(f"{use.name}.".startswith(f"{name}.") for name in forbidden)
        and not any(f"{use.name}.".startswith(f"{name}.") or name.startswith(f"{use.name}.") for name in allowed)
    ]


def everything_but(*paths: str) -> list[Module]:
    return [module for package in ARROW for module in MODULES[package] if module.path not in paths]


def functions(module: Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(module.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


@pytest.mark.parametrize("package", ARROW)
def test_a_package_imports_only_itself_and_the_packages_before_it(package: str) -> None:
    """In the order of `ARROW`; none knows the tests or the tools."""
    strangers = {*ARROW[ARROW.index(package) + 1 :], "tests", "tools"}
    assert [
        f"{module.path}:{use.line} imports {use.name}"
        for module in MODULES[package]
        for use in imports(module)
        if use.name.split(".")[0] in strangers
    ] == []


def imported(module: Module, known: set[str]) -> set[str]:
    """The modules among those known that a module imports when it is loaded or later, but not for its types alone."""
    types = {
        id(node)
        for branch in ast.walk(module.tree)
        if isinstance(branch, ast.If) and "TYPE_CHECKING" in ast.unparse(branch.test)
        for node in ast.walk(branch)
    }
    found = set()
    for node in ast.walk(module.tree):
        if id(node) not in types and isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names]
            if isinstance(node, ast.ImportFrom):
                inside = [f"{node.module}.{one}" for one in names]
                names = [one if one in known else str(node.module) for one in inside]
            found |= {name for name in names if name in known}
    return found - {module.name}


def circles(arrows: dict[str, set[str]]) -> list[str]:
    """Return the names that can be reached from themselves along the arrows."""
    reached = {start: set(ends) for start, ends in arrows.items()}
    for _ in arrows:
        before = sum(map(len, reached.values()))
        for ends in reached.values():
            ends |= {far for near in tuple(ends) for far in reached.get(near, ())}
        if sum(map(len, reached.values())) == before:
            break
    return sorted(name for name, ends in reached.items() if name in ends)


def test_no_module_imports_itself_by_way_of_others() -> None:
    """There is no circle of modules, so any of them can be read, tested and moved with those below it alone."""
    every = {module.name: module for package in ARROW for module in MODULES[package]}
    arrows = {name: imported(module, set(every)) for name, module in every.items()}
    assert sum(map(len, arrows.values())) > 500
    assert circles(arrows) == []


@pytest.mark.parametrize("package", ["schemas", "detectors", "evaluation"])
def test_no_room_of_a_pure_package_depends_on_itself_by_way_of_others(package: str) -> None:
    """The rooms of a package are in an order, too. The models are one room, whose families the catalogue knows."""
    every = {module.name: module for module in MODULES[package]}

    def room(name: str) -> str:
        return "detectors.models" if name.startswith("detectors.models.") else ".".join(name.split(".")[:2])

    arrows: dict[str, set[str]] = {}
    for name, module in every.items():
        ends = {room(end) for end in imported(module, set(every))} - {room(name)}
        arrows.setdefault(room(name), set()).update(ends)
    assert circles(arrows) == []


def test_families_of_models_know_nothing_of_each_other() -> None:
    """Shared code lies beside the families; only the catalogue imports all of them."""
    families = {
        module.path.rpartition("/")[0]
        for module in MODULES["detectors"]
        if module.path.startswith("detectors/models/") and module.path.count("/") == 3
    }
    assert len(families) >= 6
    assert [
        f"{module.path}:{use.line} imports {use.name}"
        for family in families
        for module in MODULES["detectors"]
        if module.path.startswith(f"{family}/")
        for use in imports(module)
        if any(use.name.startswith(f"{other.replace('/', '.')}.") for other in families - {family})
    ] == []


def test_the_live_run_knows_no_report_no_training_and_no_evaluation() -> None:
    """They take libraries and time that a run has not."""
    shut = ("dataflows.reports", "dataflows.training", "evaluation.")
    assert [
        f"{module.path}:{use.line} imports {use.name}"
        for module in MODULES["dataflows"]
        if module.path.startswith("dataflows/live/")
        for use in imports(module)
        if use.name.startswith(shut)
    ] == []


def test_no_folder_holds_more_than_20_modules() -> None:
    """A folder that holds more has rooms in it that nobody has named."""
    folders = Counter(
        module.path.rpartition("/")[0]
        for module in [*everything_but(), *modules(ROOT, "tools")]
        if not module.path.endswith("__init__.py")
    )
    assert {folder: count for folder, count in folders.items() if count > MOST_MODULES} == {}


def test_every_package_has_modules_to_look_at() -> None:
    """An empty answer below means that all is well, not that nothing was read."""
    for package in ARROW:
        assert len(MODULES[package]) > (0 if package == "forewarn" else 5), package
    assert {CLOCK, SETTINGS} <= {module.path for module in MODULES["dataflows"]}


def test_detectors_do_no_input_or_output() -> None:
    """No engine, no Kafka, no clock, no file, no environment: a detector sees decision points only."""
    assert find(MODULES["detectors"], OUTSIDE) == []


def test_the_wall_clock_is_read_in_one_file() -> None:
    """Event time everywhere else, so that a log can be replayed."""
    assert find(everything_but(CLOCK), WALL_CLOCK) == []


def test_the_environment_is_read_in_one_file() -> None:
    """Settings are the only place where a variable can change what happens; click's own variables count too."""
    assert find(everything_but(SETTINGS), ENVIRONMENT) == []
    assert [
        f"{module.path}:{node.value.lineno} lets {node.arg} read the environment"
        for module in everything_but(SETTINGS)
        for node in ast.walk(module.tree)
        if isinstance(node, ast.keyword) and node.arg in {"envvar", "auto_envvar_prefix"}
    ] == []


def test_only_one_place_prints() -> None:
    """What steers a terminal is escaped there, so nothing may pass it by; matplotlib and rich are imported lazily."""
    assert find(everything_but(CONSOLE), PRINTING) == []


def test_what_is_learnt_and_scored_is_computed_alike_on_every_processor() -> None:
    """Detectors take exponentials, logarithms and sums from `base.elementary` and `base.elementwise` alone.

    A power is a whole one of numbers that are written down; `**` of others is the C library's.
    """
    assert find([*MODULES["schemas"], *MODULES["detectors"]], BY_LIBRARY) == []
    found = []
    for module in (*MODULES["schemas"], *MODULES["detectors"]):
        for node in ast.walk(module.tree):
            if isinstance(node, ast.BinOp) and isinstance(node.op, ast.MatMult | ast.Pow):
                base, power = node.left, node.right
                if not (isinstance(base, ast.Constant) and isinstance(power, ast.Constant)):
                    found.append(f"{module.path}:{node.lineno} {ast.unparse(node)}")
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in IN_NO_ORDER:
                found.append(f"{module.path}:{node.lineno} {ast.unparse(node)}")
    assert found == []


def test_nothing_that_is_read_can_run() -> None:
    """No pickle, no eval, nothing of that family."""
    assert find(everything_but(), CODE_FROM_DATA) == []


def test_chance_has_a_seed() -> None:
    """No process-wide randomness and no salted hash: a second run gives the same bytes."""
    assert find(everything_but(), CHANCE, SEEDED) == []


def test_no_module_is_longer_than_500_lines() -> None:
    """A longer module holds a second concept."""
    every = [*everything_but(), *modules(ROOT, "tools")]
    lengths = {module.path: len(module.text.splitlines()) for module in every}
    assert {path: length for path, length in lengths.items() if length > LONGEST} == {}


@pytest.mark.slow
def test_importing_a_module_does_nothing() -> None:
    """Importing opens no file but code, no socket and no process; libraries are imported before the watch begins."""
    own = [module.name for module in everything_but()]
    foreign = sorted(
        {
            name
            for module in everything_but()
            for use in imports(module)
            for name in (use.name, use.name.rpartition(".")[0])
            if name and name.split(".")[0] not in ARROW
        },
        key=lambda name: (name.count("."), name),
    )
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_QUIETLY, ",".join(foreign), ",".join(own)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("quiet", "")


def test_every_test_says_what_it_holds() -> None:
    """Each test function has a docstring, in whichever folder or class it stands."""
    tests = [
        (module.path, node)
        for module in MODULES["tests"]
        for node in functions(module)
        if node.name.startswith("test_")
    ]
    assert tests
    assert [f"{path}:{node.lineno} {node.name}" for path, node in tests if not ast.get_docstring(node)] == []
