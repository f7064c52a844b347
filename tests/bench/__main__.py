"""``make bench``: figures that are reported, not tested, measured in one go on an idle machine.

python tests/bench [--only peers,harness,compare,schedule,predict,overlap,collectives] [--output results/bench]
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from layerbench import environment, sweep
from tests.bench import collectives, compare, harness, overlap, peers, predict, schedule

BENCHES = {
    "peers": peers,
    "harness": harness,
    "compare": compare,
    "schedule": schedule,
    "predict": predict,
    "overlap": overlap,
    "collectives": collectives,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default=",".join(BENCHES), help="which, separated by commas")
    parser.add_argument("--output", type=Path, default=Path("results/bench"), help="folder for tables and figures")
    asked = parser.parse_args()
    asked.output.mkdir(parents=True, exist_ok=True)
    for name in asked.only.split(","):
        bench = BENCHES[name]
        begin = sweep.now()
        figures, table = bench.measure()
        document = {"start": begin, "end": sweep.now(), "environment": environment.capture(), "figures": figures}
        (asked.output / f"{name}.json").write_text(json.dumps(document, indent=1) + "\n")
        (asked.output / f"{name}.md").write_text(table)
        print(table, flush=True)


if __name__ == "__main__":
    main()
