"""Machines: what a rank computes and moves at most, and what joins the ranks; by name, by file, or from a run."""

from layerbench.machine.figures import (
    INTERVAL,
    Exchanged,
    Figure,
    Fit,
    KernelPoint,
    Link,
    Machine,
    ceiling,
    exact,
    rate_of,
)
from layerbench.machine.link import link_of
from layerbench.machine.of_run import of_run
from layerbench.machine.profiles import HERE, load, names, path_here
from layerbench.machine.read import parse
from layerbench.machine.write import to_toml

__all__ = [
    "HERE",
    "INTERVAL",
    "Exchanged",
    "Figure",
    "Fit",
    "KernelPoint",
    "Link",
    "Machine",
    "ceiling",
    "exact",
    "link_of",
    "load",
    "names",
    "of_run",
    "parse",
    "path_here",
    "rate_of",
    "to_toml",
]
