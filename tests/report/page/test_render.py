"""The page as a document: what is in it, that nothing breaks out of it, and that it is small, quick and repeatable."""

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from itertools import pairwise

import msgspec
import pytest

from layerbench.report import page
from layerbench.report.page import palette
from layerbench.report.page.words import visible
from layerbench.report.tables import Tables
from layerbench.store import StoredRun
from tests.report import synthetic
from tests.report.page import made

pytest.importorskip("jinja2", reason="jinja2 is not installed: pip install 'layerbench[html]'")
pytest.importorskip("plotly", reason="plotly is not installed: pip install 'layerbench[html]'")


class Document(HTMLParser):
    """Elements, headings, ids and text of a page; its scripts apart."""

    def __init__(self, contents: bytes) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.headings: list[tuple[str, str]] = []
        self.text: list[str] = []
        self.scripts: list[str] = []
        self._open: list[str] = []
        self.feed(contents.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._open.append(tag)
        if re.fullmatch("h[1-6]", tag):
            self.headings.append((tag, ""))
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        if tag in self._open:
            while self._open.pop() != tag:
                pass

    def handle_data(self, told: str) -> None:
        inside = self._open[-1] if self._open else ""
        if inside == "script":
            self.scripts[-1] += told
        elif inside != "style":
            self.text.append(told)
            if re.fullmatch("h[1-6]", inside):
                level, words = self.headings[-1]
                self.headings[-1] = level, words + told

    @property
    def words(self) -> str:
        return " ".join(" ".join(self.text).split())


def document(tables: Tables, *, claims: bool = True) -> Document:
    return Document(page.render(tables, made.claims(tables) if claims else None))


def test_sections_in_order_and_the_contents_lead_to_them() -> None:
    found = document(made.every_mark())
    assert [words for level, words in found.headings if level in ("h1", "h2")] == [
        "alexnet: a training step on 1, 2, 4 and 8 nodes",
        "Settings and environment",
        "Running time of a step",
        "Parts of a step",
        "MACs per byte",
        "Roofline",
        "Observations checked",
        "Published times of the same shapes",
        "Samples",
        "Records",
    ]
    levels = [int(level[1]) for level, _ in found.headings]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    ids = [attributes["id"] for _, attributes in found.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = [str(attributes["href"]) for tag, attributes in found.elements if tag == "a"]
    assert {link.removeprefix("#") for link in links} <= set(ids)


def test_what_was_run_and_what_is_wrong_with_its_folder() -> None:
    run = synthetic.run()
    words = document(made.of(StoredRun(run.path, run.manifest, run.records, ["line 7 is cut off"] * 30))).words
    assert "2 January 2026, 03:04 to 03:06 UTC; finished" in words
    assert words.count("line 7 is cut off") == 12
    assert "and 18 more of the kind" in words
    for fact in (
        "AMD EPYC 7R13 Processor",
        "layerbench run --suite alexnet",
        "L3 33.6 MB",
        "numpy 2.4.6",
        "1/β 3.8 GB/s",
    ):
        assert fact in words
    for setting in ("threads per rank", "max samples 10,000"):
        assert setting in words
    assert "emulated (4 and 8 nodes): every rank's share was timed alone" in words


def test_failures_are_listed_with_their_reason() -> None:
    words = document(made.every_mark()).words
    assert "failed conv3 4 forward, backward data, backward weights, communication, step out of memory" in words
    assert "batch 16 leaves a rank without samples" in words


def test_differences_of_several_runs_are_told_in_words_and_marked() -> None:
    one, two = synthetic.run(), synthetic.run(batch=32)
    manifest = msgspec.structs.replace(
        two.manifest, environment={**two.manifest.environment, "hostname": "node18", "turbo": True}
    )
    found = document(made.of(one, StoredRun(two.path, manifest, two.records)))
    assert "Settings: the runs differ in batch; in 21 they agree." in found.words
    assert "Environment: the runs differ in hostname and turbo; in" in found.words
    assert "hostname node17 node18 differs" in found.words
    assert "turbo – yes differs" in found.words
    assert sum(attributes.get("class") == "differs" for _, attributes in found.elements) == 3


def test_observations_with_their_verdicts() -> None:
    tables = made.ordinary(nodes=(1,))
    found = document(tables)
    assert "a Time falls as nodes grow. holds From 2.37 s to 305 ms." in found.words
    classes = [str(attributes.get("class")) for tag, attributes in found.elements if tag == "td"]
    assert [c for c in classes if c.startswith("verdict")] == ["verdict good", "verdict bad", "verdict unsure"]
    assert "Observations checked" not in document(tables, claims=False).words


def test_spaces_at_which_no_line_breaks_are_shown_as_spaces() -> None:
    tables = made.ordinary(nodes=(1,))
    claims = made.claims(tables).assign(evidence="From 2.37 s ± 8.6 % to 305\u202fms")
    html = page.render(tables, claims).decode()
    assert "± 8.6\u00a0% to 305\u202fms" in html
    assert "\\xa0%" not in html


def test_the_table_of_records_is_not_within_the_frame() -> None:
    html = page.render(made.ordinary(nodes=(1,)), None).decode()
    main = html[html.index('<main class="whole">') : html.index("</main>")]
    depth = 0
    for tag in re.findall(r"</?div|<section id=\"records\"", main):
        depth += {"<div": 1, "</div": -1}.get(tag, 0)
        if tag.startswith("<section"):
            assert depth == 0
            break
    else:
        raise AssertionError("no table of records")


def test_charts_have_words_and_numbers() -> None:
    tables = made.ordinary()
    found = document(tables)
    summaries = [str(a["aria-label"]) for _, a in found.elements if a.get("role") == "img"]
    assert len(summaries) == 3 + 3 + 1 + 1 + 1 + 1
    assert any(
        told.startswith("Running time of a step against nodes, both logarithmic: conv: 2.") for told in summaries
    )
    assert found.words.count("Numbers: ") >= 4


def test_names_break_nothing() -> None:
    tables = made.hostile()
    contents = page.render(tables, made.claims(tables))
    found = Document(contents)
    assert not [tag for tag, _ in found.elements if tag in ("img", "i", "iframe", "object", "link")]
    assert [a for _, a in found.elements if any(name.startswith("on") for name in a)] == []
    for name in (made.HOSTILE[0], made.HOSTILE[2], made.REASON):
        assert name in found.words
    data = [script for script in found.scripts if script.startswith("{")]
    assert len(data) == 3
    for script in data:
        assert not re.search(r"[<>&\u2028\u2029]", script)
    records = json.loads(data[1])
    assert set(map(visible, made.HOSTILE)) <= set(records["words"]["layer"])


def test_nothing_is_asked_of_a_server_and_only_the_pages_own_scripts_run() -> None:
    found = document(made.ordinary(nodes=(1,)))
    policy = next(str(a["content"]) for _, a in found.elements if a.get("http-equiv") == "Content-Security-Policy")
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    run = [script for script in found.scripts if not script.startswith("{")]
    digests = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in run]
    assert rules["script-src"] == " ".join(f"'sha256-{digest}'" for digest in digests)
    assert not [a for _, a in found.elements for name in ("src", "srcset", "action") if name in a]
    assert [a["href"] for _, a in found.elements if "href" in a and not str(a["href"]).startswith("#")] == []


def test_the_same_bytes_again() -> None:
    tables = made.every_mark()
    assert page.render(tables, made.claims(tables)) == page.render(tables, made.claims(tables))


def test_a_warning_about_a_folder_whose_name_is_no_text() -> None:
    run = synthetic.run(nodes=(1,))
    words = document(made.of(StoredRun(run.path, run.manifest, run.records, ["runs/\udce9: line 3 is cut off"]))).words
    assert r"runs/\udce9: line 3 is cut off" in words


def luminance(colour: str) -> float:
    """Relative luminance as WCAG 2 defines it."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("text", ["INK", "QUIET", "LINK", "GOOD", "BAD", "UNSURE"])
def test_text_has_contrast(text: str, dark: bool) -> None:
    for ground in ("PAPER", "RAISED", *(["HIGHLIGHT"] if text == "INK" else [])):
        one, other = (getattr(palette, name) for name in (text, ground))
        if dark:
            one, other = palette.DARK[one], palette.DARK[other]
        low, high = sorted([luminance(one), luminance(other)])
        assert (high + 0.05) / (low + 0.05) >= 4.5
