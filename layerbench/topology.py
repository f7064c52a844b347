"""Which logical processors are cores of their own.

Two hardware threads of one core share its arithmetic units: ranks on both would slow each other down, and a second node
"measured" there would measure that. So ranks are placed on cores, and the second thread of each stays idle.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

SYS_CPU = Path("/sys/devices/system/cpu")


def one_of_each_core(processors: Iterable[int], root: Path = SYS_CPU) -> list[int]:
    """The first of every core's hardware threads among ``processors``, in ascending order.

    Processors whose core cannot be told are taken for cores of their own.
    """
    taken: set[str] = set()
    chosen = []
    for processor in sorted(processors):
        try:
            core = (root / f"cpu{processor}/topology/thread_siblings_list").read_text().strip()
        except OSError:
            core = str(processor)
        if core not in taken:
            taken.add(core)
            chosen.append(processor)
    return chosen
