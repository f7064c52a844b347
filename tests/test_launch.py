"""Command lines, word by word; hosts; which mpiexec; what every rank finds in its environment."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from layerbench import launch
from layerbench.errors import UnavailableError, UsageError
from layerbench.launch import World, command_line, hydra, open_mpi, rank_environment, read_hosts

WORKER = ["python", "-m", "layerbench.worker", "a.json"]
ROOT = ["--allow-run-as-root"] if os.geteuid() == 0 else []
THREADS = "-x BLIS_NUM_THREADS -x MKL_NUM_THREADS -x OMP_NUM_THREADS -x OPENBLAS_NUM_THREADS"


@pytest.fixture(autouse=True)
def _fresh_flavours() -> None:
    launch.flavour.cache_clear()


def fake(path: Path, prints: str) -> Path:
    """A program that prints something, whatever it is asked."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\ncat <<'END'\n{prints}\nEND\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(
    ("world", "extra", "line"),
    [
        (World(1, 1), [], "mpiexec -n 1"),
        (World(4, 1), [], "mpiexec -n 4"),
        (World(4, 2, ("n1", "n2")), [], "mpiexec -hosts n1,n2 -ppn 2 -n 4"),
        (World(1, 1, ("n1",)), [], "mpiexec -hosts n1 -ppn 1 -n 1"),
        (World(2, 1, ("a", "b")), ["-iface", "eth0"], "mpiexec -iface eth0 -hosts a,b -ppn 1 -n 2"),
    ],
)
def test_hydra(world: World, extra: list[str], line: str) -> None:
    assert hydra("mpiexec", world, extra, WORKER) == [*line.split(), *WORKER]


@pytest.mark.parametrize(
    ("world", "extra", "line"),
    [
        (World(2, 1), [], "--bind-to none --oversubscribe -n 2"),
        (World(4, 2, ("n1", "n2")), [], f"--bind-to none --host n1:2,n2:2 --map-by ppr:2:node {THREADS} -n 4"),
        (
            World(2, 2, ("n1",)),
            ["--mca", "btl", "tcp"],
            f"--bind-to none --host n1:2 --map-by ppr:2:node {THREADS} --mca btl tcp -n 2",
        ),
    ],
)
def test_open_mpi(world: World, extra: list[str], line: str) -> None:
    assert open_mpi("mpirun", world, extra, WORKER) == ["mpirun", *ROOT, *line.split(), *WORKER]


def test_open_mpi_refuses_root_unless_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for user, told in ((0, True), (1000, False)):
        monkeypatch.setattr(os, "geteuid", lambda user=user: user)
        assert ("--allow-run-as-root" in open_mpi("mpirun", World(1, 1), [], WORKER)) is told


@pytest.mark.parametrize(
    ("says", "build"),
    [
        ("HYDRA build details:\n    Version: 4.3.1", hydra),
        ("Intel(R) MPI Library for Linux* OS, Version 2021.11", hydra),
        ("mpiexec (OpenRTE) 4.1.6", open_mpi),
        ("mpirun (Open MPI) 5.0.1", open_mpi),
        ("prterun (PRRTE) 3.0.2", open_mpi),
        ("something else", hydra),
    ],
)
def test_the_command_line_suits_the_mpiexec_that_is_found(
    says: str, build: Callable[..., list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = fake(tmp_path / "bin" / "mpiexec", says)
    monkeypatch.setattr(launch, "find_mpiexec", lambda: str(program))
    assignment = tmp_path / "with a space.json"
    world = World(2, 1, ("a", "b"))
    worker = [sys.executable, "-m", "layerbench.worker", str(assignment)]
    assert command_line("mpiexec", world, 1, "-x 'one word'", assignment) == build(
        str(program), world, ["-x", "one word"], worker
    )


def test_a_program_that_will_not_say_is_taken_for_mpich(tmp_path: Path) -> None:
    assert launch.flavour(str(tmp_path / "nothing")) == "hydra"


def test_without_a_launcher_the_worker_is_the_command(tmp_path: Path) -> None:
    assert command_line("none", World(1, 1), 1, "", tmp_path / "a.json") == [
        sys.executable,
        "-m",
        "layerbench.worker",
        str(tmp_path / "a.json"),
    ]


def test_no_mpiexec_is_said_with_what_mends_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "find_mpiexec", lambda: None)
    with pytest.raises(UnavailableError, match=r"pip install 'layerbench\[local\]'"):
        command_line("mpiexec", World(2, 1), 1, "", tmp_path / "a.json")


def test_mpiexec_of_the_environment_comes_before_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "venv" / "python"))
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    assert launch.find_mpiexec() is None
    run = fake(tmp_path / "path" / "mpirun", "")
    assert launch.find_mpiexec() == str(run), "some systems have mpirun only"
    elsewhere = fake(tmp_path / "path" / "mpiexec", "")
    assert launch.find_mpiexec() == str(elsewhere)
    own = fake(tmp_path / "venv" / "mpiexec", "")
    assert launch.find_mpiexec() == str(own)


@pytest.mark.parametrize(
    ("launcher", "world", "arguments", "line"),
    [
        ("srun", World(8, 4), "--mpi=pmi2", "srun --nodes=2 --ntasks=8 --ntasks-per-node=4 --cpu-bind=none --mpi=pmi2"),
        ("srun", World(1, 1), "", "srun --nodes=1 --ntasks=1 --ntasks-per-node=1 --cpu-bind=none"),
        (
            "aprun",
            World(8, 2),
            "-cc none -b -- bwpy-environ --",
            "aprun -n 8 -N 2 -d 3 -cc none -b -- bwpy-environ --",
        ),
        ("jsrun", World(4, 2), "-b none", "jsrun -n 4 -r 2 -a 1 -c 3 -b none"),
        ("flux", World(4, 2), "-o pmi=simple", "flux run -N 2 -n 4 -c 3 -o pmi=simple"),
    ],
)
def test_launchers_of_batch_systems(launcher: str, world: World, arguments: str, line: str, tmp_path: Path) -> None:
    """Further arguments stand last: they may end in a program that every rank is wrapped in."""
    path = tmp_path / "a.json"
    assert command_line(launcher, world, 3, arguments, path) == [*line.split(), *launch.worker_command(path)]


@given(st.lists(st.text(), max_size=5))
def test_launcher_arguments_are_split_as_a_shell_would(words: list[str]) -> None:
    assert launch.split_arguments(shlex.join(words)) == words


def test_an_open_quotation_is_said_in_one_line() -> None:
    with pytest.raises(UsageError, match=r"--launcher-args .*No closing quotation"):
        launch.split_arguments("-x 'open")


def test_every_threading_library_gets_the_thread_count() -> None:
    base = {"PATH": "/bin", "OMP_NUM_THREADS": "64", "OMP_PROC_BIND": "close"}
    told = rank_environment(3, (), base)
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS"):
        assert told[variable] == "3"
    assert told["PATH"] == "/bin"
    assert told["OMP_PROC_BIND"] == "close"
    assert base["OMP_NUM_THREADS"] == "64", "the caller's own is left alone"


def test_without_hosts_mpich_stays_on_this_machine_even_within_a_job() -> None:
    assert rank_environment(1, (), {})["HYDRA_LAUNCHER"] == "fork"
    assert rank_environment(1, (), {})["HYDRA_RMK"] == "user"
    assert rank_environment(1, (), {"HYDRA_LAUNCHER": "slurm"})["HYDRA_LAUNCHER"] == "slurm", "whoever sets it knows"
    assert "HYDRA_LAUNCHER" not in rank_environment(1, ("a", "b"), {})
    assert "HYDRA_LAUNCHER" not in rank_environment(1, (), {"HYDRA_HOST_FILE": "hosts"})


@pytest.mark.parametrize(
    ("text", "hosts"),
    [
        ("a", ("a",)),
        ("b, a ,b", ("b", "a")),
        ("node-01.cluster.example,10.0.0.2,under_score", ("node-01.cluster.example", "10.0.0.2", "under_score")),
        (",a,,", ("a",)),
    ],
)
def test_hosts_by_name(text: str, hosts: tuple[str, ...]) -> None:
    assert read_hosts(text) == hosts


def test_a_long_list_of_hosts_is_no_file_name() -> None:
    names = [f"nid{number:05d}" for number in range(2000)]
    assert read_hosts(",".join(names)) == tuple(names)


def test_hosts_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "hosts"
    path.write_text("# ours\nn1 slots=2\nn2:4\n\n  n3   # spare\nn1\n")
    assert read_hosts(str(path)) == ("n1", "n2", "n3")


@pytest.mark.parametrize(
    "text",
    [
        "",
        ",",
        "a,$(reboot)",
        "a;b",
        "a b",
        "a,`id`",
        "-oProxyCommand,a",
        "--hosts",
        "a|b",
        "a\nb",
        "../etc/passwd",
        "ä",
        "a" * 5000 + "/",
    ],
)
def test_what_is_no_host_name_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        read_hosts(text)
    assert str(caught.value).startswith("--hosts ")
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("content", [b"", b"# none\n\n", b"a\n-x\n", b"\xff\xfe\n", b"a/b\n"])
def test_a_hosts_file_with_mistakes_is_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "hosts"
    path.write_bytes(content)
    with pytest.raises(UsageError) as caught:
        read_hosts(str(path))
    assert str(path) in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
