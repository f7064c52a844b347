"""How a job type is drawn in a plan: by a colour and a hatch, and by a letter where there are more types than these."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from layerbench.report import marks
from layerbench.report.cells import flat
from layerbench.report.layer_types import kind_order
from layerbench.report.page import palette
from layerbench.report.page.words import letter
from layerbench.schedule.plan import Placement

MOST = 24
"""Types that are told apart; of more, those with the least node-seconds are drawn as one."""

_LABEL = 40


class Look(NamedTuple):
    """A strong colour for lines, a pale one for areas, and a hatch, as a figure and as a page calls it."""

    colour: str
    tint: str
    hatch: str
    pattern: str


@dataclass(frozen=True)
class Group:
    """Jobs that are drawn alike: those of one type, or of all that are too many to tell apart."""

    types: frozenset[str]
    label: str
    letter: str
    look: Look

    @property
    def key(self) -> str:
        """What the key says."""
        return self.named(self.label)

    def named(self, name: str) -> str:
        """A name of the group's with its letter, if it has one."""
        return f"{self.letter}: {name}" if self.letter else name


def mixed(colour: str, ground: str, part: float) -> str:
    """A part of a colour on a ground."""
    pairs = zip(bytes.fromhex(colour[1:]), bytes.fromhex(ground[1:]), strict=True)
    return "#" + bytes(round(part * one + (1 - part) * other) for one, other in pairs).hex()


def _look(colour: str, hatch: str, pattern: str) -> Look:
    return Look(colour, mixed(colour, palette.PAPER, 0.42), hatch, pattern)


LOOKS = (
    _look(marks.BLUE, "", ""),
    _look(marks.ORANGE, "////", "/"),
    _look(marks.GREEN, "\\\\\\\\", "\\"),
    _look(marks.PURPLE, "xxxx", "x"),
    _look(marks.VERMILION, "....", "."),
    _look(marks.SKY, "----", "-"),
    _look("#57606a", "||||", "|"),
    _look("#968c00", "++++", "+"),
)
"""The first three are of the layer types that every figure draws so."""

REST = Look("#6e7781", "#dfe3e7", "", "")
"""Of types that are too many."""

ALL = (*LOOKS, REST)

_OWN = {"conv": 0, "fc": 1, "lstm": 2}


def dark() -> dict[str, str]:
    """What each colour becomes on a dark ground."""
    found = {REST.colour: "#8b949e", REST.tint: "#343b44"}
    for look in LOOKS:
        strong = palette.DARK.get(look.colour, mixed(look.colour, "#ffffff", 0.8))
        found |= {look.colour: strong, look.tint: mixed(strong, palette.DARK[palette.PAPER], 0.45)}
    return found


def groups(placements: Sequence[Placement]) -> list[Group]:
    """The types of a plan in the order of every table, each with its look; at most :data:`MOST` groups.

    Up to eight types differ by colour and hatch; of more, each has a letter too.
    """
    weights: dict[str, float] = {}
    for placement in placements:
        weights[placement.job.type] = weights.get(placement.job.type, 0.0) + placement.node_seconds
    heaviest = sorted(weights, key=lambda type_: (-weights[type_], type_))
    kept = heaviest if len(heaviest) <= MOST else heaviest[: MOST - 1]
    kept = sorted(kept, key=lambda type_: (kind_order(type_), type_))
    lettered = len(kept) > len(LOOKS)
    found = [
        Group(frozenset({type_}), _shortened(type_), letter(index) if lettered else "", look)
        for index, (type_, look) in enumerate(zip(kept, _looks(kept), strict=True))
    ]
    if rest := set(heaviest) - set(kept):
        found.append(Group(frozenset(rest), f"{len(rest):,} other types", "", REST))
    return found


def _looks(types: Sequence[str]) -> list[Look]:
    owned = {_OWN[type_] for type_ in types if type_ in _OWN}
    free = [index for index in (*range(3, len(LOOKS)), 0, 1, 2) if index not in owned]
    places = iter(range(len(types)))
    return [LOOKS[_OWN[type_] if type_ in _OWN else free[next(places) % len(free)]] for type_ in types]


def _shortened(type_: str) -> str:
    text = flat(type_) or "no type"
    return text if len(text) <= _LABEL else f"{text[: _LABEL - 9]}…{text[-8:]}"


def group_of(found: Sequence[Group]) -> dict[str, int]:
    """The place of each type's group."""
    return {type_: index for index, group in enumerate(found) for type_ in group.types}


def place(group: Group) -> int:
    """The place of a group's look among :data:`ALL`."""
    return ALL.index(group.look)
