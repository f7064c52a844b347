"""Who is told how a sweep goes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from layerbench.assignment import Event
from layerbench.layers import AnyLayer
from layerbench.plan import Count
from layerbench.records import Network, Roofline


class Listener:
    """Who is told how a sweep goes; this one says nothing, and others override what they want to hear of."""

    def sweep_started(self, run: Path, planned: Sequence[Count], layers: Sequence[AnyLayer]) -> None: ...

    def launch_started(self, count: Count, layers: Sequence[AnyLayer]) -> None: ...

    def network_started(self) -> None: ...

    def network_known(self, network: Network) -> None: ...

    def roofline_started(self) -> None: ...

    def roofline_known(self, roofline: Roofline) -> None: ...

    def event(self, event: Event) -> None: ...

    def launch_failed(self, nodes: int, reason: str) -> None: ...

    def note(self, text: str) -> None: ...
