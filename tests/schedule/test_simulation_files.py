import csv
import io
import json
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread
from rich.console import Console

from layerbench.errors import StoreError, UsageError
from layerbench.schedule import trace
from layerbench.schedule.jobs import Job
from layerbench.schedule.outcome import Outcome
from layerbench.schedule.simulate import simulate
from layerbench.schedule.simulation_figure import STEPS, draw, rendered_as
from layerbench.schedule.simulation_text import print_outcomes
from layerbench.schedule.simulation_write import write_outcomes
from layerbench.schedule.trace import Arrival
from tests.report import synthetic
from tests.report.pictures import artist, overlaps, words
from tests.report.synthetic import stored
from tests.schedule.arrived import arrivals, curve, like_alexnet


def outcomes(noise: float = 0.0, cost: float | None = None, count: int = 40) -> dict[str, Outcome]:
    known = like_alexnet()
    arrived = trace.poisson(sorted(known), count, trace.rate_for_load(known, 16, 0.7), seed=3)
    return {policy: simulate(arrived, known, 16, policy, cost, noise) for policy in ("fifo", "best")}


def printed(found: dict[str, Outcome], wrong: dict[str, Outcome] | None = None) -> str:
    text = io.StringIO()
    print_outcomes(found, Console(file=text, width=120), wrong)
    return text.getvalue()


def test_policies_stand_side_by_side_the_best_first() -> None:
    found = outcomes()
    text = printed(found)
    assert text.startswith("40 jobs on 16 nodes\n")
    head, first, second = text.splitlines()[1:4]
    assert head.split() == ["policy", "mean", "p99", "wait", "slowdown", "node-hours", "utilisation", "makespan"]
    assert first.startswith("best")
    assert second.startswith("fifo")
    assert f"{found['best'].bounded_slowdown:.2f}" in first
    assert "fifo: each at its fastest count" in text
    assert max(map(len, text.splitlines()[1:4])) <= 120


def test_reallotments_are_told_where_there_are_any() -> None:
    text = printed(outcomes(cost=2.0))
    assert text.startswith("40 jobs on 16 nodes, elastic at 2 s a re-allotment\n")
    assert "re-allotments" in text.splitlines()[1]


def test_right_and_wrong_curves_are_set_side_by_side() -> None:
    right, wrong = outcomes(), outcomes(noise=0.2)
    text = printed(right, wrong)
    assert "planned with the right curves, and with times up to 20 % wrong" in text
    change = 100 * (wrong["best"].mean_completion / right["best"].mean_completion - 1)
    assert f"{change:+.1f} %" in text.split("wrong\n", 1)[1]


def test_names_steer_no_terminal() -> None:
    found = {"\x1b[31m[red]": next(iter(outcomes().values()))}
    text = printed(found, found)
    assert "\x1b" not in text
    assert "[red]" in text


def test_files_have_the_figures_and_every_job(tmp_path: Path) -> None:
    found, wrong = outcomes(cost=2.0), outcomes(noise=0.2)
    written = write_outcomes(found, tmp_path / "new", wrong)
    assert {path.name for path in written} == {
        *("outcome.json", "jobs.csv"),
        *(f"simulation-{name}{end}.{kind}" for name in found for end in ("", "-wrong") for kind in ("png", "svg")),
    }
    assert sorted(written) == sorted((tmp_path / "new").iterdir())
    told = json.loads((tmp_path / "new" / "outcome.json").read_text())
    assert [(one["policy"], one["noise"]) for one in told] == [("fifo", 0), ("best", 0), ("fifo", 0.2), ("best", 0.2)]
    assert told[1]["mean_completion"] == found["best"].mean_completion
    assert told[1]["reallotments"] == found["best"].reallotments > 0
    rows = list(csv.DictReader((tmp_path / "new" / "jobs.csv").read_text().splitlines()))
    assert len(rows) == 160
    for row, job in zip(rows[40:80], found["best"].jobs, strict=True):
        assert (row["job"], row["type"]) == (job.arrival.name, job.arrival.type)
        assert [float(row[name]) for name in ("arrival", "start", "end")] == [job.arrival.at, job.start, job.end]
        assert row["history"] == " ".join(f"{at!r}:{nodes}" for at, nodes in job.history)


def test_the_same_files_for_the_same_outcome(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        write_outcomes(outcomes(), tmp_path / folder)
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


def test_what_cannot_be_written_leaves_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "simulation-best.png").mkdir()
    (tmp_path / "outcome.json").write_text("old")
    with pytest.raises(StoreError, match="name another folder with --output"):
        write_outcomes(outcomes(), tmp_path)
    assert (tmp_path / "outcome.json").read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 2
    with pytest.raises(StoreError):
        write_outcomes(outcomes(), tmp_path / "outcome.json" / "out")
    with pytest.raises(UsageError, match="is a file: name a folder"):
        write_outcomes(outcomes(), tmp_path / "outcome.json")


def test_nothing_is_written_among_a_runs_files_or_over_the_trace(tmp_path: Path) -> None:
    found = outcomes(count=5)
    run = stored(synthetic.run(path=tmp_path / "run", nodes=[1]))
    (run / "trace.csv").write_text("trace")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for inputs in ([], [run], [run / "trace.csv"]):
        with pytest.raises(UsageError, match=r"is the folder of a run, .* a simulation would be: .*run/simulation$"):
            write_outcomes(found, run, inputs=inputs)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    for name in ("jobs.csv", "simulation-best-wrong.svg"):
        (tmp_path / name).write_text("trace")
        with pytest.raises(UsageError, match=f"has {name}, which is read and would be lost"):
            write_outcomes(found, tmp_path, found, inputs=[tmp_path / "curves.csv", tmp_path / name])
        assert (tmp_path / name).read_text() == "trace"
    assert not (tmp_path / "outcome.json").exists()


def area(picture: Figure, name: str) -> float:
    """Of what is drawn for a type, in nodes times the unit of the axis."""
    (path,) = artist(picture, f"nodes:{name}").get_paths()
    points = path.vertices
    return abs(float((points[:-1, 0] * points[1:, 1] - points[1:, 0] * points[:-1, 1]).sum() / 2))


@pytest.mark.parametrize("count", [40, 2 * STEPS])
def test_areas_are_node_seconds(count: int) -> None:
    best = outcomes(count=count)["best"]
    picture = draw(best)
    label = picture.axes[1].get_xlabel()
    scale = {"min": 60.0, "h": 3600.0}[label.split("(")[1].split(";")[0].rstrip(")")]
    assert ("means over" in label) == (count > STEPS)
    for type_ in like_alexnet():
        expected = sum(job.node_seconds for job in best.jobs if job.arrival.type == type_)
        assert area(picture, type_) * scale == pytest.approx(expected, rel=1e-6)
    assert overlaps(picture) == []
    assert "all 16 nodes" in words(picture)


def test_a_picture_of_one_job_of_a_strange_name(tmp_path: Path) -> None:
    name = "_$<b>\x1b" + "x" * 80
    known = {name: Job.of(name, name, [(1, 1e-9)])}
    for at in (0.0, 1e12):
        picture = draw(simulate([Arrival("a", name, at, 1.0)], known, 1))
        (tmp_path / "one.png").write_bytes(rendered_as(picture, "png"))
        assert imread(tmp_path / "one.png").shape[1] == 1500
        assert b"\x1b" not in rendered_as(picture, "svg")


def test_many_types_are_told_apart() -> None:
    known = {f"t{index}": curve(f"t{index}", n1=10.0 + index, n2=6.0) for index in range(40)}
    arrived = arrivals(*((type_, 3.0 * index, 1.0) for index, type_ in enumerate(known)))
    picture = draw(simulate(arrived, known, 8))
    assert "33 other types" in words(picture)
    assert overlaps(picture) == []


def test_pictures_of_an_earlier_simulation_are_removed(tmp_path: Path) -> None:
    (tmp_path / "simulation-fifo-wrong.svg").write_text("an earlier one")
    (tmp_path / "simulation-notes.txt").write_text("mine")
    curves = {"conv": Job("conv", "conv", (1, 2), (20.0, 11.0))}
    outcome = simulate([Arrival("a", "conv", 0.0, 1.0)], curves, 2, "fifo")
    write_outcomes({"fifo": outcome}, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {
        *("outcome.json", "jobs.csv", "simulation-fifo.png", "simulation-fifo.svg", "simulation-notes.txt"),
    }
