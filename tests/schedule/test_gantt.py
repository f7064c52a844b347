import dataclasses
import io
import time
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.image import imread

from layerbench.schedule import gantt, looks
from layerbench.schedule.jobs import Job
from layerbench.schedule.plan import Placement, Plan
from tests.report.pictures import artist, gids, overlaps, words
from tests.schedule import made


def drawn(plan: Plan) -> Figure:
    return gantt.draw(plan, made.rows(plan))


def rectangles(picture: Figure, label: str) -> np.ndarray:
    """Start, end, lowest and highest node of each rectangle of a type."""
    corners = artist(picture, f"jobs:{label}").get_path().vertices.reshape(-1, 5, 2)
    return np.array([(*of[:, 0][[0, 1]], *of[:, 1][[0, 2]]) for of in corners])


def test_every_job_is_a_rectangle_of_its_time_and_nodes_in_its_types_look() -> None:
    plan = made.twelve()
    picture = drawn(plan)
    for group in looks.groups(plan.placements):
        own = [one for one in plan.placements if one.job.type in group.types]
        found = rectangles(picture, group.label)
        assert [(row[0], row[1], row[3] - row[2]) for row in found] == [
            (pytest.approx(one.start / 60), pytest.approx(one.end / 60), one.nodes) for one in own
        ]
        patch = artist(picture, f"jobs:{group.label}")
        assert to_hex(patch.get_facecolor()) == group.look.tint
        assert (patch.get_hatch() or "") == group.look.hatch


def test_nodes_in_use_are_stacked_up_to_what_is_busy() -> None:
    plan = made.twelve()
    picture = drawn(plan)
    x, y = artist(picture, "use").get_data()
    assert x[-1] == pytest.approx(plan.makespan / 60)
    area = float(np.sum(np.asarray(y)[:-1] * np.diff(x))) * 60
    assert area == pytest.approx(plan.node_seconds)
    assert list(artist(picture, "nodes").get_ydata()) == [16, 16]
    assert {gid for gid in gids(picture) if gid.startswith("use:")} == {
        f"use:{kind}" for kind in ("conv", "fc", "lstm", "alexnet")
    }


def test_the_bound_is_drawn_through_both_panels_and_told() -> None:
    plan = made.twelve()
    picture = drawn(plan)
    lines = picture.findobj(lambda one: one.get_gid() == "bound")
    assert [line.get_xdata()[0] for line in lines] == [pytest.approx(plan.lower_bound / 60)] * 2
    assert "(lower bound)" in words(picture)
    without = gantt.draw(dataclasses.replace(plan, bounds={}))
    assert "bound" not in gids(without)
    assert "bound" not in words(without)
    assert "possible" not in words(without)


def test_title_axes_key_and_names() -> None:
    plan = made.twelve()
    said = words(drawn(plan))
    for told in ("12 jobs on 16 nodes: makespan", "time (min)", "nodes in use", "all 16 nodes", "conv", "alexnet"):
        assert told in said
    assert "uniform" in said
    named = [one.job.name for one in plan.placements if one.job.name in said]
    assert len(named) >= 10


def long_names() -> Plan:
    plan = made.listed(made.jobs(30, [f"{'a_long_type_' * 6}{i}" for i in range(30)], 8), 8)
    return dataclasses.replace(plan, policy="best")


def alike() -> Plan:
    jobs = [Job.of(f"job {i}", "conv", [(1, 10.0)]) for i in range(4)]
    return Plan(4, tuple(Placement(job, 1, 0.0) for job in jobs), "exact", {"L1": 10.0}, proven=True)


CASES = {
    "three": made.three,
    "twelve": made.twelve,
    "forty": made.forty,
    "forty of 12 types": lambda: made.forty(12),
    "forty of 40 types": lambda: made.forty(40),
    "long names": long_names,
    "alike": alike,
    "one node": lambda: made.listed(made.jobs(5, ["conv"], 1), 1),
}


@pytest.mark.parametrize("case", CASES)
def test_no_text_covers_another_or_leaves_the_page(case: str) -> None:
    assert overlaps(drawn(CASES[case]())) == []


def test_more_types_than_looks_have_their_letter_in_the_key_and_in_the_job() -> None:
    said = words(drawn(made.forty(12)))
    assert "A: conv" in said
    assert "A: conv-036" in said


def test_the_least_possible_is_called_that() -> None:
    assert "4 jobs on 4 nodes: makespan 10.0 s, the least possible" in words(drawn(alike()))


def test_ten_thousand_jobs_are_drawn_soon_and_into_a_small_file() -> None:
    plan = made.ten_thousand()
    start = time.process_time()
    picture = drawn(plan)
    png, svg = gantt.rendered(picture, "png"), gantt.rendered(picture, "svg")
    assert time.process_time() - start < 10
    assert max(len(png), len(svg)) < 5e6
    assert "means over each of 1,000 parts of the makespan" in " ".join(words(picture).split())


def test_files_are_the_same_every_time_and_have_the_size_they_claim() -> None:
    first, again = drawn(made.twelve()), drawn(made.twelve())
    png = gantt.rendered(first, "png")
    assert png == gantt.rendered(again, "png")
    svg = gantt.rendered(first, "svg")
    assert svg == gantt.rendered(again, "svg")
    assert b"<dc:date>" not in svg
    assert imread(io.BytesIO(png)).shape[1] == gantt.WIDTH * gantt.DPI


def test_names_with_markup_control_or_foreign_letters_are_drawn_as_they_are() -> None:
    jobs = [Job.of(name, name, [(1, 10.0)]) for name in ("$x^2$", "層", "<b>&", "\x1b[31m", "half \ud800")]
    picture = drawn(Plan(5, tuple(Placement(job, 1, 0.0) for job in jobs), "best"))
    assert "$x^2$" in words(picture)
    assert "\x1b" not in words(picture)
    assert gantt.rendered(picture, "png")
    ET.fromstring(gantt.rendered(picture, "svg"))


def test_drawing_leaves_the_users_settings_alone_and_is_not_changed_by_them() -> None:
    import matplotlib

    before = gantt.rendered(drawn(made.three()), "png")
    with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "red"}):
        after = gantt.rendered(drawn(made.three()), "png")
        assert matplotlib.rcParams["font.size"] == 30
    assert before == after
