"""The shape of the code: who may import whom, how long a file may be, what is packaged."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
HARNESS = ROOT / "layerbench"
KERNELS = ROOT / "kernels"
REFERENCE = ROOT / "results" / "deepbench"

ROWS = (
    ("cgroups", "conditions", "console", "errors", "hockney", "timeline", "topology", "units"),
    ("devices", "environment", "files", "guard", "launch", "layers", "pinning", "processes"),
    ("device", "options", "records", "suite_format"),
    (
        "allocation",
        "collectives",
        "connections",
        "kernel",
        "network",
        "overlap_records",
        "partition",
        "reference",
        "stats",
        "store",
        "suite",
    ),
    ("collective_records", "cuda", "registry"),
    ("datamanager", "machine", "outputs", "slices", "step"),
    ("assignment", "collective_times", "kernel_times", "task", "training_step"),
    ("doctor", "option_checks", "plan", "report", "sampling", "suite_table", "supervise", "verify"),
    ("launches", "split", "timed", "training"),
    ("compare", "export", "listener", "measure", "predict", "roofline", "schedule"),
    ("calibrate", "collective_bench", "layouts", "overlap"),
    ("sweep", "terminal", "worker"),
    ("api",),
    ("batch",),
    ("cli",),
    ("__main__",),
)
"""A module imports from rows above its own only, so that there can be no circle. ``report`` is a package."""

KERNELS_MAY_IMPORT = {"cuda", "device", "errors", "kernel", "layers"}

MAX_LINES = 400

HEAVY = ("matplotlib", "mpi4py", "msgspec", "numpy", "pandas", "rich")

NAMES_VENDORS = {"environment.py"}
"""The versions of what is installed are listed there by name; nothing else may know a vendor's library."""

VENDORS = re.compile(r"onednn|dnnl|torch|cudnn|cublas|miopen", re.IGNORECASE)


def imports_of(path: Path) -> Iterator[str]:
    """Every module of layerbench that a file imports anywhere, lazily or for types only, without ``layerbench.``."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name.partition(".")[2] for name in node.names if name.name.startswith("layerbench."))
        elif isinstance(node, ast.ImportFrom) and node.module == "layerbench":
            yield from (name.name for name in node.names if not name.name.startswith("__"))
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("layerbench."):
            yield node.module.partition(".")[2]


def relative_imports_of(path: Path) -> Iterator[ast.ImportFrom]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            yield node


def files(folder: Path, pattern: str) -> list[Path]:
    found = sorted(folder.rglob(pattern))
    assert found, f"no {pattern} in {folder}"
    return found


def module_of(path: Path) -> str:
    """The module, or the package below layerbench, that a file of the harness belongs to."""
    return path.relative_to(HARNESS).parts[0].removesuffix(".py")


NO_MODULES = ("__init__", "machines", "networks", "systems")
HARNESS_FILES = [path for path in files(HARNESS, "*.py") if module_of(path) not in NO_MODULES]


def test_every_module_has_its_row() -> None:
    told = [module for row in ROWS for module in row]
    assert sorted(told) == sorted({module_of(path) for path in HARNESS_FILES})


@pytest.mark.parametrize("path", HARNESS_FILES, ids=lambda path: str(path.relative_to(HARNESS)))
def test_imports_point_one_way(path: Path) -> None:
    row_of = {module: row for row, modules in enumerate(ROWS) for module in modules}
    own = module_of(path)
    for imported in imports_of(path):
        module = imported.partition(".")[0]
        assert module == own or row_of[module] < row_of[own], f"{path.name} imports layerbench.{imported}"
    assert not list(relative_imports_of(path)), "modules of the harness are imported by their whole names"


@pytest.mark.parametrize("path", files(KERNELS, "*.py"), ids=lambda path: path.name)
def test_kernels_know_the_contract_and_nothing_else_of_the_harness(path: Path) -> None:
    assert {name.partition(".")[0] for name in imports_of(path)} <= KERNELS_MAY_IMPORT
    for node in relative_imports_of(path):
        assert node.level == 1
        for module in [node.module] if node.module else [name.name for name in node.names]:
            assert module.startswith("_"), f"kernel files are independent: {path.name} imports {module}"
            assert (KERNELS / f"{module}.py").is_file()


@pytest.mark.parametrize("path", files(HARNESS, "*.py"), ids=lambda path: str(path.relative_to(HARNESS)))
def test_the_harness_knows_no_vendor_library(path: Path) -> None:
    if path.name in NAMES_VENDORS:
        return
    assert VENDORS.findall(path.read_text()) == []


@pytest.mark.parametrize("path", ["layerbench", "kernels", "results", "suites", "tests"])
def test_no_file_is_too_long(path: str) -> None:
    lengths = {
        str(file.relative_to(ROOT)): len(file.read_text().splitlines())
        for pattern in ("*.py", "*.cu", "*.toml")
        for file in (ROOT / path).rglob(pattern)
    }
    assert {name: lines for name, lines in lengths.items() if lines > MAX_LINES} == {}


@pytest.mark.parametrize(
    "command",
    [
        *([], ["run"], ["report"], ["suites"], ["doctor"], ["export"], ["compare"], ["schedule"], ["simulate"]),
        *(["calibrate"], ["collectives"], ["predict"], ["kernel-times"]),
        *(["submit"], ["jobs"], ["collect"], ["cancel"], ["systems"]),
    ],
    ids=" ".join,
)
def test_help_loads_nothing_heavy(command: list[str]) -> None:
    program = (
        "import sys\n"
        "from layerbench.cli import main\n"
        f"main({[*command, '--help']!r}, standalone_mode=False)\n"
        f"print(sorted(set({HEAVY!r}) & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.startswith("Usage: ")
    assert done.stdout.splitlines()[-1] == "[]"


SETUPTOOLS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]


def packages() -> dict[str, Path]:
    """Every package by name, with its folder."""
    found = {"layerbench.deepbench": REFERENCE, "layerbench.kernels": KERNELS, "layerbench.suites": ROOT / "suites"}
    for path in HARNESS.rglob("__init__.py"):
        found[".".join(path.parent.relative_to(ROOT).parts)] = path.parent
    return found


def test_every_package_is_packaged() -> None:
    assert sorted(SETUPTOOLS["packages"]) == sorted(packages())
    for folder in (HARNESS, KERNELS, REFERENCE, ROOT / "suites"):
        for path in folder.rglob("*.py"):
            assert (path.parent / "__init__.py").is_file(), f"{path.parent} is no package"


def test_every_file_that_is_no_python_is_packaged() -> None:
    for name, folder in packages().items():
        others = [p for p in folder.iterdir() if p.is_file() and p.suffix not in (".py", ".pyc")]
        matched = [p for p in others if any(p.match(glob) for glob in SETUPTOOLS["package-data"].get(name, []))]
        assert matched == others, name
