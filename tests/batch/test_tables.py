"""Whose notes are of use to who looks at all jobs."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from layerbench.batch.tables import is_news
from tests.batch.conftest import Site

DAY = 24 * 3600.0


@pytest.mark.parametrize(
    ("state", "days", "news"),
    [("failed", 6, True), ("failed", 8, False), ("cancelled", 8, False), ("pending", 8, True), ("unknown", 8, True)],
)
def test_it(state: str, days: float, news: bool, tmp_path: Path) -> None:
    folder = tmp_path / "batch"
    folder.mkdir()
    row = {"name": "lb-a", "run": str(tmp_path), "state": state}
    assert is_news(row) is (state in ("pending", "unknown"))
    for name, age in (("lb-a.sh", 30.0), ("lb-a.exit", days), ("lb-b.exit", 0.0)):
        (folder / name).touch()
        os.utime(folder / name, (time.time() - age * DAY,) * 2)
    assert is_news(row) is news


def test_what_to_do_about_an_old_job_is_said_where_it_is_named(torque_site: Site) -> None:
    site = torque_site
    site.set("hold")
    assert site.submit("torque", "--nodes", "1", "--output", "run").returncode == 0
    assert site("cancel", "run").returncode == 0
    assert "submit --resume run" in site("jobs").stdout
    for path in (site.folder / "run" / "batch").iterdir():
        os.utime(path, (0, 0))
    told = site("jobs")
    assert "cancelled" in told.stdout
    assert "--resume" not in told.stdout
    assert "submit --resume run" in site("jobs", "run").stdout
    assert "submit --resume run" in site.jobs()[0]["note"]
