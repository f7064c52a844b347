"""Job scripts: as an expert would write them, right for every name, and true to how the run ended."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import msgspec
import pytest

from layerbench.batch.schedulers.registry import SCHEDULERS
from layerbench.batch.submission import files, folder
from layerbench.batch.submit import Planned, unique_name
from layerbench.batch.system import System, load, names
from tests.batch.conftest import make_site
from tests.batch.rendered import GOLDEN, RUN, WORKDIR, planned, script, submission
from tests.conftest import until

HOSTILE = [
    "plain",
    "two words",
    "it's",
    'a "quoted" one',
    "$(touch pwned)",
    "`touch pwned`",
    "a;touch pwned",
    "a\n#PBS -l nodes=999\ntouch pwned\n",
    "a\n# flux: --orphan\n",
    "-n",
    "*",
    "back\\slash",
    "tab\there",
    "ünïcode €",
]
"""Of folders and arguments, each of which must come through unharmed, and never be run."""


def bash(path: Path, environment: dict[str, str], timeout: float = 60) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", path], env=environment, cwd="/", capture_output=True, text=True, check=False, timeout=timeout
    )


def stand_in(folder_: Path, program: str) -> dict[str, str]:
    """An environment whose ``python`` is a program of bash."""
    (folder_ / "bin").mkdir(parents=True)
    path = folder_ / "bin" / "python"
    path.write_text(f"#!/bin/bash\n{program}\n")
    path.chmod(0o755)
    module = path.with_name("module")
    module.write_text('#!/bin/bash\n[ "$2" != missing ]\n')
    module.chmod(0o755)
    return {**os.environ, "PATH": f"{folder_ / 'bin'}:{os.environ['PATH']}"}


def written(tmp_path: Path, system: str = "local", run: Path | None = None, **changes: object) -> tuple[Path, Planned]:
    """A script in its place, run by ``python`` from PATH, and started from the folder ``work``."""
    work = Path(str(changes.pop("workdir", tmp_path / "work")))
    work.mkdir(parents=True, exist_ok=True)
    run = run or tmp_path / "run"
    made = msgspec.structs.replace(submission(system, **changes), workdir=str(work), python="python")
    (one,) = planned(made, run)
    folder(run).mkdir(parents=True)
    path = folder(run) / f"{one.job.name}.sh"
    path.write_text(one.script)
    return path, one


@pytest.mark.parametrize("system", names())
def test_it_is_the_golden_one(system: str) -> None:
    assert script(system) == (GOLDEN / f"{system}.sh").read_text()


def test_every_golden_one_is_of_a_system() -> None:
    assert sorted(path.stem for path in GOLDEN.iterdir()) == names()


@pytest.mark.parametrize("system", names())
def test_bash_can_read_it(system: str) -> None:
    done = subprocess.run(["bash", "-n", GOLDEN / f"{system}.sh"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("system", names())
def test_it_runs(system: str, tmp_path: Path) -> None:
    """Submitted to a stand-in of its scheduler, which reads every directive, it starts each count's ranks in turn."""
    family = load(system).scheduler
    site = make_site(tmp_path / "site", family if family != "local" else "torque")
    path, one = written(tmp_path, system, workdir=site.folder)
    # What ran differs from what is golden in its paths only.
    paths = {str(tmp_path / "run"): str(RUN), str(site.folder): str(WORKDIR)}
    shown = one.script.replace("python -m layerbench", "/home/me/venv/bin/python -m layerbench")
    shown = shown if not load(system).python else one.script
    for here, there in paths.items():
        shown = shown.replace(here, there)
    assert shown == (GOLDEN / f"{system}.sh").read_text()

    if family == "local":
        done = bash(path, site.environment)
        assert done.returncode == 0, done.stderr
    else:
        scheduler = SCHEDULERS[family]
        with path.open() as stdin:
            done = subprocess.run(
                one.job.command,
                cwd=path.parent,
                env=site.environment,
                stdin=stdin if scheduler.SCRIPT_ON_STDIN else None,
                capture_output=True,
                text=True,
                check=False,
            )
        assert done.returncode == 0, done.stderr
        assert scheduler.parse_job_id(done.stdout)
    base = files(tmp_path / "run", one.job)
    exit_code = base.with_name(f"{base.name}.exit")
    until(exit_code.exists, "the job ends", 30)
    assert exit_code.read_text() == "0\n", base.with_name(f"{base.name}.log").read_text()
    if family != "local":
        launches = site.lines("launches.jsonl")
        assert [launch["nodes"] for launch in launches] == [1, 2, 4, 8]
        wrapped = launches[0]["command"][0] == "bwpy-environ"
        assert wrapped == system.startswith("blue-waters")


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_every_folder_and_argument_comes_through_unharmed(name: str, tmp_path: Path) -> None:
    environment = stand_in(tmp_path, 'printf "%s\\0" "$PWD" "$@" > "$SEEN"')
    environment["SEEN"] = str(tmp_path / "seen")
    work, run = tmp_path / "work" / name, tmp_path / name / "run"
    options = [["--suite", "alexnet"], ["--filter", name]]
    path, one = written(tmp_path, "torque", run, workdir=work, options=options, launcher_args="")
    heads = [line for line in one.script.splitlines() if line.startswith(("#PBS", "# flux:", "#BSUB", "#SBATCH"))]
    assert len([line for line in heads if "nodes=" in line]) == 1
    assert not [line for line in heads if "orphan" in line]
    done = bash(path, {**environment, "PBS_NODEFILE": name})
    assert done.returncode == 0, done.stderr
    seen = (tmp_path / "seen").read_text().split("\0")
    assert seen[0] == str(work)
    assert seen[seen.index("--filter") + 1] == name
    assert seen[seen.index("--output") + 1] == str(run)
    assert seen[seen.index("--hosts") + 1] == name
    assert files(run, one.job).with_name(f"{one.job.name}.exit").read_text() == "0\n"
    assert not list(tmp_path.rglob("pwned"))


@pytest.mark.parametrize("value", HOSTILE, ids=range(len(HOSTILE)))
def test_every_variable_and_module_of_a_profile_is_what_it_says(value: str, tmp_path: Path) -> None:
    environment = stand_in(tmp_path, 'printf "%s" "$TRIED" > "$SEEN"')
    environment["SEEN"] = str(tmp_path / "seen")
    system = System(name="odd", scheduler="local", launcher="auto", environment={"TRIED": value}, modules=[value])
    path, _ = written(tmp_path, system)  # type: ignore[arg-type]
    assert bash(path, environment).returncode == 0
    assert (tmp_path / "seen").read_text() == value
    assert not list(tmp_path.rglob("pwned"))


@pytest.mark.parametrize(("module", "code"), [("there", 0), ("missing", 98)])
def test_nothing_is_run_without_the_modules_it_needs(module: str, code: int, tmp_path: Path) -> None:
    environment = stand_in(tmp_path, "echo started")
    system = System(name="odd", scheduler="local", launcher="auto", modules=[module])
    path, one = written(tmp_path, system)  # type: ignore[arg-type]
    done = bash(path, environment)
    assert (done.returncode, "started" in done.stdout) == (code, code == 0)
    assert files(tmp_path / "run", one.job).with_name(f"{one.job.name}.exit").read_text() == f"{code}\n"


@pytest.mark.parametrize("code", [0, 1, 2, 3, 17, 255])
def test_it_ends_with_the_exit_code_of_the_run_and_writes_it_down(code: int, tmp_path: Path) -> None:
    path, one = written(tmp_path)
    assert bash(path, stand_in(tmp_path, f"exit {code}")).returncode == code
    assert files(tmp_path / "run", one.job).with_name(f"{one.job.name}.exit").read_text() == f"{code}\n"
    assert sorted(p.suffix for p in path.parent.iterdir()) == [".exit", ".sh", ".started"]


def test_a_python_that_is_not_there_is_an_exit_code_too(tmp_path: Path) -> None:
    path, one = written(tmp_path)
    done = bash(path, {"PATH": "/usr/bin:/bin", "HOME": "/"} | {"PATH": "/nowhere:/usr/bin:/bin"})
    assert done.returncode in (126, 127, 1, 2)
    assert files(tmp_path / "run", one.job).with_name(f"{one.job.name}.exit").read_text() == f"{done.returncode}\n"


@pytest.mark.parametrize("system", ["local", "slurm"], ids=["with its own clock", "warned by the scheduler"])
def test_a_signal_reaches_the_run_which_has_the_last_word(system: str, tmp_path: Path) -> None:
    program = 'trap "sleep 0.5; echo ended by itself; exit 143" TERM; touch "$READY"; while :; do sleep 0.05; done'
    environment = {**stand_in(tmp_path, program), "READY": str(tmp_path / "ready")}
    path, one = written(tmp_path, system)
    process = subprocess.Popen(["bash", path], env=environment, stdout=subprocess.PIPE, text=True)
    until((tmp_path / "ready").exists, "the run starts")
    process.send_signal(signal.SIGTERM)
    time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    stdout, _ = process.communicate(timeout=20)
    assert process.returncode == 143
    assert "ended by itself" in stdout
    assert files(tmp_path / "run", one.job).with_name(f"{one.job.name}.exit").read_text() == "143\n"


def test_its_own_clock_stops_the_run_before_its_time_is_up(tmp_path: Path) -> None:
    program = 'trap "echo ended by itself; exit 143" TERM; while :; do sleep 0.05; done'
    path, one = written(tmp_path, walltime="00:00:04")
    assert one.script.count("timeout -s TERM 3 ") == 1
    begin = time.monotonic()
    done = bash(path, stand_in(tmp_path, program))
    assert time.monotonic() - begin < 10
    assert done.returncode == 124
    assert "ended by itself" in done.stdout


def test_an_old_exit_code_is_gone_while_it_runs(tmp_path: Path) -> None:
    """A job that is preempted and queued again must not be taken for one that is over."""
    path, one = written(tmp_path)
    old = files(tmp_path / "run", one.job).with_name(f"{one.job.name}.exit")
    old.write_text("143\n")
    environment = {**stand_in(tmp_path, '[ -e "$OLD" ] && exit 9; exit 0'), "OLD": str(old)}
    assert bash(path, environment).returncode == 0
    assert old.read_text() == "0\n"


def test_it_resumes_a_run_that_is_there_and_no_other(tmp_path: Path) -> None:
    environment = {**stand_in(tmp_path, 'echo "$*"')}
    path, _ = written(tmp_path)
    assert "--resume" not in bash(path, environment).stdout
    (tmp_path / "run" / "run.json").write_text("{}")
    assert bash(path, environment).stdout.rstrip().endswith("--resume")


def by_hand(tmp_path: Path, submitted_from: Path | None = None) -> tuple[subprocess.CompletedProcess[str], Planned]:
    """Run a script from where its run folder is not; submitted from there, or from the folder named."""
    path, one = written(tmp_path, "torque", launcher_args="")
    elsewhere = tmp_path / "by-hand.pbs"
    path.rename(elsewhere)
    shutil.rmtree(tmp_path / "run")
    environment = {**stand_in(tmp_path, "echo started"), "PBS_NODEFILE": "nodes"}
    return bash(elsewhere, {**environment, "PBS_O_WORKDIR": str(submitted_from or path.parent)}), one


def test_a_folder_that_is_not_shared_is_said_at_once(tmp_path: Path) -> None:
    done, _ = by_hand(tmp_path)
    assert done.returncode == 97
    assert "not shared" in done.stderr
    assert "started" not in done.stdout
    assert not (tmp_path / "run").exists()


def test_a_folder_that_is_not_shared_is_not_made_under_its_other_name_either(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    path, _ = written(tmp_path, "torque", run=tmp_path / "link" / "run", launcher_args="")
    elsewhere = path.rename(tmp_path / "elsewhere.sh")
    shutil.rmtree(tmp_path / "run")
    environment = {**stand_in(tmp_path, "echo started"), "PBS_NODEFILE": "nodes"}
    for folder_ in (tmp_path / "link" / "run", tmp_path / "run"):
        done = bash(elsewhere, {**environment, "PBS_O_WORKDIR": str(folder_ / "batch")})
        assert done.returncode == 97
    assert not (tmp_path / "run").exists()


def test_a_script_that_is_submitted_by_hand_makes_its_folder(tmp_path: Path) -> None:
    """As --dry-run prints it, from any folder."""
    done, one = by_hand(tmp_path, submitted_from=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "started" in done.stdout
    assert files(tmp_path / "run", one.job).with_name(f"{one.job.name}.exit").read_text() == "0\n"


def test_ranks_that_share_a_gpu_are_told_so() -> None:
    (alone,) = planned(submission("blue-waters"))
    (shared,) = planned(submission("blue-waters", ranks_per_node=4))
    assert "CRAY_CUDA_MPS=0" in alone.script
    assert "CRAY_CUDA_MPS=1\nunset APRUN_XFER_LIMITS" in shared.script
    assert "--ranks-per-node 4 --threads-per-rank 4" in shared.script
    assert "ppn=16" in shared.script


@pytest.mark.parametrize("longest", [15, 64])
@pytest.mark.parametrize("label", ["lb-a", "lb-" + "x" * 40])
@pytest.mark.parametrize("tail", ["", "-n16", "-n16384"])
def test_names_fit_their_scheduler_and_differ(label: str, tail: str, longest: int) -> None:
    made = {unique_name(label, tail, longest) for _ in range(50)}
    assert len(made) == 50
    assert all(len(name) <= longest and name.startswith("lb") for name in made)
    assert all(tail in name for name in made) == (len(tail) <= longest - 11)
