"""What stands in a run cannot steer a terminal, nor break a text into lines of its own."""

from __future__ import annotations

import io
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import msgspec
import pytest
from plotly.offline import get_plotlyjs
from rich.console import Console

from layerbench import store, suite
from layerbench.records import Launch
from layerbench.report import cells, report
from layerbench.store import StoredRun
from tests.report import synthetic
from tests.report.synthetic import stored

EVIL = "x\x1b[2J\r\n# y\x07\x9b"
FLAT = r"x\x1b[2J # y\x07\x9b"
LAUNCH = Launch(purpose="measure", nodes=1, ranks=1, placement="measured", mpi=EVIL, hosts=[EVIL])

replace = msgspec.structs.replace


def places() -> dict[str, StoredRun]:
    """A run for each place where words of a run stand, with control characters there."""
    layer = suite.load("alexnet").layers[-1]
    small: dict[str, Any] = {"nodes": [1], "layers": [layer]}
    plain = synthetic.run(**small)

    def of(**changes: Any) -> StoredRun:
        return StoredRun(plain.path, replace(plain.manifest, **changes), plain.records)

    named = replace(layer, name=EVIL)
    return {
        "name": synthetic.run(nodes=[1], layers=[named]),
        "reason": synthetic.run(**small, change=synthetic.failed("lstm", 1, EVIL)),
        "kernels": synthetic.run(**small, change=lambda record: replace(record, kernels=EVIL, algorithm=EVIL)),
        "suite": of(suite=EVIL, suite_source=EVIL),
        "command": of(command=EVIL),
        "processor": of(environment={"cpu_model": EVIL, "hostname": EVIL, EVIL: EVIL}),
        "hosts": of(launches=[replace(LAUNCH, hosts=[EVIL])]),
    }


@pytest.mark.parametrize("place", places())
def test_control_characters_are_shown_not_sent(tmp_path: Path, place: str) -> None:
    run = places()[place]
    folder = stored(StoredRun(tmp_path / "run", run.manifest, run.records))
    out = io.StringIO()
    report([folder], console=Console(file=out, width=200), html=True)
    told = {"terminal": out.getvalue(), "report.md": (folder / "report/report.md").read_text()}
    told |= {path.name: path.read_text() for path in (folder / "report/figures").glob("*.md")}
    told["report.html"] = (folder / "report/report.html").read_text().replace(get_plotlyjs(), "")
    for name, text in told.items():
        raw = {letter for letter in text if letter < " " or "\x7f" <= letter <= "\x9f"} - {"\n"}
        assert not raw, f"{name} has {sorted(raw)}"
        assert name == "report.html" or "\n# y" not in text, name
    if place not in ("name", "command", "hosts"):
        assert FLAT in told["terminal"]
    assert cells.escape(EVIL) in told["report.md"]
    for path in (folder / "report").rglob("*.svg"):
        ET.fromstring(path.read_bytes())


def test_a_damaged_line_is_quoted_without_its_control_characters(tmp_path: Path) -> None:
    folder = stored(synthetic.run(path=tmp_path / "run", nodes=[1], layers=suite.load("alexnet").layers[-1:]))
    journal = folder / store.RECORDS
    journal.write_bytes(journal.read_bytes().replace(b'"part":"forward"', rb'"part":"\u001b[2J"'))
    told: list[str] = []
    report([folder], html=False, warn=told.append)
    assert told
    assert all(line.isprintable() for line in told)
