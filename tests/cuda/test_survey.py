"""What a machine has for runs on GPUs, and what is said of what it lacks."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from layerbench import environment
from layerbench.cuda import survey
from layerbench.cuda.survey import Facts, Gpu, Row, rows
from layerbench.kernel import Availability
from tests.cuda.simulated_nvml import SimulatedNVML

H100 = Gpu("NVIDIA H100 80GB HBM3", 85_520_809_984, "9.0")

COMPLETE = Facts(
    driver="580.65.06",
    cuda=13000,
    gpus=(H100,),
    visible=None,
    cupy=Availability(True, "CuPy 14.2.0, CUDA 13.0, driver 580.65.06"),
    extra="cuda13",
    missing=(),
    nccl="2.27.7",
    unmonitored="",
)

REQUIREMENTS = [
    "numpy>=1.26",
    'mpich>=4.3; extra == "local"',
    'numpy[ctk]>=1; extra == "cuda13"',
    'no-such-package-13<10,>=9.8; python_version > "3" and extra == "cuda13"',
    "no.such_package.12; extra=='cuda12'",
    'no-such-package; extra == "cuda12"',
    'no-such-package; extra == "cuda123"',
]


def but(**changes: object) -> list[Row]:
    """What is told of a complete machine but for these facts."""
    return rows(dataclasses.replace(COMPLETE, **changes))


def told(found: list[Row], subject: str) -> Row:
    (row,) = (row for row in found if row.subject == subject)
    return row


def test_a_machine_that_has_all() -> None:
    assert rows(COMPLETE) == [
        Row("GPU", True, "NVIDIA driver 580.65.06, CUDA up to 13.0"),
        Row("GPU 0", True, "NVIDIA H100 80GB HBM3, 85.5 GB, compute capability 9.0"),
        Row("CuPy", True, "CuPy 14.2.0, CUDA 13.0, driver 580.65.06"),
        Row("GPU packages", True, "all of extra cuda13"),
        Row("NCCL", True, "2.27.7"),
        Row("GPU clocks", True, "clocks, power and energy are told by NVML"),
    ]


def test_a_machine_without_a_driver_lacks_nothing() -> None:
    absent = Availability(False, reason="CuPy is not installed")
    found = but(driver=None, cuda=None, gpus=(), cupy=absent, extra="", nccl="", unmonitored="no driver")
    assert found == [Row("GPU", None, survey.NO_DRIVER)]


def test_a_container_that_was_not_given_its_gpus() -> None:
    (row,) = but(cuda=None, gpus=())
    assert row.ok is None
    assert "580.65.06 is loaded, but not its library libcuda.so.1" in row.detail
    assert "--gpus all" in row.remedy
    (row,) = but(gpus=(), visible="")
    assert row.ok is None
    assert "shows no GPU here; CUDA_VISIBLE_DEVICES=: layers run on the CPU" in row.detail


def test_what_hides_gpus_is_told() -> None:
    assert but(visible="1")[0].detail == "NVIDIA driver 580.65.06, CUDA up to 13.0; CUDA_VISIBLE_DEVICES=1"


def test_each_gpu_is_told() -> None:
    found = but(gpus=(H100, Gpu("NVIDIA A2", None, None)))
    assert told(found, "GPU 0").detail.startswith("NVIDIA H100 80GB HBM3, ")
    assert told(found, "GPU 1").detail == "NVIDIA A2"


@pytest.mark.parametrize("extra", ["cuda12", "cuda13"])
def test_without_cupy_the_command_is_told(extra: str) -> None:
    found = but(cupy=Availability(False, reason="CuPy is not installed"), extra=extra)
    assert found[2:] == [Row("CuPy", False, "CuPy is not installed", f"pip install 'layerbench[{extra}]'")]
    found = but(cupy=Availability(False, reason="CuPy is broken", remedy="mend it"), extra=extra)
    assert found[2:] == [Row("CuPy", False, "CuPy is broken", "mend it")]


def test_single_things_that_are_missing() -> None:
    mend = "pip install 'layerbench[cuda13]'"
    row = told(but(missing=("a", "b")), "GPU packages")
    assert (row.ok, row.remedy) == (None, mend)
    assert "of extra cuda13: a, b" in row.detail
    row = told(but(nccl=""), "NCCL")
    assert (row.ok, row.remedy) == (None, mend)
    assert told(but(unmonitored="no bindings"), "GPU clocks") == Row("GPU clocks", None, "no bindings", mend)


def test_packages_that_cannot_be_told_are_not_spoken_of() -> None:
    assert [row for row in but(missing=None) if row.subject == "GPU packages"] == []


def test_a_driver_too_old_for_all() -> None:
    assert but(driver="470.82", cuda=11040, extra="")[-1] == Row(
        "GPU libraries", None, "the driver is too old: CUDA 12 or later is needed", "install NVIDIA driver 525 or later"
    )


@pytest.mark.parametrize(
    ("driver", "cuda", "names"),
    [
        ("580.65.06", 13000, ["cuda13", "cuda12"]),
        ("590.10", 14010, ["cuda13", "cuda12"]),
        ("575.51", 12090, ["cuda12"]),
        ("525.60", 12000, ["cuda12"]),
        ("470.82", 11040, []),
        # A library for forward compatibility runs more than its driver would.
        ("535.54", 13000, ["cuda13", "cuda12"]),
        ("580.65.06", None, ["cuda13", "cuda12"]),
        ("579.9", None, ["cuda12"]),
        ("470.82", None, []),
        (None, None, []),
    ],
)
def test_which_extras_a_driver_runs(driver: str | None, cuda: int | None, names: list[str]) -> None:
    assert survey.extras(driver, cuda) == names


def test_the_extras_are_those_of_the_package() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    known = {name for name in project["optional-dependencies"] if name.startswith("cuda")}
    assert known == set(survey.extras("999.1", None))
    requirements = [
        f'{requirement}; extra == "{name}"' for name in known for requirement in project["optional-dependencies"][name]
    ]
    for name in known:
        packages = survey.packages_of(name, requirements)
        assert len(packages) == len(project["optional-dependencies"][name])
        assert f"cupy-{name}x" in packages


def test_packages_are_read_out_of_metadata() -> None:
    assert survey.packages_of("cuda13", REQUIREMENTS) == ["numpy", "no-such-package-13"]
    assert survey.packages_of("cuda12", REQUIREMENTS) == ["no.such_package.12", "no-such-package"]
    assert survey.packages_of("cuda14", REQUIREMENTS) == []


def test_the_extra_that_is_most_nearly_there_is_told() -> None:
    assert survey.nearest(["cuda13", "cuda12"], REQUIREMENTS) == ("cuda13", ("no-such-package-13",))
    assert survey.nearest(["cuda12"], REQUIREMENTS) == ("cuda12", ("no.such_package.12", "no-such-package"))
    of_12 = [*REQUIREMENTS[:4], 'numpy; extra == "cuda12"']
    assert survey.nearest(["cuda13", "cuda12"], of_12) == ("cuda12", ())
    assert survey.nearest(["cuda13", "cuda12"], ["numpy"]) == ("cuda13", None)


def test_gpus_by_nvml() -> None:
    assert survey._by_nvml(SimulatedNVML()) == ((H100,), "580.65.06")
    silent = {"nvmlDeviceGetName", "nvmlDeviceGetMemoryInfo", "nvmlDeviceGetCudaComputeCapability"}
    assert survey._by_nvml(SimulatedNVML(refused=silent))[0] == (Gpu("a GPU without a name", None, None),)
    lost = survey._by_nvml(SimulatedNVML(refused={"nvmlDeviceGetHandleByIndex"}))
    assert lost[0] == (Gpu("a GPU that does not answer", None, None),)
    assert survey._by_nvml(SimulatedNVML(refused={"nvmlDeviceGetCount", "nvmlSystemGetDriverVersion"})) == ((), None)


def test_gpus_by_nvidia_smi() -> None:
    table = "NVIDIA H200, 143771, 9.0, 580.65.06\nTesla K80, [N/A], [N/A], 580.65.06\n\nUnable to determine\n"
    found, driver = survey.parsed_smi(table)
    assert driver == "580.65.06"
    assert found == (Gpu("NVIDIA H200", 143771 * 2**20, "9.0"), Gpu("Tesla K80", None, None))
    assert survey.parsed_smi("") == ((), None)


def test_mpi_is_told_with_its_reason() -> None:
    assert survey.mpi_row(True, "") == Row("MPI on GPUs", True, "takes a GPU's memory")
    assert survey.mpi_row(None, "it says nothing").detail == "may not take a GPU's memory: it says nothing"
    assert survey.mpi_row(False, "no CUDA") == Row("MPI on GPUs", None, "does not take a GPU's memory: no CUDA")


@pytest.mark.parametrize("function", ["tell", pytest.param("tell_mpi", marks=pytest.mark.mpi)])
def test_rows_are_printed_on_the_last_line(function: str) -> None:
    code = f"from layerbench.cuda import survey; survey.{function}()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    found = [Row(*row) for row in json.loads(done.stdout.splitlines()[-1])]
    assert all(row.detail for row in found)
    if function == "tell":
        assert found[0].subject == "GPU"
        if environment.nvidia_driver() is None:
            assert [row.ok for row in found] == [None]
