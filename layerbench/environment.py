"""Where a run took place: the machine, its state, and the versions of the libraries.

Every fact is one row of :data:`FACTS`: its name in ``run.json``, its unit, how it is read, and whether a
resumed run must find it unchanged. What cannot be read here is null.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import resource
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from layerbench import __version__, cgroups
from layerbench.topology import one_of_each_core

SYS = Path("/sys")
PROC = Path("/proc")

DEFAULT_CACHE_BYTES = 32 * 2**20
"""Taken for the last-level cache where the system does not tell."""

LIBRARIES = (
    "numpy",
    "onednn-cpu-gomp",
    "onednn",
    "mpi4py",
    "mpich",
    "cupy-cuda12x",
    "cupy-cuda13x",
    "cupy",
    "nvidia-cublas",
    "nvidia-cublas-cu12",
    "nvidia-cudnn-cu12",
    "nvidia-cudnn-cu13",
    "nvidia-cudnn-frontend",
    "nvidia-nccl-cu12",
    "nvidia-nccl-cu13",
    "nvmath-python",
    "torch",
)
"""Packages that the figures depend on, by their names on the package index."""

TOOLS = ("pandas", "matplotlib", "msgspec", "psutil", "threadpoolctl", "nvidia-ml-py")
"""Packages whose versions are recorded too, and may change between a run and its resumption."""

# Thread counts are set for every rank by its launcher, and threadpoolctl itself sets the last one left out.
_LIBRARY_VARIABLES = re.compile(
    r"(?!\w+_NUM_THREADS$|KMP_DUPLICATE_LIB_OK$)(OMP|GOMP|KMP|MKL|OPENBLAS|BLIS|DNNL|ONEDNN)_\w+"
)


def _text(path: Path) -> str:
    return path.read_text().strip()


def _cpu() -> Path:
    """The first core this process may use stands for all of them."""
    return SYS / "devices/system/cpu" / f"cpu{min(os.sched_getaffinity(0))}"


def _cpuinfo() -> dict[str, str]:
    """The first processor's entry, and what some architectures write after all of them."""
    fields: dict[str, str] = {}
    for line in _text(PROC / "cpuinfo").splitlines():
        key, colon, value = line.partition(":")
        if colon:
            fields.setdefault(key.strip(), value.strip())
    return fields


def _cpu_model() -> str | None:
    """x86 names the model, POWER the ``cpu``; Arm gives numbers, and the device tree may name the board."""
    fields = _cpuinfo()
    if name := fields.get("model name") or fields.get("cpu"):
        return name
    board = PROC / "device-tree/model"
    if board.is_file():
        return _text(board).rstrip("\0")
    if "CPU part" in fields:
        return f"{platform.machine()} implementer {fields.get('CPU implementer')} part {fields['CPU part']}"
    return platform.processor() or None


def _sockets() -> int | None:
    packages = {_text(p) for p in (SYS / "devices/system/cpu").glob("cpu[0-9]*/topology/physical_package_id")}
    return len(packages) or None


def caches() -> dict[str, int]:
    """Size in bytes of each cache that the first usable core has, by name (``L1d``, ``L1i``, ``L2``, ``L3``).

    Of a cache that several cores share this is the whole; a machine may have several of it.
    """
    suffix = {"Data": "d", "Instruction": "i", "Unified": ""}
    scale = {"K": 2**10, "M": 2**20, "G": 2**30}
    sizes: dict[str, int] = {}
    for index in sorted((_cpu() / "cache").glob("index[0-9]*")):
        try:
            level, kind, size = (_text(index / name) for name in ("level", "type", "size"))
            sizes[f"L{level}{suffix[kind]}"] = int(size.rstrip("KMG")) * scale.get(size[-1:], 1)
        except (OSError, KeyError, ValueError):
            continue
    return sizes


@cache
def last_level_cache_bytes() -> int:
    """Size of the last-level cache in bytes; 32 MiB where the system does not tell.

    A virtual machine may be shown fewer levels than the processor has. Where it is shown no third level, the
    larger of what it shows and 32 MiB is taken: a flush that writes too much is slow, one that writes too
    little is wrong.
    """
    sizes = caches()
    largest = max((size for name, size in sizes.items() if not name.endswith("i")), default=0)
    if sizes.keys() & {"L3", "L4"}:
        return largest
    try:
        believed = largest > 0 and not virtual_machine()
    except OSError:
        believed = False
    return largest if believed else max(largest, DEFAULT_CACHE_BYTES)


def usable_cores() -> list[int]:
    """Cores this process may run on, and no more of them than its control group's quota can keep busy.

    Of a core's hardware threads the first counts.
    """
    cores = one_of_each_core(os.sched_getaffinity(0))
    quota = cgroups.cpu_quota()
    return cores if quota is None else cores[: max(1, int(quota))]


def available_memory_bytes() -> int:
    """Bytes this process can allocate now: the least that machine, control group and ``ulimit -v`` leave."""
    limits = [int(psutil.virtual_memory().available)]
    if (group := cgroups.memory_left()) is not None:
        limits.append(group)
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    if soft != resource.RLIM_INFINITY:
        limits.append(max(0, soft - int(psutil.Process().memory_info().vms)))
    return min(limits)


def virtual_machine() -> bool:
    """Whether a hypervisor lies between this system and the processor."""
    return "hypervisor" in _cpuinfo().get("flags", "").split() or (SYS / "hypervisor/type").exists()


def container() -> bool:
    """Whether this process runs in a container, as its usual marks tell."""
    marks = (Path("/.dockerenv"), Path("/run/.containerenv"), Path("/run/systemd/container"))
    named = {"APPTAINER_CONTAINER", "SINGULARITY_CONTAINER", "KUBERNETES_SERVICE_HOST"} & os.environ.keys()
    return bool(named) or any(mark.exists() for mark in marks)


def _frequency_hz() -> float:
    scaling = _cpu() / "cpufreq/scaling_cur_freq"
    return int(_text(scaling)) * 1e3 if scaling.exists() else float(_cpuinfo()["cpu MHz"]) * 1e6


def _turbo() -> bool | None:
    system = SYS / "devices/system/cpu"
    if (intel := system / "intel_pstate/no_turbo").exists():
        return _text(intel) == "0"
    return _text(boost) == "1" if (boost := system / "cpufreq/boost").exists() else None


def gpus() -> list[str]:
    """Model of each NVIDIA GPU the driver has found."""
    found = []
    for information in sorted((PROC / "driver/nvidia/gpus").glob("*/information")):
        if match := re.search(r"^Model:\s*(.+)$", _text(information), re.MULTILINE):
            found.append(match[1].strip())
    return found


def nvidia_driver() -> str | None:
    """Version of the NVIDIA kernel driver; None where there is none."""
    version = PROC / "driver/nvidia/version"
    match = re.search(r"Kernel Module.*?\s(\d+\.\d[\d.]*)", _text(version)) if version.exists() else None
    return match[1] if match else None


def versions(distributions: tuple[str, ...]) -> dict[str, str]:
    """Version of each of the named packages that is installed; none of them is imported."""
    found = {}
    for name in distributions:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _blas() -> dict[str, Any] | None:
    """The BLAS that NumPy loaded, which is not always the one it was built for."""
    import numpy  # noqa: F401
    import threadpoolctl

    wanted = ("internal_api", "version", "architecture", "threading_layer", "num_threads")
    loaded = [pool for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"]
    return {name: loaded[0].get(name) for name in wanted} if loaded else None


def _git(*arguments: str) -> str:
    return subprocess.run(
        ["git", "-C", str(_checkout()), *arguments], capture_output=True, text=True, timeout=10, check=True
    ).stdout.strip()


def _checkout() -> Path:
    root = Path(__file__).resolve().parents[1]
    if not (root / ".git").exists():
        raise FileNotFoundError(f"{root} is no git checkout")
    return root


def _git_dirty() -> bool:
    return bool(_git("status", "--porcelain", "--", "layerbench", "kernels", "suites"))


def _library_variables() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if _LIBRARY_VARIABLES.fullmatch(name)}


class Fact(NamedTuple):
    """One row of the environment: ``read`` may raise, and its fact is then null.

    ``of_host`` is false for what is the same on every host that shares the files of layerbench's installation.
    """

    name: str
    unit: str
    read: Callable[[], Any]
    same_on_resume: bool = False
    of_host: bool = True


FACTS = (
    Fact("hostname", "", platform.node),
    Fact("architecture", "", platform.machine, True),
    Fact("cpu_model", "", _cpu_model, True),
    Fact("sockets", "", _sockets, True),
    Fact("physical_cores", "", lambda: psutil.cpu_count(logical=False), True),
    Fact("logical_cores", "", lambda: psutil.cpu_count(logical=True), True),
    Fact("usable_cores", "", usable_cores),
    Fact("usable_core_count", "", lambda: len(usable_cores()), True),
    Fact("caches", "bytes", caches, True),
    Fact("simultaneous_multithreading", "", lambda: _text(SYS / "devices/system/cpu/smt/active") == "1", True),
    Fact("frequency_governor", "", lambda: _text(_cpu() / "cpufreq/scaling_governor"), True),
    Fact("turbo", "", _turbo, True),
    Fact("frequency", "Hz", _frequency_hz),
    Fact("frequency_max", "Hz", lambda: int(_text(_cpu() / "cpufreq/cpuinfo_max_freq")) * 1e3),
    Fact("memory_total", "bytes", lambda: int(psutil.virtual_memory().total)),
    Fact("memory_available", "bytes", available_memory_bytes),
    Fact("transparent_hugepages", "", lambda: _text(SYS / "kernel/mm/transparent_hugepage/enabled")),
    Fact("virtual_machine", "", virtual_machine, True),
    Fact("container", "", container),
    Fact("gpus", "", gpus, True),
    Fact("nvidia_driver", "", nvidia_driver, True),
    Fact("kernel_release", "", platform.release, True),
    Fact("distribution", "", lambda: platform.freedesktop_os_release()["PRETTY_NAME"]),
    Fact("python", "", lambda: f"{platform.python_implementation()} {platform.python_version()}", True, of_host=False),
    Fact("libraries", "", lambda: versions(LIBRARIES), True, of_host=False),
    Fact("tools", "", lambda: versions(TOOLS), of_host=False),
    Fact("blas", "", _blas),
    Fact("library_variables", "", _library_variables, True, of_host=False),
    Fact("cuda_visible_devices", "", lambda: os.environ.get("CUDA_VISIBLE_DEVICES"), of_host=False),
    Fact("layerbench", "", lambda: __version__, True, of_host=False),
    Fact("git_commit", "", lambda: _git("rev-parse", "HEAD"), of_host=False),
    Fact("git_dirty", "", _git_dirty, of_host=False),
    Fact("load_average", "processes over one minute", lambda: os.getloadavg()[0]),
)
"""Every fact that ``run.json`` keeps about where a run took place, in order.

The host's name may change on resume: containers get a new one at every start, and a batch system chooses
among equal nodes. What the figures depend on may not.
"""


SAME_ON_RESUME = tuple(fact.name for fact in FACTS if fact.same_on_resume)
SAME_SOFTWARE = tuple(fact.name for fact in FACTS if fact.same_on_resume and not fact.of_host)
"""Facts that must be equal where a run is resumed, and those of them that are of no host."""

# How many cores a rank may use is up to its launcher, launch by launch.
SAME_HOST = tuple(name for name in SAME_ON_RESUME if name not in (*SAME_SOFTWARE, "usable_core_count"))
"""Facts that all hosts of a run must share."""

STARTED_FROM = "started_from"
"""Beside the facts: the host that a run was started from, where its ranks ran on others and the facts are theirs."""

_LATE = "blas"
"""The one fact that is read by loading a library that starts threads."""


def capture() -> dict[str, Any]:
    """Read every fact once, as plain values that JSON can hold; what cannot be read is None."""
    return {fact.name: _read(fact) for fact in FACTS}


def capture_host() -> dict[str, Any]:
    """Read the facts of this host, loading nothing that starts threads."""
    return {fact.name: _read(fact) for fact in FACTS if fact.of_host and fact.name != _LATE}


def capture_late() -> dict[str, Any]:
    """Read what :func:`capture_host` leaves out."""
    return {fact.name: _read(fact) for fact in FACTS if fact.name == _LATE}


def _read(fact: Fact) -> Any:
    try:
        return fact.read()
    except Exception:  # a machine that hides a fact is no reason to refuse a measurement
        return None


def machine_fingerprint(environment: dict[str, Any]) -> dict[str, Any]:
    """The facts of a captured environment that must be equal where a run is resumed."""
    return {name: environment.get(name) for name in SAME_ON_RESUME}
