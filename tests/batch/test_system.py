"""Profiles: shipped ones, a user's own, and every mistake told in one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from layerbench.batch import system as systems
from layerbench.batch.schedulers.registry import SCHEDULERS
from layerbench.batch.system_format import parse
from layerbench.errors import UsageError
from tests.conftest import Layerbench, assert_one_line

LEAST = 'scheduler = "slurm"\nlauncher = "srun"\n'


@pytest.fixture(autouse=True)
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's own folder."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    folder = tmp_path / "config" / "layerbench" / "systems"
    folder.mkdir(parents=True)
    return folder


def test_those_of_the_manual_are_shipped() -> None:
    clusters = {"blue-waters", "blue-waters-xe", "delta", "perlmutter"}
    assert set(systems.names()) == clusters | {"slurm", "openpbs", "torque", "lsf", "flux", "local"}
    assert {systems.load(name).scheduler for name in systems.names()} == set(SCHEDULERS)


def test_blue_waters_is_what_the_machine_was() -> None:
    """Sixteen integer cores and one K20X a node, 4,228 of them; figures of the machine's user guide."""
    system = systems.load("blue-waters")
    assert (system.nodes, system.cores_per_node, system.gpus_per_node) == (4228, 16, 1)
    assert (system.feature, system.launcher, system.wrapper) == ("xk", "aprun", "bwpy-environ --")


def test_a_users_own_is_found_by_name_and_by_path(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (own / "mine.toml").write_text(LEAST + "cores_per_node = 8\n")
    assert systems.load("mine").cores_per_node == 8
    assert systems.load(str(own / "mine.toml")).name == "mine"
    monkeypatch.delenv("XDG_CONFIG_HOME")
    monkeypatch.setenv("HOME", str(own.parents[2]))
    (own.parents[2] / "config").rename(own.parents[2] / ".config")
    assert systems.load("mine").cores_per_node == 8


def test_two_of_one_name_are_not_chosen_between(own: Path) -> None:
    (own / "delta.toml").write_text(LEAST)
    with pytest.raises(UsageError, match=r"delta.*rename"):
        systems.load("delta")


def test_a_name_that_is_nearly_right_is_guessed() -> None:
    with pytest.raises(UsageError, match=r"unknown \(did you mean 'perlmutter'\?\); known are blue-waters, "):
        systems.load("permutter")


BAD = [
    ("", "scheduler: is missing"),
    ('scheduler = "slurm"\n', "launcher: is missing"),
    ('scheduler = "slurn"\nlauncher = "srun"\n', "scheduler: expected one of .*did you mean 'slurm'"),
    (LEAST + "cores_per_nod = 3\n", "unknown entry 'cores_per_nod' .did you mean 'cores_per_node'"),
    (LEAST + 'name = "x"\n', "unknown entry 'name'"),
    (LEAST + "cores_per_node = 0\n", "cores_per_node: expected a whole number from 1 "),
    (LEAST + "cores_per_node = true\n", "cores_per_node: expected a whole number"),
    (LEAST + "cores_per_node = 1.5\n", "cores_per_node: expected a whole number"),
    (LEAST + "gpus_per_node = -1\n", "gpus_per_node: expected a whole number from 0"),
    (LEAST + "exclusive = 1\n", "exclusive: expected true or false, not 1"),
    (LEAST + "modules = 'a'\n", "modules: expected a list of texts, not 'a'"),
    (LEAST + "modules = ['a', 1]\n", "modules: entry 2: expected text"),
    (LEAST + 'directives = ["a\\n#SBATCH --b"]\n', "directives: entry 1: expected text on one line"),
    (LEAST + "directives = [' ']\n", "directives: entry 1: is empty"),
    (LEAST + 'directives = ["#SBATCH --x"]\n', "directives: entry 1: expected a directive without its prefix"),
    (LEAST + 'directives = ["--gpu-bind=closest", "--nodes=3"]\n', "directives: entry 2: '--nodes=3' cannot be here"),
    (LEAST + 'directives = ["-N3"]\n', "directives: entry 1: '-N3' cannot be here"),
    (LEAST + 'directives = ["--signal=USR1@10"]\n', "directives: entry 1: '--signal=USR1@10' cannot be here"),
    (LEAST + 'directives = ["-c 4"]\n', "directives: entry 1: '-c 4' cannot be here"),
    ('scheduler = "lsf"\nlauncher = "jsrun"\ndirectives = ["-wt 5"]\n', "entry 1: .* cannot be here"),
    ('scheduler = "torque"\nlauncher = "aprun"\ndirectives = ["-l gres=ccm,nodes=3"]\n', "entry 1: .* cannot be here"),
    ('scheduler = "lsf"\nlauncher = "jsrun"\ndirectives = ["-nnodes 2"]\n', "entry 1: .* cannot be here"),
    ('scheduler = "flux"\nlauncher = "flux"\ndirectives = ["-N 2"]\n', "entry 1: .* cannot be here"),
    ('scheduler = "local"\nlauncher = "auto"\ndirectives = ["-N 2"]\n', "directives: jobs of this machine"),
    ('scheduler = "slurm"\nlauncher = "aprun"\n', "launcher: aprun: does not work in a job of slurm; srun, mpiexec"),
    (LEAST + 'queue = "a b"\n', "queue: expected one word"),
    (LEAST + 'feature = "a\\"b"\n', "feature: expected one word"),
    (LEAST + "environment = 'a'\n", "environment: expected a table"),
    (LEAST + "[environment]\n'A B' = 'c'\n", "'A B' is no variable's name"),
    (LEAST + "[environment]\nA = 1\n", "environment: A: expected text"),
    (LEAST + "[environment]\njob = 'x'\n", "environment: job is a variable of the job script"),
    (LEAST + "[queue_gpus_per_node]\ncpu = -1\n", "queue_gpus_per_node: cpu: expected a whole number from 0"),
    (LEAST + "[queue_gpus_per_node]\ncpu = '0'\n", "queue_gpus_per_node: cpu: expected a whole number from 0"),
    (LEAST + "queue_gpus_per_node = 0\n", "queue_gpus_per_node: expected a table of name = number"),
    (LEAST + "walltime_most = '30m'\n", "walltime_most '30m': expected hours"),
    (LEAST + "[queue_walltime_most]\na = '1'\n", "queue_walltime_most: a '1'"),
    (LEAST + "walltime_most = '00:10:00'\nwalltime_default = '00:20:00'\n", "walltime_default: is more"),
    (LEAST + "cores_per_node = 4\nranks_per_node = 8\n", "8 ranks of 1 threads exceed cores_per_node, 4"),
    ('scheduler = "flux"\nlauncher = "flux"\nmemory = "1G"\n', "memory: flux has no word for it, slurm, openpbs have"),
    ('scheduler = "torque"\nlauncher = "aprun"\nqueue_option = "qos"\n', "queue_option: torque has no word"),
    ("scheduler = ", "is not valid TOML"),
    ("\udcff", "is not valid TOML"),
    ("a = " + "[" * 100_000, "nested too deeply|not valid TOML"),
    ("#" * 2**21, "too large"),
]


@pytest.mark.parametrize(
    ("scheduler", "launcher", "directive"),
    [
        ("slurm", "srun", "--nodelist=a"),
        ("slurm", "srun", "--time-min=1"),
        ("slurm", "srun", "-C gpu"),
        ("torque", "aprun", "-l gres=ccm"),
        ("openpbs", "mpiexec", "-l filesystems=home"),
        ("lsf", "jsrun", "-alloc_flags gpumps"),
        ("flux", "flux", "-o verbosity=2"),
    ],
)
def test_a_directive_that_only_looks_like_one_of_ours_is_taken(scheduler: str, launcher: str, directive: str) -> None:
    text = f'scheduler = "{scheduler}"\nlauncher = "{launcher}"\ndirectives = ["{directive}"]\n'
    assert parse(text.encode(), "odd", "odd.toml").directives == [directive]


@pytest.mark.parametrize(("text", "message"), BAD, ids=[message for _, message in BAD])
def test_a_mistake_is_told_with_its_place(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as raised:
        parse(text.encode(errors="surrogateescape"), "odd", "odd.toml")
    assert str(raised.value).startswith("odd.toml: ")
    assert "\n" not in str(raised.value)


def test_a_file_is_named_as_a_system_can_be(tmp_path: Path) -> None:
    path = tmp_path / "my system.toml"
    path.write_text(LEAST)
    with pytest.raises(UsageError, match="'my system'"):
        systems.load(str(path))


def test_they_are_listed_and_shown(own: Path, layerbench: Layerbench) -> None:
    (own / "broken.toml").write_text("x = 1")
    (own / "mine.toml").write_text(LEAST + 'description = "a laptop"\n')
    listing = layerbench("systems")
    assert listing.returncode == 0, listing.stderr
    assert "blue-waters" in listing.stdout
    assert "a laptop" in listing.stdout
    assert "unknown entry" in listing.stdout
    rows = json.loads(layerbench("systems", "--format", "json").stdout)
    assert [row["name"] for row in rows] == [*systems.names(), "broken", "mine"]
    shown = layerbench("systems", "openpbs")
    assert "HYDRA_RMK = user" in shown.stdout
    entries = json.loads(layerbench("systems", "perlmutter", "--format", "json").stdout)
    assert entries["gpus_per_node"] == 4
    assert_one_line(layerbench("systems", "broken"), "broken.toml", "unknown entry 'x'")
