"""What a scheduler is asked for follows from the queue and launcher that were asked for, not from the profile alone."""

from __future__ import annotations

import subprocess
from pathlib import Path

import msgspec
import pytest

from layerbench.batch.submission import folder
from layerbench.batch.system import System, load
from tests.batch.rendered import planned, submission


def script(system: str | System, run: Path = Path("/scratch/run"), **changes: object) -> str:
    (only,) = planned(submission(system, **changes), run)
    return only.script


@pytest.mark.parametrize(
    ("queue", "gpus"), [("", 4), ("gpuA40x4", 4), ("gpuA100x8", 8), ("cpu", 0), ("cpu-interactive", 0)]
)
def test_a_queue_has_gpus_of_its_own(queue: str, gpus: int) -> None:
    text = script("delta", queue=queue)
    assert ("--gpus-per-node" in text) is bool(gpus)
    assert f"--partition={queue or 'gpuA100x4'}\n" in text
    if gpus:
        assert f"#SBATCH --gpus-per-node={gpus}\n" in text


def test_lsf_is_asked_for_slots_where_mpiexec_starts_ranks() -> None:
    assert "#BSUB -nnodes 8\n" in script("lsf")
    slots = script("lsf", launcher="mpiexec", ranks_per_node=2)
    assert "-nnodes" not in slots
    assert '#BSUB -n 16\n#BSUB -R "span[ptile=2]"\n#BSUB -x\n' in slots
    assert '--hosts "$LSB_DJOB_HOSTFILE"' in slots


@pytest.mark.parametrize(
    ("walltime", "minutes", "seconds"), [("00:30:00", 2, 120), ("00:05:00", 1, 60), ("00:03:00", 0, 45)]
)
def test_the_warning_comes_when_the_script_says(walltime: str, minutes: int, seconds: int) -> None:
    text = script("lsf", walltime=walltime)
    assert (f"#BSUB -wt {minutes} -wa TERM\n" in text) is bool(minutes)
    assert f"# {seconds} s before its time is up" in text


@pytest.mark.parametrize("system", ["lsf", "flux"])
@pytest.mark.parametrize(
    ("changes", "typed", "arguments"),
    [
        ({"gpus_per_node": 0}, "", ""),
        ({"gpus_per_node": 6}, "", "-g 6"),
        ({"gpus_per_node": 6, "ranks_per_node": 3, "launcher_args": "-o x"}, "", "-g 2 -o x"),
        ({"gpus_per_node": 6, "ranks_per_node": 6}, "-g 0", "-g 0"),
        ({"gpus_per_node": 6, "gpu_request": "none"}, "", ""),
        ({"gpus_per_node": 2, "ranks_per_node": 6}, "", ""),
    ],
)
def test_ranks_are_given_their_gpus_by_launchers_that_have_to_be_asked(
    system: str, changes: dict[str, object], typed: str, arguments: str
) -> None:
    profile = msgspec.structs.replace(load(system), name="odd", **changes)
    text = script(profile, launcher_args=typed, cores_per_node=42)
    assert ("--launcher-args" in text) is bool(arguments)
    if arguments:
        assert f"--launcher-args '{arguments}'" in text


def test_flux_is_asked_for_gpus_where_nodes_are_shared() -> None:
    profile = msgspec.structs.replace(load("flux"), name="odd", gpus_per_node=4, ranks_per_node=2, exclusive=False)
    assert "# flux: -n 16\n# flux: -c 24\n# flux: -g 2\n" in script(profile, cores_per_node=48)
    assert "# flux: -g" not in script(msgspec.structs.replace(profile, exclusive=True), cores_per_node=48)


@pytest.mark.parametrize("name", ["a %j b", "back\\slash"])
def test_a_log_that_slurm_would_look_for_elsewhere_is_opened_by_the_script(name: str, tmp_path: Path) -> None:
    run = tmp_path / name
    made = msgspec.structs.replace(submission("slurm"), workdir=str(tmp_path), python="echo")
    (one,) = planned(made, run)
    assert "#SBATCH --output=/dev/null\n" in one.script
    folder(run).mkdir(parents=True)
    path = folder(run) / f"{one.job.name}.sh"
    path.write_text(one.script)
    done = subprocess.run(["bash", path], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert "-m layerbench run" in path.with_suffix(".log").read_text()
    assert "exec >>" not in script("torque", run)
