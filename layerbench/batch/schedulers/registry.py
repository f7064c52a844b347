"""Every scheduler by name."""

from __future__ import annotations

from layerbench.batch.schedulers import flux, local, lsf, openpbs, slurm, torque
from layerbench.batch.schedulers.protocol import Scheduler
from layerbench.batch.system import SchedulerName

SCHEDULERS: dict[SchedulerName, Scheduler] = {
    "slurm": slurm,
    "torque": torque,
    "openpbs": openpbs,
    "lsf": lsf,
    "flux": flux,
    "local": local,
}
