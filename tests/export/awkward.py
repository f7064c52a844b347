"""A run whose words contain whatever could break a format."""

from __future__ import annotations

from pathlib import Path

import msgspec

from layerbench.layers import FC, LSTM, Conv
from layerbench.records import Record
from layerbench.store import StoredRun
from tests.report import synthetic

NAME = 'conv, "first"\r\n->2; \\ π\t=1+1'
REASON = 'line one\nline two, with "quotes"; a,comma and a tab\t\\n'

CONV = Conv(name=NAME, input=(9, 8), in_channels=2, out_channels=4, filter=(3, 2), stride=(2, 1), padding=(1, 0))
DENSE = FC(name="dense", in_features=6, out_features=5)
STATE = LSTM(name="state", input_size=8, hidden_size=8, time_steps=3)


def run(path: Path = Path("runs/awkward"), **changes: object) -> StoredRun:
    """Two counts measured and two emulated; of ``dense`` the pass ``forward`` failed at two nodes, all else skipped."""
    return synthetic.run(path=path, layers=[CONV, DENSE, STATE], samples=7, change=_change, **changes)


def _change(record: Record) -> Record:
    if (record.layer, record.nodes) != ("dense", 2):
        return record
    status = "failed" if record.part == "forward" else "skipped"
    return msgspec.structs.replace(record, status=status, reason=REASON, samples=[], verified=None, ci_method="none")
