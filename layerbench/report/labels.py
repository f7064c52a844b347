"""What to call each of several runs: by what they differ in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from layerbench.report import describe

if TYPE_CHECKING:
    from layerbench.report.columns import RunColumns

_TRAITS: tuple[Callable[[RunColumns], str], ...] = (
    describe.processor,
    lambda run: str(run.manifest.environment.get("hostname") or "host unknown"),
    lambda run: run.manifest.suite,
    lambda run: run.manifest.options.dtype,
    lambda run: describe.listed(describe.kernels(run), shown=2),
    lambda run: f"batch {run.manifest.options.batch:,}",
    lambda run: f"{run.manifest.options.scaling} scaling",
    lambda run: f"{run.manifest.options.layout} layout",
    lambda run: describe.plural(run.manifest.options.threads_per_rank, "thread"),
    lambda run: describe.plural(run.manifest.options.ranks_per_node, "rank") + " per node",
    lambda run: f"{run.manifest.options.cache} cache",
)
"""A host's name comes second: it tells machines apart where chips do not."""


def of(runs: Sequence[RunColumns]) -> list[str]:
    """A label for each run, all different.

    One run is called by its folder. Several are called by the traits in which they differ, such as ``bf16 · batch 64``,
    and by their folders too where that does not tell all of them apart.
    """
    folders = _distinct([_readable(run.path.resolve().name) or "run" for run in runs])
    if len(runs) == 1:
        return folders
    told: list[list[str]] = [[] for _ in runs]
    for trait in _TRAITS:
        words = [trait(run) for run in runs]
        if len(set(words)) > 1 and not _follows(words, told):
            for label, word in zip(told, words, strict=True):
                label.append(word)
    labels = [" · ".join(label) for label in told]
    if len(set(labels)) == len(labels):
        return labels
    return [" · ".join([folder, *label]) for folder, label in zip(folders, told, strict=True)]


def _follows(words: Sequence[str], told: Sequence[Sequence[str]]) -> bool:
    """Whether a trait adds nothing: it is settled by what is told of each run already, and all of these differ."""
    return len({tuple(label) for label in told}) == len(told)


def _readable(name: str) -> str:
    """A folder's name as text, which its bytes need not be."""
    return name.encode("utf-8", "replace").decode()


def _distinct(names: Sequence[str]) -> list[str]:
    found: list[str] = []
    for name in names:
        label, again = name, 1
        while label in found:
            again += 1
            label = f"{name} ({again})"
        found.append(label)
    return found
