"""What the steps run with: the environment at hand, or one made of wheels that were brought along.

Where there is a folder of wheels, they are installed beside what the machine has: nothing is fetched, what they depend
on is not looked for. The checkout needs no building then: its folders are laid out as the package has them, by links.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[2]
WHEELS = ROOT / ".whl"

NEEDED = "import layerbench.cli, layerbench.kernels, layerbench.suites, msgspec, numpy, psutil"
"""What a step cannot do without."""


def environment(site: Path, base: Mapping[str, str], wheels: Path = WHEELS) -> dict[str, str]:
    """Variables for the processes of the steps.

    Parameters
    ----------
    site
        A folder of its own for what is installed.
    base
        The variables of this process.
    wheels
        A folder of wheels; nothing is installed where there is none.

    Raises
    ------
    RuntimeError
        If something is missing still; what that is is told.
    """
    # What lies in the folder that a step runs in must not come before what is installed.
    variables = dict(base) | {"PYTHONSAFEPATH": "1", "PYTHONUNBUFFERED": "1"}
    paths = [str(ROOT)]
    if found := sorted(wheels.glob("*.whl")):
        _install(found, site)
        paths = [*_packages(site), *paths]
        variables["PATH"] = os.pathsep.join([str(site / "bin"), base.get("PATH", os.defpath)])
        for library in sorted(site.rglob("libmpi.so.12")):
            variables["MPI4PY_LIBMPI"] = str(library)
    variables["PYTHONPATH"] = os.pathsep.join([*paths, *filter(None, [base.get("PYTHONPATH", "")])])
    if not (found and any(wheel.name.startswith("layerbench-") for wheel in found)) and _lacks(variables):
        lay_out(site / "checkout")
        variables["PYTHONPATH"] = os.pathsep.join([str(site / "checkout"), variables["PYTHONPATH"]])
    if reason := _lacks(variables):
        raise RuntimeError(
            f"layerbench cannot be run: {reason}; make run installs it, or bring wheels along in {wheels}"
        )
    return variables


def _install(wheels: list[Path], site: Path) -> None:
    how = ("--quiet", "--no-index", "--no-deps", "--no-compile", "--no-cache-dir", "--ignore-installed")
    command = [sys.executable, "-m", "pip", "install", *how, "--prefix", str(site), *map(str, wheels)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        told = (done.stderr or done.stdout).strip().splitlines()
        raise RuntimeError(f"the wheels cannot be installed: {told[-1] if told else 'pip said nothing'}")


def _packages(site: Path) -> list[str]:
    """Where pip put packages: its scheme differs between systems."""
    return [str(path) for name in ("site-packages", "dist-packages") for path in sorted(site.rglob(name))]


def lay_out(folder: Path) -> None:
    """Links to the checkout's folders, laid out as the installed package would be."""
    mapped = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-dir"]
    package = folder / "layerbench"
    package.mkdir(parents=True)
    for entry in sorted((ROOT / mapped.pop("layerbench")).iterdir()):
        if entry.name != "__pycache__":
            (package / entry.name).symlink_to(entry)
    for name, place in mapped.items():
        (folder / name.replace(".", "/")).symlink_to(ROOT / place)


def _lacks(variables: Mapping[str, str]) -> str:
    """Why the steps could not run; empty where they can."""
    done = subprocess.run(
        [sys.executable, "-c", NEEDED], env=dict(variables), cwd=ROOT, capture_output=True, text=True, check=False
    )
    return "" if done.returncode == 0 else (done.stderr.strip().splitlines() or ["Python could not be started"])[-1]
