"""The page of a plan as a document, and as a reader has it: in a real browser, from a file, without a network."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import re
from collections.abc import Callable
from itertools import pairwise

import pytest

from layerbench.schedule import page, wording
from layerbench.schedule.jobs import Job
from layerbench.schedule.plan import Placement, Plan
from tests.browsed import Opened
from tests.report.page.test_render import Document
from tests.schedule import made

pytest.importorskip("jinja2", reason="jinja2 is not installed: pip install 'layerbench[html]'")
pytest.importorskip("plotly", reason="plotly is not installed: pip install 'layerbench[html]'")

Open = Callable[..., Opened]

HOSTILE = "</script><img src=x onerror=alert(1)>&lt;\x1b[31m"


def hostile() -> Plan:
    job = Job.of(HOSTILE, HOSTILE, [(1, 10.0)])
    return Plan(1, (Placement(job, 1, 0.0),), HOSTILE, {HOSTILE: 5.0}, notes=(HOSTILE,))


def rendered(plan: Plan) -> bytes:
    return page.render(plan, made.rows(plan))


def test_sections_in_order_and_the_contents_lead_to_them() -> None:
    plan = made.twelve()
    found = Document(rendered(plan))
    assert [words.replace("\u00a0", " ") for _, words in found.headings] == [
        *(wording.heading(plan), "Jobs over time", "Other schemes for the same jobs", "Placements"),
    ]
    levels = [int(level[1]) for level, _ in found.headings]
    assert all(after - before <= 1 for before, after in pairwise(levels))
    ids = [attributes["id"] for _, attributes in found.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = [str(attributes["href"]) for tag, attributes in found.elements if tag == "a"]
    assert {link.removeprefix("#") for link in links} <= set(ids)
    for told in ("L1 ", "utilisation", "every job on 8 nodes, the best single count", "1.170"):
        assert told in found.words


def test_without_other_schemes_there_is_no_table_of_them() -> None:
    assert "Other schemes" not in Document(page.render(made.three(), [])).words


def test_without_a_bound_none_is_spoken_of() -> None:
    assert "bound" not in Document(rendered(dataclasses.replace(made.three(), bounds={}))).words
    assert "lower bound" in Document(rendered(made.three())).words


def test_jobs_of_more_types_than_looks_bear_their_letter() -> None:
    found = Document(rendered(made.forty(12)))
    traces = json.loads(found.scripts[0])["plan"]["data"]
    assert [set(trace["text"]) for trace in traces[:12]] == [{letter} for letter in "ABCDEFGHIJKL"]
    assert "A: conv" in found.words


def test_all_placements_are_in_the_page() -> None:
    plan = dataclasses.replace(made.forty(), notes=("A note.",))
    found = Document(rendered(plan))
    charts, placements, _ = (json.loads(script) for script in found.scripts[:3])
    assert sorted(placements["cells"][0]) == sorted(one.job.name for one in plan.placements)
    assert sorted(placements["values"][4]) == sorted(one.end for one in plan.placements)
    bars = [trace for trace in charts["plan"]["data"] if trace["type"] == "bar"]
    area = sum(x * width for trace in bars for x, width in zip(trace["x"], trace["width"], strict=True))
    assert area * 3600 == pytest.approx(plan.node_seconds, rel=1e-4)
    assert "A note." in found.words


def test_nothing_breaks_out_and_only_the_pages_own_scripts_may_run() -> None:
    contents = rendered(hostile())
    found = Document(contents)
    assert not [tag for tag, _ in found.elements if tag == "img"]
    assert b"\x1b" not in contents
    (policy,) = [a["content"] for tag, a in found.elements if tag == "meta" and a.get("http-equiv")]
    for script in found.scripts[3:]:
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in str(policy)
    assert "default-src 'none'" in str(policy)


def test_the_page_is_the_same_every_time() -> None:
    assert rendered(made.forty()) == rendered(made.forty())


def test_ten_thousand_jobs_make_no_large_page() -> None:
    assert len(rendered(made.ten_thousand())) < 10e6


def test_in_a_browser_jobs_are_drawn_told_hidden_and_sorted(open_html: Open) -> None:
    opened = open_html(rendered(made.twelve()))
    view, cells = opened.view, "#records-table tbody tr td:nth-child({})"
    bars = view.locator("#plan .barlayer .point path")
    assert bars.count() == 12
    bars.nth(0).scroll_into_view_if_needed()
    bars.nth(0).hover(force=True)
    label = view.wait_for_selector("#plan .hoverlayer .hovertext", timeout=5000).text_content()
    assert re.search(r"conv-\d+conv\d+ nodes?.* node-hours[\d.]+ to [\d.]+ min", label)
    view.uncheck("[data-hide=kinds][value='0']")
    assert bars.count() == 9
    view.check("[data-hide=kinds][value='0']")
    assert bars.count() == 12
    assert len(opened.texts(cells.format(1))) == 12
    view.click("#records-table th:nth-child(5) button")
    ends = [float(text) for text in opened.texts(cells.format(5))]
    assert ends == sorted(ends)
    assert view.locator("#records-table th:nth-child(5)").get_attribute("aria-sort") == "ascending"
    view.focus("#records-table th:nth-child(5) button")
    view.keyboard.press("Enter")
    assert opened.texts(cells.format(5)) == [f"{end:.2f}" for end in reversed(ends)]
    view.fill("#placements-filter input", "lstm")
    assert set(opened.texts(cells.format(2))) == {"lstm"}
    assert view.inner_text("#placements-told") == "Rows 1 to 3 of 3, filtered from 12."
    assert opened.faults == []


@pytest.mark.parametrize("plan", [made.forty, hostile], ids=["forty", "hostile"])
def test_on_a_narrow_dark_screen_nothing_is_wider_than_it(plan: Callable[[], Plan], open_html: Open) -> None:
    opened = open_html(rendered(plan()), width=400, scheme="dark")
    assert opened.view.evaluate("document.documentElement.scrollWidth") == 400
    assert opened.view.locator("#plan .barlayer .point path").count() > 0
    assert opened.view.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(13, 17, 23)"
    assert opened.faults == []
