"""What Torque and OpenPBS have in common: the words of ``qsub``, and job ids."""

from __future__ import annotations

import re

from layerbench.batch.status import Answer
from layerbench.errors import NoAnswerError

JOB_ID = re.compile(r"^([0-9]+(?:\[\])?(?:\.[A-Za-z0-9._-]+)?)\s*$", re.MULTILINE)
"""A number, and the server's name."""

UNKNOWN = "Unknown Job Id"

OWN_DIRECTIVES = re.compile(r"-[NojtJ]|-l\s*(\S+,)?(nodes|select|place|walltime)=")


UNREACHABLE = re.compile(r"annot connect to|not connect to|Unable to communicate with|Connection refused")


def same_job(one: str, other: str) -> bool:
    """Whether two ids are of one job: a server may be named in short, in full, or not at all."""
    return one.partition(".")[0] == other.partition(".")[0]


def job_id(stdout: str) -> str | None:
    """The id that ``qsub`` printed; a site's filter may have printed more before."""
    found = JOB_ID.findall(stdout)
    return found[-1] if found else None


def found(answer: Answer) -> list[str]:
    """The ids that ``qselect`` printed."""
    if answer.code:
        raise NoAnswerError(f"qselect: {answer.told}")
    return JOB_ID.findall(answer.stdout)


def gone(answer: Answer) -> bool:
    """Whether ``qdel`` found nothing to end."""
    said = answer.stderr.lower()
    return UNKNOWN.lower() in said or "has finished" in said or "invalid state" in said
