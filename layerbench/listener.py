"""Who is told how a sweep goes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from layerbench.assignment import Event
from layerbench.layers import AnyLayer
from layerbench.plan import Count
from layerbench.records import Network


class Listener(Protocol):
    """Who is told how a sweep goes: a progress bar, plain lines, nobody."""

    def sweep_started(self, run: Path, planned: Sequence[Count], layers: Sequence[AnyLayer]) -> None: ...

    def launch_started(self, count: Count, layers: Sequence[AnyLayer]) -> None: ...

    def network_started(self) -> None: ...

    def network_known(self, network: Network) -> None: ...

    def event(self, event: Event) -> None: ...

    def launch_failed(self, nodes: int, reason: str) -> None: ...

    def note(self, text: str) -> None: ...


class Silence:
    """A listener that says nothing."""

    def sweep_started(self, run: Path, planned: Sequence[Count], layers: Sequence[AnyLayer]) -> None: ...

    def launch_started(self, count: Count, layers: Sequence[AnyLayer]) -> None: ...

    def network_started(self) -> None: ...

    def network_known(self, network: Network) -> None: ...

    def event(self, event: Event) -> None: ...

    def launch_failed(self, nodes: int, reason: str) -> None: ...

    def note(self, text: str) -> None: ...
