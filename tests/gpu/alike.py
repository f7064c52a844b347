"""The step that measures the suite once more in a process of its own, and compares: nothing may differ."""

from __future__ import annotations

from typing import Any

from layerbench.compare import compare
from tests.gpu import here
from tests.gpu.job import RUNS, Once, given, say, write
from tests.gpu.sweeps import folder_of, once_more


def main() -> None:
    job = given()
    once = Once(job)
    threads, devices = here.take()
    layers = here.layers(job)
    base = job.folder / RUNS / folder_of(job, "hot")
    if not base.exists():
        base = once_more(job, once, f"{job.dtype}-alike-1", layers, threads, devices)
    new = once_more(job, once, f"{job.dtype}-alike", layers, threads, devices)
    compared = compare(base, new)
    rows: list[dict[str, Any]] = [
        {"layer": row.layer, "part": row.part, "ratio": row.ratio, "low": row.low, "high": row.high}
        | {"verdict": row.verdict}
        for row in compared.rows
    ]
    runs = [str(path.relative_to(job.folder)) for path in (base, new)]
    write(job.figures, {"dtype": job.dtype, "runs": runs, "rows": rows})
    say(f"{len(rows)} records compared")


if __name__ == "__main__":
    main()
