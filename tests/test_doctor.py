import io
import json
import os
import subprocess
import sys
import time

import psutil
import pytest
from rich.console import Console

from layerbench import doctor, environment, launch
from layerbench.cuda import survey
from layerbench.doctor import Finding

WORKING = """
from layerbench.kernel import Availability


class Working:
    name = "working"
    preference = 3

    def availability(self):
        print("a library that talks when it is loaded")
        return Availability(True, version="1.2.3")


KERNEL = Working()
"""


@pytest.fixture(scope="module")
def findings() -> list[Finding]:
    return doctor.examine()


def subjects(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.subject: finding for finding in findings}


def shown(findings: list[Finding], width: int = 100) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(doctor.as_table(findings))
    return console.file.getvalue()


def test_everything_is_looked_at(findings):
    told = subjects(findings)
    wanted = {
        "Python",
        "cores",
        "frequency governor",
        "memory",
        "kernel numpy",
        "MPI",
        "GPU",
        "batch system",
        "figures",
    }
    assert wanted <= told.keys()
    assert told["Python"].ok
    assert told["kernel numpy"].ok
    assert len(told) == len(findings)


@pytest.mark.mpi
def test_two_ranks_start_here_or_the_remedy_is_told(findings):
    told = subjects(findings)
    if launch.find_mpiexec() is None:
        pytest.skip("no mpiexec: pip install 'layerbench[local]'")
    assert told["two ranks"] == Finding("two ranks", True, "started and added up")
    assert told["MPI"].detail
    assert told["mpiexec"].detail == launch.find_mpiexec()


def test_whatever_does_not_work_has_a_remedy(findings):
    for finding in findings:
        assert finding.detail
        assert finding.ok is not False or finding.remedy, finding


def test_a_kernel_that_works_is_told_with_its_version_whatever_it_prints(tmp_path):
    path = tmp_path / "working.py"
    path.write_text(WORKING)
    assert doctor.examine_kernel(str(path)) == Finding("kernel working", True, "1.2.3; auto may choose it")


def test_a_kernel_that_is_never_chosen_by_itself_is_no_loss(tmp_path):
    path = tmp_path / "peer.py"
    absent = 'Availability(False, reason="no libx.so", remedy="pip install x")'
    path.write_text(
        WORKING.replace("preference = 3", "preference = None").replace('Availability(True, version="1.2.3")', absent)
    )
    assert doctor.examine_kernel(str(path)) == Finding("kernel working", None, "no libx.so", "pip install x")
    path.write_text(path.read_text().replace("preference = None", "preference = 0"))
    assert doctor.examine_kernel(str(path)).ok is False


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("import no_such_library", "No module named 'no_such_library'"),
        ("KERNELS = 3", "must define KERNEL"),
        ("def broken(:", "SyntaxError"),
        ("import os; os.abort()", "crashed: Aborted"),
        ("import sys; sys.exit(3)", "exit code 3"),
    ],
)
def test_a_kernel_file_that_fails_is_a_finding(tmp_path, code, words):
    path = tmp_path / "broken.py"
    path.write_text(code)
    finding = doctor.examine_kernel(str(path))
    assert finding.subject == "kernel broken"
    assert finding.ok is False
    assert words in finding.detail
    assert "\n" not in finding.detail


def test_a_kernel_that_hangs_is_ended(tmp_path, monkeypatch):
    monkeypatch.setattr(doctor, "PROBE_TIMEOUT", 1.0)
    path = tmp_path / "hanging.py"
    path.write_text("import time; time.sleep(600)")
    start = time.monotonic()
    assert "did not end within 1 s" in doctor.examine_kernel(str(path)).detail
    assert time.monotonic() - start < 20


def program(tmp_path, text: str) -> str:
    path = tmp_path / "mpiexec"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def test_ranks_that_do_not_find_each_other_are_told(tmp_path):
    finding = doctor.examine_ranks(program(tmp_path, "echo 1 ranks, sum 1; echo 1 ranks, sum 1"))
    assert finding.ok is False
    assert "expected 2 ranks, sum 3; got 1 ranks, sum 1" in finding.detail
    assert "different MPIs" in finding.detail
    assert finding.remedy == launch.MEND_MPI


def test_a_launcher_that_fails_is_told_with_its_last_words(tmp_path):
    finding = doctor.examine_ranks(program(tmp_path, "echo no slots >&2; exit 1"))
    assert finding.ok is False
    assert finding.detail == "no slots"


def test_a_launcher_that_is_no_program_is_told(tmp_path):
    assert "cannot be started" in doctor.examine_ranks(str(tmp_path / "none")).detail


def test_a_launcher_that_hangs_leaves_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.setattr(doctor, "RANKS_TIMEOUT", 1.0)
    monkeypatch.setattr(launch, "flavour", lambda _: "hydra")
    pid = tmp_path / "pid"
    start = time.monotonic()
    finding = doctor.examine_ranks(program(tmp_path, f"trap '' TERM; sleep 600 & echo $! > {pid}; wait; wait"))
    assert time.monotonic() - start < 20
    assert "did not end within 1 s" in finding.detail
    left = int(pid.read_text())
    # A process that was killed is gone a moment later.
    while runs(left) and time.monotonic() - start < 30:
        time.sleep(0.01)
    assert not runs(left)


def runs(pid: int) -> bool:
    """Whether a process is there, and has not ended."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_without_mpi_the_remedy_is_told(monkeypatch):
    monkeypatch.setattr(doctor, "_PROBE_MPI", "raise ImportError('no libmpi.so')")
    (finding,) = doctor._mpi()
    assert finding == Finding("MPI", False, "ImportError: no libmpi.so", launch.MEND_MPI)


def test_a_check_that_fails_does_not_stop_the_others(monkeypatch):
    def fail() -> list[Finding]:
        raise RuntimeError("broken")

    for name in ("_kernels", "_mpi"):
        monkeypatch.setattr(doctor, name, fail)
    told = subjects(doctor.examine())
    assert told["MPI"] == Finding("MPI", False, "could not be examined: RuntimeError: broken")
    assert told["figures"].detail


def probe_of(*rows: tuple) -> str:
    """A probe that talks, as libraries do, and then tells these rows."""
    return f"print('a library that talks')\nprint()\nprint({json.dumps(rows)!r})"


def test_gpus_are_told_as_the_survey_has_them(monkeypatch):
    monkeypatch.setattr(doctor, "_PROBE_GPU", probe_of(("GPU", True, "one", ""), ("CuPy", False, "none", "get it")))
    monkeypatch.setattr(doctor, "_PROBE_MPI_ON_GPUS", probe_of(("MPI on GPUs", None, "no", "")))
    assert doctor._gpu() == [
        Finding("GPU", True, "one"),
        Finding("CuPy", False, "none", "get it"),
        Finding("MPI on GPUs", None, "no"),
    ]


def test_mpi_is_not_asked_about_gpus_where_there_is_none(monkeypatch):
    monkeypatch.setattr(doctor, "_PROBE_GPU", probe_of(("GPU", None, "no driver", "")))
    monkeypatch.setattr(doctor, "_PROBE_MPI_ON_GPUS", probe_of(("MPI on GPUs", None, "no", "")))
    assert doctor._gpu() == [Finding("GPU", None, "no driver")]


def test_an_mpi_that_fails_takes_nothing_from_the_gpus(monkeypatch):
    monkeypatch.setattr(doctor, "_PROBE_GPU", probe_of(("GPU", True, "one", "")))
    monkeypatch.setattr(doctor, "_PROBE_MPI_ON_GPUS", "import os; os.abort()")
    assert doctor._gpu() == [Finding("GPU", True, "one")]


@pytest.mark.parametrize(
    ("driver", "gpus", "seen"),
    [
        ("580.1", ["NVIDIA H100", "NVIDIA A2"], "NVIDIA driver 580.1, NVIDIA H100, NVIDIA A2"),
        ("580.1", [], "NVIDIA driver 580.1, no GPU named"),
        (None, [], "no driver"),
    ],
)
def test_a_driver_that_crashes_or_hangs_is_told(monkeypatch, driver, gpus, seen):
    monkeypatch.setattr(environment, "nvidia_driver", lambda: driver)
    monkeypatch.setattr(environment, "gpus", lambda: gpus)
    monkeypatch.setattr(doctor, "_PROBE_GPU", "import os; os.abort()")
    what = f"{seen}; what else there is could not be examined: crashed: Aborted"
    assert doctor._gpu() == [Finding("GPU", None, what)]
    monkeypatch.setattr(doctor, "PROBE_TIMEOUT", 0.5)
    monkeypatch.setattr(doctor, "_PROBE_GPU", "import time; time.sleep(600)")
    (finding,) = doctor._gpu()
    assert finding.detail.endswith("could not be examined: did not end within 500 ms")


@pytest.mark.skipif(environment.nvidia_driver() is not None, reason="there is an NVIDIA driver here")
def test_without_a_driver_layers_run_on_the_cpu():
    assert doctor._gpu() == [Finding("GPU", None, survey.NO_DRIVER)]


@pytest.mark.parametrize(("driver", "ok"), [(None, None), ("580.1", False)])
def test_a_kernel_for_gpus_is_a_loss_only_where_there_is_a_driver(tmp_path, monkeypatch, driver, ok):
    path = tmp_path / "for_gpus.py"
    absent = 'Availability(False, reason="no libx.so", remedy="pip install x")'
    text = WORKING.replace('Availability(True, version="1.2.3")', absent)
    path.write_text(text.replace("\n\nKERNEL", "\n    def devices(self):\n        return []\n\n\nKERNEL"))
    monkeypatch.setattr(environment, "nvidia_driver", lambda: driver)
    assert doctor.examine_kernel(str(path)) == Finding("kernel working", ok, "no libx.so", "pip install x")
    path.write_text(text)
    assert doctor.examine_kernel(str(path)).ok is False


@pytest.mark.parametrize(
    ("governor", "ok", "remedy"),
    [(None, None, ""), ("performance", True, ""), ("powersave", None, "sudo cpupower frequency-set -g performance")],
)
def test_the_governor(governor, ok, remedy):
    (finding,) = doctor._governor(governor)
    assert (finding.ok, finding.remedy) == (ok, remedy)


def test_batch_systems_are_seen(tmp_path, monkeypatch):
    sbatch = tmp_path / "sbatch"
    sbatch.write_text("")
    sbatch.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    assert doctor._batch_system()[0].detail == "Slurm (sbatch), inside job 77 (SLURM_JOB_ID)"


def test_a_matplotlib_folder_that_cannot_be_written(tmp_path, monkeypatch):
    monkeypatch.setenv("MPLCONFIGDIR", str(tmp_path / "new"))
    assert doctor._figures()[0].ok
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MPLCONFIGDIR", str(tmp_path / "file" / "below"))
    finding = doctor._figures()[0]
    assert finding.ok is None
    assert "MPLCONFIGDIR" in finding.remedy


def test_the_table_shows_marks_details_and_remedies():
    text = shown(
        [
            Finding("a", True, "fine"),
            Finding("b", False, "no [bold]lib[/bold]", "pip install 'layerbench[local]'"),
            Finding("c", None, "an extra"),
        ]
    )
    assert "ok   a" in text
    assert "no   b" in text
    assert "-    c" in text
    assert "no [bold]lib[/bold]" in text
    assert "→ pip install 'layerbench[local]'" in text


def test_importing_doctor_loads_no_kernel_library():
    code = "import sys, layerbench.doctor; sys.exit(bool({'torch', 'mpi4py', 'numpy'} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], check=False, env=dict(os.environ)).returncode == 0
