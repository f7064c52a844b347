"""What schedulers answer, as they really write it, and what is made of it."""

from __future__ import annotations

import json
import re

import pytest

from layerbench.batch.request import Request
from layerbench.batch.schedulers import flux, local, lsf, openpbs, slurm, torque
from layerbench.batch.schedulers.registry import SCHEDULERS
from layerbench.batch.status import Answer, Status
from layerbench.batch.system import System
from layerbench.errors import NoAnswerError

# One line of scontrol of version 22.05, shortened in its middle.
SCONTROL = (
    "JobId=7 JobName=lb-a-1a2b3c4d UserId=root(0) GroupId=root(0) MCS_label=N/A Priority=4294901759 Nice=0 "
    "Account=(null) QOS=(null) JobState={state} Reason={reason} Dependency=(null) Requeue=1 Restarts=0 BatchFlag=1 "
    "Reboot=0 ExitCode={code} RunTime=00:00:00 TimeLimit=01:00:00 Command=/tmp/a.sh WorkDir=/tmp Power= \n"
)

SLURM = [
    ("PENDING", "Priority", "0:0", Status("pending", None, "Priority")),
    ("RUNNING", "None", "0:0", Status("running")),
    ("COMPLETING", "None", "0:0", Status("running")),
    ("COMPLETED", "None", "0:0", Status("done", 0)),
    ("FAILED", "NonZeroExitCode", "3:0", Status("failed", 3, "NonZeroExitCode")),
    (
        "FAILED",
        "RaisedSignal:53(Real-time_signal_19)",
        "0:53",
        Status("failed", 181, "its output file could not be opened where it ran"),
    ),
    ("TIMEOUT", "TimeLimit", "0:0", Status("timeout", None, "TimeLimit")),
    ("CANCELLED", "None", "0:15", Status("cancelled", 143, "")),
    ("NODE_FAIL", "None", "1:0", Status("failed", 1, "NODE_FAIL")),
    ("OUT_OF_MEMORY", "OutOfMemory", "0:125", Status("failed", 253, "OutOfMemory")),
]


@pytest.mark.parametrize(("state", "reason", "code", "status"), SLURM, ids=[row[0] + row[2] for row in SLURM])
def test_slurm(state: str, reason: str, code: str, status: Status) -> None:
    told = SCONTROL.format(state=state, reason=reason, code=code)
    assert slurm.parse_status(["7"], Answer(0, told, "")) == {"7": status}


def test_a_folder_whose_name_looks_like_a_state_is_none() -> None:
    told = SCONTROL.format(state="RUNNING", reason="None", code="0:0")
    told = told.replace("WorkDir=/tmp", "WorkDir=/home/me/x JobState=FAILED ExitCode=3:0 JobId=8")
    assert slurm.parse_status(["7"], Answer(0, told, "")) == {"7": Status("running")}


def test_every_state_that_slurm_has_is_known() -> None:
    """JOB STATE CODES of squeue's manual."""
    states = (
        "BOOT_FAIL CANCELLED COMPLETED CONFIGURING COMPLETING DEADLINE FAILED NODE_FAIL OUT_OF_MEMORY PENDING "
        "PREEMPTED RUNNING RESV_DEL_HOLD REQUEUE_FED REQUEUE_HOLD REQUEUED RESIZING REVOKED SIGNALING SPECIAL_EXIT "
        "STAGE_OUT STOPPED SUSPENDED TIMEOUT"
    )
    for state in states.split():
        told = SCONTROL.format(state=state, reason="None", code="0:0")
        assert slurm.parse_status(["7"], Answer(0, told, ""))["7"].state != "unknown"


TORQUE = """<Data><Job><Job_Id>{id}</Job_Id><Job_Name>lb-a-1a2b3c4d</Job_Name><Job_Owner>me@login</Job_Owner>\
<job_state>{state}</job_state><queue>batch</queue><Error_Path>login:/a.e</Error_Path><ctime>1400000000</ctime>\
{exit}<submit_args>lb-a-1a2b3c4d.sh</submit_args></Job></Data>"""

PBS = [
    ("Q", "", Status("pending")),
    ("H", "", Status("pending")),
    ("R", "", Status("running")),
    ("E", "", Status("running")),
    ("C", "0", Status("done", 0)),
    ("C", "3", Status("failed", 3)),
    ("C", "271", Status("cancelled", 143, "killed")),
    ("C", "267", Status("failed", 139, "killed")),
    ("C", "-11", Status("timeout", None, "walltime exceeded")),
    ("C", "-3", Status("failed", None, "Torque could not run it (exit status -3)")),
    ("C", "", Status("cancelled", None, "it ended without an exit status")),
]


@pytest.mark.parametrize(("state", "code", "status"), PBS, ids=[row[0] + row[1] for row in PBS])
@pytest.mark.parametrize("number", ["12.nid11293", "12.nid11293.example.org", "12"])
def test_torque(state: str, code: str, status: Status, number: str) -> None:
    told = TORQUE.format(id=number, state=state, exit=f"<exit_status>{code}</exit_status>" if code else "")
    assert torque.parse_status(["12.nid11293"], Answer(0, told, "")) == {"12.nid11293": status}


OPENPBS = [
    ("Q", None, Status("pending")),
    ("R", None, Status("running")),
    ("F", 0, Status("done", 0)),
    ("F", 3, Status("failed", 3)),
    ("F", 271, Status("cancelled", 143, "killed")),
    ("F", -29, Status("timeout", None, "walltime exceeded")),
    ("F", None, Status("cancelled")),
]


@pytest.mark.parametrize(("state", "code", "status"), OPENPBS, ids=[f"{row[0]}{row[1]}" for row in OPENPBS])
@pytest.mark.parametrize("sound", [True, False], ids=["JSON", "what some versions write"])
def test_openpbs(state: str, code: int | None, status: Status, sound: bool) -> None:
    job = {"Job_Name": "lb", "job_state": state, "queue": "workq", "Variable_List": {"A": "5"}}
    told = json.dumps({"Jobs": {"12.pbs": job | ({} if code is None else {"Exit_status": code})}}, indent=4)
    if not sound:
        # A variable of digits that is no number, and an escape that JSON does not have.
        told = told.replace('"A": "5"', '"A": 005, "B": "\\d"')
        with pytest.raises(ValueError, match="line"):
            json.loads(told)
    assert openpbs.parse_status(["12.pbs"], Answer(0, told, "")) == {"12.pbs": status}


LSF = [
    ("PEND|-|-", Status("pending")),
    ("RUN|-|-", Status("running")),
    ("SSUSP|-|-", Status("running")),
    ("DONE|-|-", Status("done", 0)),
    ("EXIT|3|-", Status("failed", 3)),
    (
        "EXIT|140|TERM_RUNLIMIT: job killed after reaching LSF run time limit",
        Status("timeout", 140, "TERM_RUNLIMIT: job killed after reaching LSF run time limit"),
    ),
    ("EXIT|130|TERM_OWNER: job killed by owner", Status("cancelled", 130, "TERM_OWNER: job killed by owner")),
]


@pytest.mark.parametrize(("line", "status"), LSF, ids=[row[0] for row in LSF])
def test_lsf(line: str, status: Status) -> None:
    assert lsf.parse_status(["12"], Answer(0, f"12|{line}\n", "")) == {"12": status}


FLUX = [
    ("SCHED|", Status("pending")),
    ("RUN|", Status("running")),
    ("CLEANUP|", Status("running")),
    ("COMPLETED|0", Status("done", 0)),
    ("FAILED|3", Status("failed", 3)),
    ("CANCELED|143", Status("cancelled", 143)),
    ("CANCELED|", Status("cancelled")),
    ("TIMEOUT|142", Status("timeout", 142)),
]


@pytest.mark.parametrize(("line", "status"), FLUX, ids=[row[0] for row in FLUX])
@pytest.mark.parametrize("letter", ["ƒ", "f"], ids=["a terminal with all letters", "one without"])
def test_flux(line: str, status: Status, letter: str) -> None:
    assert flux.parse_status(["ƒ2Zx"], Answer(0, f"{letter}2Zx|{line}\n", "")) == {"ƒ2Zx": status}


UNKNOWN = {
    "slurm": Answer(1, "", "slurm_load_jobs error: Invalid job id specified\n"),
    "torque": Answer(153, "", "qstat: Unknown Job Id Error 12.nid11293\n"),
    "openpbs": Answer(153, "", "qstat: Unknown Job Id 12.nid11293\n"),
    "lsf": Answer(255, "", "Job <12.nid11293> is not found\n"),
    "flux": Answer(1, "", "flux-jobs: ERROR: JobID 12.nid11293 unknown\n"),
    "local": Answer(0, "12.nid11293 gone\n", ""),
}


@pytest.mark.parametrize("name", sorted(set(SCHEDULERS) - {"lsf"}))
def test_a_job_that_is_not_known_is_told_from_a_scheduler_that_is_down(name: str) -> None:
    scheduler = SCHEDULERS[name]  # type: ignore[index]
    assert scheduler.parse_status(["12.nid11293"], UNKNOWN[name]) == {"12.nid11293": Status("unknown")}


def test_lsf_knows_numbers_only() -> None:
    assert lsf.parse_status(["12", "13"], Answer(255, "13|RUN|-|-\n", "Job <12> is not found\n")) == {
        "12": Status("unknown"),
        "13": Status("running"),
    }


NO_ANSWERS = [
    Answer(1, "", "slurm_load_jobs error: Unable to contact slurm controller (connect failure)\n"),
    Answer(111, "", "qstat: cannot connect to server nid11293 (errno=111) Connection refused\n"),
    Answer(1, "", "flux: ERROR: Unable to connect to Flux: broker socket /run/flux/local was not found\n"),
    Answer(255, "", "LSF is down. Please wait ...\n"),
    Answer(0, "", ""),
    Answer(0, "Welcome! The system goes down on Friday.\n", ""),
    Answer(0, "<Data></Data>", ""),
    Answer(0, '{"Jobs": {}}', ""),
    Answer(0, '{"Jobs": []}', ""),
    Answer(0, "{", ""),
    Answer(0, SCONTROL.format(state="DREAMING", reason="None", code="0:0"), ""),
    Answer(0, TORQUE.format(id="12.nid11293", state="Z", exit=""), ""),
    Answer(0, TORQUE.format(id="13.nid11293", state="R", exit=""), ""),
    Answer(0, "\x00\x01|||", ""),
]


@pytest.mark.parametrize("answer", NO_ANSWERS, ids=range(len(NO_ANSWERS)))
@pytest.mark.parametrize("name", sorted(SCHEDULERS))
def test_nonsense_is_never_taken_for_a_state(name: str, answer: Answer) -> None:
    with pytest.raises(NoAnswerError):
        SCHEDULERS[name].parse_status(["12.nid11293"], answer)  # type: ignore[index]


IDS = [
    (slurm, "123\n", "123"),
    (slurm, "123;cluster\n", "123"),
    (slurm, "note: your project is nearly out of hours\n123\n", "123"),
    (slurm, "Submitted batch job 123\n", "123"),
    (slurm, "", None),
    (slurm, "123 jobs are waiting\n", None),
    (torque, "123.nid11293\n", "123.nid11293"),
    (torque, "INFO: Job submitted to account: abc\n123.bw\n", "123.bw"),
    (torque, "welcome\n", None),
    (openpbs, "123.pbs\n", "123.pbs"),
    (openpbs, "", None),
    (lsf, "Job <123> is submitted to queue <batch>.\n", "123"),
    (lsf, "Job <123> is submitted to default queue <normal>.\n", "123"),
    (lsf, "123\n", None),
    (flux, "ƒ2ZbQnWkR\n", "ƒ2ZbQnWkR"),
    (flux, "f2ZbQnWkR\n", "f2ZbQnWkR"),
    (flux, "f0\n", None),
    (local, "12.3456\n", "12.3456"),
    (local, "", None),
]


@pytest.mark.parametrize(("scheduler", "told", "number"), IDS, ids=range(len(IDS)))
def test_the_id_is_found_among_what_sites_print(scheduler: object, told: str, number: str | None) -> None:
    assert scheduler.parse_job_id(told) == number  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", sorted(SCHEDULERS))
def test_a_scheduler_that_is_down_has_not_lost_the_job_it_was_to_end(name: str) -> None:
    for answer in NO_ANSWERS:
        assert not SCHEDULERS[name].gone(answer)  # type: ignore[index]


@pytest.mark.parametrize("name", sorted(SCHEDULERS))
def test_a_search_that_fails_is_not_nothing_found(name: str) -> None:
    with pytest.raises(NoAnswerError):
        SCHEDULERS[name].parse_found(Answer(1, "", "connection refused"))  # type: ignore[index]


REQUEST = Request(
    name="lb-a-1a2b3c4d",
    nodes=2,
    ranks_per_node=4,
    threads=4,
    cores_per_node=16,
    gpus_per_node=4,
    walltime=1800,
    warning=120,
    account="proj1",
    queue="gpu",
)


def lines(scheduler: str, **changes: object) -> list[str]:
    """Directives of the request above, on a system of this scheduler with these entries."""
    system = System(**{"scheduler": scheduler, "launcher": "auto", **changes})  # type: ignore[arg-type]
    found = SCHEDULERS[system.scheduler].directives(system, REQUEST)
    return [line.split(" ", 2 if line.startswith("# flux") else 1)[-1] for line in found]


def test_openpbs_asks_for_chunks_once() -> None:
    found = lines("openpbs", memory="64gb", feature="model=rome")
    assert "-l select=2:ncpus=16:mpiprocs=4:ngpus=4:mem=64gb:model=rome" in found
    assert "-l place=scatter:excl" in found
    assert len([line for line in found if "select" in line]) == 1
    assert "-l place=scatter" in lines("openpbs", exclusive=False)


def test_torque_asks_for_a_feature_or_for_gpus() -> None:
    assert "-l nodes=2:ppn=16:xk" in lines("torque", feature="xk")
    assert "-l nodes=2:ppn=16:gpus=4" in lines("torque")
    assert "-l nodes=2:ppn=16" in lines("torque", gpu_request="none")


def test_slurm_asks_for_gpus_in_the_way_of_the_site() -> None:
    assert "--gpus-per-node=4" in lines("slurm")
    assert "--gres=gpu:4" in lines("slurm", gpu_request="gres")
    assert not [line for line in lines("slurm", gpu_request="none") if "gpu:" in line or "gpus" in line]
    assert "--qos=gpu" in lines("slurm", queue_option="qos")
    assert "--partition=gpu" in lines("slurm")


def test_lsf_asks_for_whole_nodes_where_jsrun_starts_ranks_and_for_slots_elsewhere() -> None:
    whole = lines("lsf", launcher="jsrun")
    assert "-nnodes 2" in whole
    assert not [line for line in whole if line.startswith(("-n ", "-R", "-x", "-gpu"))]
    assert {"-n 8", '-R "span[ptile=4]"', "-x", '-gpu "num=4"', "-W 30", "-wt 2 -wa TERM"} <= set(lines("lsf"))


def test_flux_asks_for_time_in_its_own_words() -> None:
    assert {"-N 2", "--exclusive", "-t 30m", "--queue=gpu", "--bank=proj1"} <= set(lines("flux"))
    assert {"-n 8", "-c 4"} <= set(lines("flux", exclusive=False))


@pytest.mark.parametrize("name", sorted(set(SCHEDULERS) - {"local"}))
def test_directives_of_a_profile_come_last_and_as_they_are(name: str) -> None:
    found = lines(name, directives=["--odd=1"])
    assert found[-1] == "--odd=1"
    assert all(re.fullmatch(r"-{1,2}[^\n]+", line) for line in found)
