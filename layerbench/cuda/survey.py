"""What a machine has for runs on its GPUs, and for what it lacks the command that would mend it.

``layerbench doctor`` runs this file's :func:`tell` in a process of its own: drivers and libraries may crash or hang.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from layerbench import environment
from layerbench.cuda import library, nvml
from layerbench.kernel import Availability
from layerbench.units import size

SMI_TIMEOUT = 20.0
"""Seconds nvidia-smi may take; the first call after a boot initialises the GPUs."""

FIRST_DRIVERS = {13: 580, 12: 525}
"""The first driver (for Linux) of each version of CUDA that layerbench has an extra for."""

NO_DRIVER = (
    "no NVIDIA driver is loaded: layers run on the CPU; for runs on GPUs, where there is one: "
    "pip install 'layerbench[cuda13]'"
)

CONTAINER = "in a container: start it with --gpus all (Docker, Podman) or --nv (Apptainer)"

_SMI_FIELDS = "name,memory.total,compute_cap,driver_version"


class Row(NamedTuple):
    """One finding, as ``doctor`` has it: ``ok`` is None where nothing is wrong and nothing is gained."""

    subject: str
    ok: bool | None
    detail: str
    remedy: str = ""


class Gpu(NamedTuple):
    """One GPU; memory in bytes, capability as ``9.0``; None where that is not told."""

    name: str
    memory: int | None
    capability: str | None


@dataclass(frozen=True)
class Facts:
    """What was found.

    Attributes
    ----------
    driver
        The driver's version; None where there is none.
    cuda
        The newest CUDA that the driver supports, 1000 major + 10 minor; None where its library is not found.
    gpus
        Every GPU the driver shows here, also those that ``visible`` hides.
    visible
        CUDA_VISIBLE_DEVICES, None where it is not set.
    cupy
        Whether CuPy can be used.
    extra
        The extra of layerbench to install: of those that the driver can run the one that is most nearly there, the
        newest of equals. Empty where the driver can run none.
    missing
        Packages of it that are not installed; None where layerbench's own metadata does not list it.
    nccl
        NCCL's version as CuPy tells it; empty where there is none.
    unmonitored
        Why clocks and energy cannot be told; empty where they can.
    """

    driver: str | None
    cuda: int | None
    gpus: tuple[Gpu, ...]
    visible: str | None
    cupy: Availability
    extra: str
    missing: tuple[str, ...] | None
    nccl: str
    unmonitored: str


def tell() -> None:
    """Print what was found, as JSON on the last line."""
    print()
    print(json.dumps(rows(gather())))


def tell_mpi() -> None:
    """Print whether MPI takes a GPU's memory, as JSON on the last line; starts MPI."""
    from layerbench.cuda.aware import awareness

    found = awareness()
    print()
    print(json.dumps([mpi_row(found.aware, found.why)]))


def gather() -> Facts:
    """Look at the driver, its GPUs, and the libraries."""
    bindings, unmonitored = nvml.loaded()
    gpus, driver = _by_nvml(bindings) if bindings is not None else ((), None)
    if not gpus:
        gpus, driver_of_smi = _by_smi()
        driver = driver or driver_of_smi
    driver = driver or environment.nvidia_driver()
    cuda = library.driver_cuda()
    possible = extras(driver, cuda)
    name, lacking = nearest(possible, _requirements()) if possible else ("", ())
    return Facts(
        driver=driver,
        cuda=cuda,
        gpus=gpus,
        visible=os.environ.get("CUDA_VISIBLE_DEVICES"),
        cupy=library.availability(),
        extra=name,
        missing=lacking,
        nccl=_nccl(),
        unmonitored=unmonitored,
    )


def extras(driver: str | None, cuda: int | None) -> list[str]:
    """The extras of layerbench whose CUDA a driver runs, newest first; none if it is too old, or there is none.

    A driver runs toolkits of its own major version, and of older ones.
    """
    if cuda is not None:
        major = cuda // 1000
    elif driver is not None and (branch := re.match(r"\d+", driver)):
        major = next((major for major, first in FIRST_DRIVERS.items() if int(branch[0]) >= first), 0)
    else:
        return []
    return [f"cuda{known}" for known in FIRST_DRIVERS if major >= known]


def nearest(names: Sequence[str], requirements: Sequence[str]) -> tuple[str, tuple[str, ...] | None]:
    """The extra of which the fewest packages are missing, the first of equals, and these packages.

    They are None where the requirements list no package of it: of an installation that is older than the extra.
    """
    wanted = {name: packages_of(name, requirements) for name in names}
    lacking = {name: tuple(filter(_absent, packages)) for name, packages in wanted.items()}
    name = min(lacking, key=lambda name: len(lacking[name]))
    return name, lacking[name] if wanted[name] else None


def _absent(package: str) -> bool:
    return not environment.versions((package,))


def remedy(name: str) -> str:
    """The command that installs an extra."""
    return f"pip install 'layerbench[{name}]'"


def packages_of(name: str, requirements: Sequence[str]) -> list[str]:
    """Names of the packages of an extra, out of requirements as a distribution's metadata lists them."""
    marked = re.compile(rf"""\s*([\w.-]+).*;.*\bextra\s*==\s*["']{re.escape(name)}["']""")
    return [match[1] for line in requirements if (match := marked.match(line))]


def rows(facts: Facts) -> list[Row]:
    """What facts mean for a run on the GPU."""
    if facts.driver is None and not facts.gpus:
        return [Row("GPU", None, NO_DRIVER)]
    driver = f"NVIDIA driver {facts.driver or 'of unknown version'}"
    if facts.cuda is None:
        return [
            Row("GPU", None, f"{driver} is loaded, but not its library libcuda.so.1: layers run on the CPU", CONTAINER)
        ]
    driver += f", CUDA up to {facts.cuda // 1000}.{facts.cuda % 1000 // 10}"
    hidden = "" if facts.visible is None else f"; CUDA_VISIBLE_DEVICES={facts.visible}"
    if not facts.gpus:
        return [Row("GPU", None, f"{driver}: it shows no GPU here{hidden}: layers run on the CPU", CONTAINER)]
    found = [Row("GPU", True, driver + hidden)]
    found += [Row(f"GPU {index}", True, _described(gpu)) for index, gpu in enumerate(facts.gpus)]
    if not facts.extra:
        oldest = min(FIRST_DRIVERS)
        needed = f"install NVIDIA driver {FIRST_DRIVERS[oldest]} or later"
        return [*found, Row("GPU libraries", None, f"the driver is too old: CUDA {oldest} or later is needed", needed)]
    return [*found, *_libraries(facts)]


def _libraries(facts: Facts) -> list[Row]:
    mend = remedy(facts.extra)
    if not facts.cupy.ok:
        return [Row("CuPy", False, facts.cupy.reason, facts.cupy.remedy or mend)]
    found = [Row("CuPy", True, facts.cupy.version)]
    if facts.missing:
        detail = f"pip has not installed, of extra {facts.extra}: {', '.join(facts.missing)}; they may be had otherwise"
        found.append(Row("GPU packages", None, detail, mend))
    elif facts.missing is not None:
        found.append(Row("GPU packages", True, f"all of extra {facts.extra}"))
    if facts.nccl:
        found.append(Row("NCCL", True, facts.nccl))
    else:
        found.append(Row("NCCL", None, "not found: gradients are exchanged by MPI or through host memory", mend))
    if facts.unmonitored:
        found.append(Row("GPU clocks", None, facts.unmonitored, mend))
    else:
        found.append(Row("GPU clocks", True, "clocks, power and energy are told by NVML"))
    return found


def mpi_row(aware: bool | None, why: str) -> Row:
    """Whether MPI takes a GPU's memory, from what it says and why."""
    if aware:
        return Row("MPI on GPUs", True, "takes a GPU's memory")
    if aware is None:
        return Row("MPI on GPUs", None, f"may not take a GPU's memory: {why}")
    return Row("MPI on GPUs", None, f"does not take a GPU's memory: {why}")


def _described(gpu: Gpu) -> str:
    parts = [gpu.name]
    if gpu.memory is not None:
        parts.append(size(gpu.memory))
    if gpu.capability is not None:
        parts.append(f"compute capability {gpu.capability}")
    return ", ".join(parts)


def _by_nvml(bindings: Any) -> tuple[tuple[Gpu, ...], str | None]:
    """Every GPU that NVML lists, and the driver's version."""
    found = []
    for index in range(nvml.asked(bindings, "nvmlDeviceGetCount") or 0):
        handle = nvml.asked(bindings, "nvmlDeviceGetHandleByIndex", index)
        if handle is None:
            found.append(Gpu("a GPU that does not answer", None, None))
            continue
        name, memory, capability = (
            nvml.asked(bindings, function, handle)
            for function in ("nvmlDeviceGetName", "nvmlDeviceGetMemoryInfo", "nvmlDeviceGetCudaComputeCapability")
        )
        found.append(
            Gpu(
                name or "a GPU without a name",
                None if memory is None else int(memory.total),
                None if capability is None else f"{capability[0]}.{capability[1]}",
            )
        )
    return tuple(found), nvml.asked(bindings, "nvmlSystemGetDriverVersion")


def _by_smi() -> tuple[tuple[Gpu, ...], str | None]:
    """The same by nvidia-smi, which comes with the driver."""
    command = ["nvidia-smi", f"--query-gpu={_SMI_FIELDS}", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=SMI_TIMEOUT, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return (), None
    return parsed_smi(answer)


def parsed_smi(answer: str) -> tuple[tuple[Gpu, ...], str | None]:
    """GPUs and the driver's version out of nvidia-smi's table: a line for each, memory in MiB, ``[N/A]`` unknown."""
    found, driver = [], None
    for line in answer.splitlines():
        fields = [field.strip() for field in line.split(",")]
        if len(fields) != len(_SMI_FIELDS.split(",")):
            continue
        name, memory, capability, driver = fields
        found.append(
            Gpu(
                name,
                int(memory) * 2**20 if memory.isdecimal() else None,
                capability if re.fullmatch(r"\d+\.\d+", capability) else None,
            )
        )
    return tuple(found), driver


def _requirements() -> list[str]:
    try:
        return importlib.metadata.requires("layerbench") or []
    except importlib.metadata.PackageNotFoundError:
        return []


def _nccl() -> str:
    try:
        from cupy.cuda import nccl

        version = int(nccl.get_version())
    except Exception:  # missing, or not to be loaded: then there is none
        return ""
    return f"{version // 10000}.{version % 10000 // 100}.{version % 100}"
