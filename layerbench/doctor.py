"""What this machine can run, and for all it cannot: why, and the command that would mend it.

Whatever may crash or hang (a kernel library, MPI) is tried in a process of its own, with a time limit.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import pkgutil
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from layerbench import environment, launch, units

PROBE_TIMEOUT = 60.0
"""Seconds a kernel library or MPI may take to load."""

RANKS_TIMEOUT = 30.0
"""Seconds two ranks may take to start and add two numbers."""

BATCH_COMMANDS = {"sbatch": "Slurm", "qsub": "PBS", "bsub": "LSF", "aprun": "Cray ALPS", "flux": "Flux"}

_PROBE_KERNEL = """
import importlib, json, sys
from layerbench.registry import named
where = sys.argv[1]
kernel = named(where) if where.endswith(".py") else importlib.import_module(where).KERNEL
found = kernel.availability()
print()
print(json.dumps([kernel.name, kernel.preference, found.ok, found.version, found.reason, found.remedy,
                  callable(getattr(kernel, "devices", None))]))
"""

_PROBE_MPI = """
from mpi4py import MPI
print(MPI.Get_library_version().replace(chr(0), ""))
"""

_PROBE_GPU = "from layerbench.cuda import survey; survey.tell()"
_PROBE_MPI_ON_GPUS = "from layerbench.cuda import survey; survey.tell_mpi()"

_PROBE_RANKS = """
from mpi4py import MPI
world = MPI.COMM_WORLD
total = world.allreduce(world.rank + 1)
if world.rank == 0:
    print(f"{world.size} ranks, sum {total}", flush=True)
"""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    ``ok`` is None where nothing is wrong and nothing is gained: an extra that is not there. ``remedy`` is the command
    that would mend it, empty where there is none.
    """

    subject: str
    ok: bool | None
    detail: str
    remedy: str = ""


def examine() -> list[Finding]:
    """Look at everything layerbench can use; never raises."""
    facts = environment.capture()
    checks: tuple[tuple[str, Callable[[], list[Finding]]], ...] = (
        ("Python", _python),
        ("cores", lambda: _cores(facts)),
        ("frequency governor", lambda: _governor(facts["frequency_governor"])),
        ("memory", _memory),
        ("kernels", _kernels),
        ("MPI", _mpi),
        ("GPU", _gpu),
        ("batch system", _batch_system),
        ("figures", _figures),
    )
    findings: list[Finding] = []
    for subject, check in checks:
        try:
            findings += check()
        except Exception as error:  # one check that fails is a finding; the others still run
            findings.append(Finding(subject, False, f"could not be examined: {type(error).__name__}: {error}"))
    return findings


@dataclass(frozen=True)
class _Outcome:
    """How a probe ended; ``problem`` is empty if it ended well."""

    output: str
    problem: str


def _probe(command: Sequence[str], timeout: float) -> _Outcome:
    """Run a command in a process group of its own and kill what is left of it in the end."""
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        try:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=errors, start_new_session=True
            )
        except OSError as error:
            return _Outcome("", f"{command[0]} cannot be started: {error.strerror}")
        problem = ""
        try:
            code = process.wait(timeout)
            if code < 0:
                problem = f"crashed: {signal.strsignal(-code)}"
            elif code:
                errors.seek(0)
                problem = _last_line(errors.read().decode(errors="replace")) or f"ended with exit code {code}"
        except subprocess.TimeoutExpired:
            problem = f"did not end within {units.seconds(timeout)}"
            process.terminate()  # gives an mpiexec the time to end its ranks, which may have groups of their own
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(2)
        finally:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        output.seek(0)
        return _Outcome(output.read().decode(errors="replace"), problem)


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""


def _python() -> list[Finding]:
    ok = sys.version_info >= (3, 11)
    remedy = "" if ok else "install Python 3.11 or later"
    return [Finding("Python", ok, f"{platform.python_version()} at {sys.executable}", remedy)]


def _cores(facts: dict[str, Any]) -> list[Finding]:
    usable = len(environment.usable_cores())
    detail = f"{usable} usable of {facts['logical_cores']} on {facts['cpu_model'] or facts['architecture']}"
    detail += f"; slots for one-thread ranks: {usable}, node counts beyond are emulated"
    if facts["virtual_machine"]:
        detail += "; a virtual machine, whose neighbours may disturb timings"
    return [Finding("cores", True, detail)]


def _governor(governor: str | None) -> list[Finding]:
    if governor is None:
        return [Finding("frequency governor", None, "not shown here")]
    if governor == "performance":
        return [Finding("frequency governor", True, governor)]
    return [
        Finding(
            "frequency governor",
            None,
            f"{governor}: the clock follows the load, so timings drift",
            "sudo cpupower frequency-set -g performance",
        )
    ]


def _memory() -> list[Finding]:
    return [Finding("memory", True, f"{units.size(environment.available_memory_bytes())} available")]


def _kernels() -> list[Finding]:
    package = importlib.import_module("layerbench.kernels")
    files = [module.name for module in pkgutil.iter_modules(package.__path__) if module.name[0] != "_"]
    findings = [examine_kernel(f"{package.__name__}.{name}") for name in files]
    if not any(finding.ok for finding in findings):
        findings.append(Finding("kernels", False, "none can run here, so nothing can be timed"))
    return findings


def examine_kernel(where: str) -> Finding:
    """Whether a kernel library can be used here; one that crashes does no harm.

    Parameters
    ----------
    where
        Its module's name, or the path of its ``.py`` file.
    """
    outcome = _probe([sys.executable, "-c", _PROBE_KERNEL, where], PROBE_TIMEOUT)
    if outcome.problem:
        name = Path(where).stem if where.endswith(".py") else where.rpartition(".")[2]
        return Finding(f"kernel {name}", False, outcome.problem, f"mend or remove kernels/{name}.py")
    name, preference, ok, version, reason, remedy, on_gpu = json.loads(_last_line(outcome.output))
    subject = f"kernel {name}"
    if not ok:
        no_loss = preference is None or (on_gpu and environment.nvidia_driver() is None)
        return Finding(subject, None if no_loss else False, reason, remedy)
    chosen = "only if asked for" if preference is None else "auto may choose it"
    return Finding(subject, True, f"{version or 'available'}; {chosen}")


def _mpi() -> list[Finding]:
    outcome = _probe([sys.executable, "-c", _PROBE_MPI], PROBE_TIMEOUT)
    if outcome.problem:
        return [Finding("MPI", False, outcome.problem, launch.MEND_MPI)]
    lines = [line.split() for line in outcome.output.splitlines() if line.strip()]
    library = Finding("MPI", True, " ".join(lines[0]) if lines else "loaded")
    mpiexec = launch.find_mpiexec()
    if mpiexec is None:
        return [library, Finding("mpiexec", False, "not found: only one rank can run", launch.MEND_MPI)]
    return [library, Finding("mpiexec", True, mpiexec), examine_ranks(mpiexec)]


def examine_ranks(mpiexec: str) -> Finding:
    """Whether two real ranks start and find each other."""
    build = launch.open_mpi if launch.flavour(mpiexec) == "open-mpi" else launch.hydra
    world = launch.World(ranks=2, ranks_per_node=2)
    outcome = _probe(build(mpiexec, world, [], [sys.executable, "-c", _PROBE_RANKS]), RANKS_TIMEOUT)
    answer = _last_line(outcome.output)
    if answer == "2 ranks, sum 3" and not outcome.problem:
        return Finding("two ranks", True, "started and added up")
    if outcome.problem:
        detail = outcome.problem
    else:
        detail = f"expected 2 ranks, sum 3; got {answer or 'nothing'}: mpiexec and mpi4py are of different MPIs"
    return Finding("two ranks", False, detail, launch.MEND_MPI)


def _gpu() -> list[Finding]:
    outcome = _probe([sys.executable, "-c", _PROBE_GPU], PROBE_TIMEOUT)
    if outcome.problem:
        driver = environment.nvidia_driver()
        seen = f"NVIDIA driver {driver}, {', '.join(environment.gpus()) or 'no GPU named'}" if driver else "no driver"
        return [Finding("GPU", None, f"{seen}; what else there is could not be examined: {outcome.problem}")]
    findings = _rows(outcome)
    if not any(finding.ok for finding in findings):
        return findings
    outcome = _probe([sys.executable, "-c", _PROBE_MPI_ON_GPUS], PROBE_TIMEOUT)
    # An MPI that does not start has its own finding.
    return findings if outcome.problem else findings + _rows(outcome)


def _rows(outcome: _Outcome) -> list[Finding]:
    return [Finding(*row) for row in json.loads(_last_line(outcome.output))]


def _batch_system() -> list[Finding]:
    seen = [f"{system} ({command})" for command, system in BATCH_COMMANDS.items() if shutil.which(command)]
    jobs = ("SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID", "FLUX_JOB_ID")
    seen += [f"inside job {os.environ[name]} ({name})" for name in jobs if name in os.environ]
    return [Finding("batch system", True if seen else None, ", ".join(seen) or "none seen")]


def _figures() -> list[Finding]:
    folder = Path(os.environ.get("MPLCONFIGDIR") or Path.home() / ".config/matplotlib")
    nearest = next(level for level in (folder, *folder.parents) if level.exists())
    if nearest.is_dir() and os.access(nearest, os.W_OK):
        return [Finding("figures", True, f"Matplotlib may write {folder}")]
    detail = f"Matplotlib cannot write {folder}, and lists the fonts anew each time"
    return [Finding("figures", None, detail, "export MPLCONFIGDIR=$(mktemp -d)")]


def as_table(findings: Sequence[Finding]) -> Table:
    """Findings as a table, a remedy below what it mends."""
    marks = {True: Text("ok", "green"), False: Text("no", "bold red"), None: Text("-", "dim")}
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("")
    table.add_column("subject", no_wrap=True)
    table.add_column("what was found")
    for finding in findings:
        detail = Text(finding.detail)
        if finding.remedy:
            detail.append(f"\n→ {finding.remedy}", "bold")
        table.add_row(marks[finding.ok], finding.subject, detail)
    return table
