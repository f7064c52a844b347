"""Extra-P as a peer of the cost model: the same points, fitted and extrapolated by its own modeler.

It fits c0 + c1 p^i log2(p)^j over node counts p (Calotoiu et al., Using automated performance modeling to find
scalability bugs in complex codes, 2013). Exponents below zero, which strong scaling needs, are off in it unless asked
for; they are asked for here. It wants five counts and warns of fewer.
"""

from __future__ import annotations

import contextlib
import io
import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

INSTALLED = Path(__file__).resolve().parents[2] / ".venv" / "extrap"

FEWEST = 5
"""Counts that its modeler wants."""


def available() -> bool:
    """Whether ``make .venv/.extrap`` was done."""
    return INSTALLED.is_dir()


def predicted(samples: Mapping[int, Sequence[float]], wanted: Sequence[int]) -> dict[int, float]:
    """Seconds on each wanted count, from samples in seconds by count; it takes their mean, as it does by default."""
    if str(INSTALLED) not in sys.path:
        sys.path.append(str(INSTALLED))
    from extrap.entities.coordinate import Coordinate
    from extrap.entities.measurement import Measurement
    from extrap.modelers.single_parameter.basic import SingleParameterModeler

    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        modeler = SingleParameterModeler()
        modeler.allow_negative_exponents = True
        measured = [Measurement(Coordinate(count), None, None, list(of)) for count, of in sorted(samples.items())]
        function = modeler.create_model(measured).hypothesis.function
        return {count: float(function.evaluate(count)) for count in wanted}
