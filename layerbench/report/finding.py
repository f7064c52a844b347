"""What the check of an observation finds: a verdict, why, and what would settle it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

from layerbench.report import describe
from layerbench.suite_format import flat

Verdict: TypeAlias = Literal["holds", "does not hold", "cannot be said"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
HOLDS, FAILS, UNKNOWN = VERDICTS


class Finding(NamedTuple):
    """A verdict on an observation, or on a part of it.

    Attributes
    ----------
    verdict, evidence
        The evidence has no full stop at its end.
    remedy
        What to do to be able to say more, as an imperative; empty where there is nothing.
    rows
        Rows of :attr:`layerbench.report.tables.Tables.layer_types` that decided.
    """

    verdict: Verdict
    evidence: str
    remedy: str = ""
    rows: tuple[Any, ...] = ()

    def told(self, *caveats: str) -> str:
        """The evidence in whole sentences, on one line, with what would settle it where nothing can be said."""
        sentences = [self.evidence, *caveats]
        if self.verdict == UNKNOWN and self.remedy:
            sentences.append(f"To say it, {self.remedy}")
        return " ".join(flat(f"{sentence}.") for sentence in sentences if sentence)


def all_of(verdicts: Iterable[Verdict]) -> Verdict:
    """Of a statement with several parts: one that fails is enough against it, all of them are needed for it."""
    found = set(verdicts)
    return FAILS if FAILS in found else HOLDS if found == {HOLDS} else UNKNOWN


def together(parts: Iterable[Finding]) -> Finding:
    """All parts of an observation in one; only those that decided lend their rows and remedies."""
    findings = list(parts)
    verdict = all_of(part.verdict for part in findings)
    deciding = [part for part in findings if part.verdict == verdict]
    remedies = dict.fromkeys(part.remedy for part in deciding if part.remedy)
    return Finding(
        verdict,
        "; ".join(part.evidence for part in findings if part.evidence),
        describe.listed(list(remedies)),
        tuple(row for part in deciding for row in part.rows),
    )


def told_apart(values: Sequence[float], decimals: int = 1) -> list[str]:
    """Numbers with as many decimals as show which of two different ones is larger, up to six."""
    different = len(set(values))
    tried = (d for d in range(decimals, 6) if len({f"{value:.{d}f}" for value in values}) == different)
    enough = next(tried, 6)
    return [f"{value:.{enough}f}" for value in values]
