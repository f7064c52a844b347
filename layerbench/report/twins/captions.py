"""What is to be known of a figure, in words, run by run where runs differ."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from layerbench.report import describe
from layerbench.report.tables import Tables

if TYPE_CHECKING:
    import pandas as pd


def letters(tables: Tables) -> dict[str, str]:
    """What each run is called in a figure: ``A``, ``B``; nothing where there is one."""
    if len(tables.runs) == 1:
        return dict.fromkeys(tables.runs, "")
    return {label: _letter(index) for index, label in enumerate(tables.runs)}


def _letter(index: int) -> str:
    return chr(ord("A") + index) if index < 26 else str(index + 1)


def each(tables: Tables) -> Iterator[tuple[str, str, Tables]]:
    """Each run: its letter, its label and its tables."""
    called = letters(tables)
    for of_one in tables.each():
        (label,) = of_one.runs
        yield called[label], label, of_one


def of_runs(tables: Tables, tell: Callable[[Tables], str]) -> str:
    """What is to be told of the runs: once where it is the same of all, else after the letters of those it is of."""
    told: dict[str, list[str]] = {}
    for letter, _, of_one in each(tables):
        told.setdefault(tell(of_one), []).append(letter)
    if len(told) == 1:
        return next(iter(told))
    return "; ".join(f"{describe.listed(which, shown=26)}: {text}" for text, which in told.items() if text)


def subject(tables: Tables) -> str:
    """The suites that were run: ``alexnet``."""
    return describe.suites(run.manifest for run in tables.runs.values())


def how(tables: Tables) -> str:
    """How it was run, of each run by its letter and label."""
    settings = [
        (f"{letter} ({label}): " if letter else "") + ", ".join(describe.settings(of_one.run))
        for letter, label, of_one in each(tables)
    ]
    return sentence("; ".join(settings))


def sentence(text: str) -> str:
    """Text with a capital and a full stop; nothing where there is none."""
    return f"{text[0].upper()}{text[1:]}." if text else ""


def marks(tables: Tables, drawn: pd.DataFrame, hollow: str = "Hollow and dashed") -> list[str]:
    """A sentence on each mark that is in a figure; ``drawn`` says which (``placement``, ``noisy``, ``throttled``)."""
    told = []
    if (drawn["placement"] == "emulated").any():
        counts = of_runs(tables, _emulated_counts)
        told.append(
            f"{hollow}: emulated ({counts}), every rank's share timed alone and {_exchange(tables)} computed from the "
            f"network's figures: {of_runs(tables, _network)}."
        )
        told.append(sentence(of_runs(tables, _model_error)))
    if shared := of_runs(tables, describe.oversubscription):
        told.append(sentence(shared))
    if drawn["noisy"].any():
        limit = of_runs(tables, lambda one: f"±{100 * one.manifest.options.rel_error:.3g} %")
        told.append(f"Ring: noisy, the 95 % interval did not shrink to {limit}.")
    if drawn["throttled"].any():
        told.append("Square around a point: throttled, the device ran below its usual clock.")
    return told


def _exchange(tables: Tables) -> str:
    told = {describe.exchange(run.manifest) for run in tables.runs.values()}
    return told.pop() if len(told) == 1 else "what ranks exchange"


def _emulated_counts(tables: Tables) -> str:
    counts = describe.emulated_counts(tables)
    return describe.node_counts(counts) if counts else ""


def _model_error(tables: Tables) -> str:
    return describe.model_error(tables) if describe.emulated_counts(tables) else ""


def _network(tables: Tables) -> str:
    names = [name for name in tables.layer_types["network"].unique() if name]
    return describe.network(tables.manifest.network, describe.listed(names)) if names else ""


def intervals(drawn: pd.DataFrame) -> str:
    """What the bars on points are."""
    ranges = (drawn["ci_method"] == "range").any()
    return "Bars: 95 % confidence intervals" + ("; the range where there are too few samples." if ranges else ".")


def incomplete(drawn: pd.DataFrame) -> str:
    """What a cross means, where there is one."""
    if drawn["complete"].all():
        return ""
    return "Cross: incomplete, a layer of the type failed or is missing."


def joined(*sentences: str | list[str]) -> str:
    """One paragraph of what there is to say."""
    flat = [text for part in sentences for text in ([part] if isinstance(part, str) else part)]
    return " ".join(text for text in flat if text)
