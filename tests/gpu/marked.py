"""The step that runs the tests which need a GPU."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from tests.gpu.job import given, say, write
from tests.gpu.place import ROOT

MARK = "mark.gpu"

LONGEST = 200
"""Letters that are told of a test that failed."""

NONE_SELECTED = 5
"""pytest's exit code where no test was left."""


def main() -> None:
    job = given()
    # Others may need packages that are not on a GPU host, and could not even be collected there.
    files = sorted(str(path) for path in (ROOT / "tests").rglob("test_*.py") if MARK in path.read_text())
    if not files:
        write(job.figures, {"counts": {}, "bad": [], "reason": f"no test is marked gpu below {ROOT / 'tests'}"})
        return
    results = job.folder / "tests.xml"
    command = [
        *(sys.executable, "-m", "pytest", "-m", "gpu", "-v", "--tb=short", "-p", "no:cacheprovider"),
        *("--continue-on-collection-errors", "--rootdir", str(ROOT), "-c", str(ROOT / "pyproject.toml")),
        # An option of pytest-timeout, which need not be there, is only warned of.
        *("-W", "ignore::pytest.PytestConfigWarning", f"--junitxml={results}", *files),
    ]
    code = subprocess.run(command, cwd=ROOT, check=False).returncode
    found = counted(results)
    found["reason"] = "" if code in {0, 1, NONE_SELECTED} else f"pytest ended with exit code {code}"
    write(job.figures, found)
    say(", ".join(f"{count} {what}" for what, count in found["counts"].items()))


def counted(results: Path) -> dict[str, Any]:
    """How many tests passed, failed or were skipped, and which are bad, from pytest's XML."""
    counts = dict.fromkeys(("passed", "failed", "skipped"), 0)
    bad, skipped = [], []
    try:
        cases = list(ElementTree.parse(results).iter("testcase"))
    except (OSError, ElementTree.ParseError) as error:
        return {"counts": {}, "bad": [f"no results: {error}"], "skipped": []}
    for case in cases:
        name = f"{case.get('classname')}::{case.get('name')}"
        wrong = case.find("failure") if case.find("failure") is not None else case.find("error")
        omitted = case.find("skipped")
        if wrong is not None:
            counts["failed"] += 1
            bad.append(f"{name}: {_said(wrong)}")
        elif omitted is not None:
            counts["skipped"] += 1
            skipped.append(" ".join((omitted.get("message") or "").split())[:LONGEST])
        else:
            counts["passed"] += 1
    return {"counts": counts, "bad": bad, "skipped": sorted(set(skipped))}


def _said(wrong: ElementTree.Element) -> str:
    """What was wrong: the message, and of a test that could not be collected also the error, which is further on."""
    errors = [line[1:] for line in (wrong.text or "").splitlines() if line.startswith("E ")]
    told = [wrong.get("message") or "", *(errors[-1:] if wrong.tag == "error" else [])]
    return " ".join(" ".join(told).split())[:LONGEST]


if __name__ == "__main__":
    main()
