"""A kernel file that stands for another library and its companions, and searches for each layer's algorithms once.

``LAYERBENCH_GPU_KERNELS`` names what it stands for as ``--kernels`` would; choices are kept as JSON in the folder
``LAYERBENCH_GPU_CHOICES``. Processes that measure one layer in several ways so measure the same algorithm.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from layerbench import registry
from layerbench.device import Device
from layerbench.errors import UnavailableError
from layerbench.kernel import Availability, Budget, Choice, Job, Kernel, RankLayer, Tensors
from layerbench.layers import DType, Pass


class Remembered:
    """Is whichever library supports the layer that it was asked for last: the registry loads this file for each one."""

    preference: int | None = None

    def __init__(self) -> None:
        asked = os.environ["LAYERBENCH_GPU_KERNELS"]
        self._folder = Path(os.environ["LAYERBENCH_GPU_CHOICES"])
        self._candidates = registry.candidates(asked)
        self._chosen: Kernel = next((each for each in self._candidates if each.availability().ok), self._candidates[0])

    @property
    def name(self) -> str:
        return self._chosen.name

    @property
    def links_layers(self) -> bool:
        return bool(getattr(self._chosen, "links_layers", False))

    def availability(self) -> Availability:
        return self._chosen.availability()

    def supports(self, layer: RankLayer, dtype: DType) -> str | None:
        reasons = []
        for kernel in self._candidates:
            available = kernel.availability()
            reason: str | None = available.reason
            if available.ok:
                reason = kernel.supports(layer, dtype)
            if reason is None:
                self._chosen = kernel
                return None
            reasons.append(f"{kernel.name}: {reason}")
        return "; ".join(reasons)

    def device(self) -> Device:
        return self._chosen.device()

    def devices(self) -> list[str]:
        for kernel in self._candidates:
            seen: list[str] = getattr(kernel, "devices", list)() if kernel.availability().ok else []
            if seen:
                return seen
        return []

    def use(self, device: str) -> None:
        for kernel in self._candidates:
            if kernel.availability().ok and getattr(kernel, "devices", list)():
                kernel.use(device)  # type: ignore[attr-defined]
                return
        raise UnavailableError(f"{self.name} runs on no device that could be chosen")

    def search(self, job: Job, tensors: Tensors, budget: Budget) -> dict[Pass, Choice]:
        path = self._folder / f"{self._key(job, budget)}.json"
        try:
            return msgspec.json.decode(path.read_bytes(), type=dict[Pass, Choice])
        except (OSError, msgspec.DecodeError):
            found: dict[Pass, Choice] = self._chosen.search(job, tensors, budget)
        self._folder.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        part.write_bytes(msgspec.json.format(msgspec.json.encode(found), indent=1))
        part.replace(path)
        return found

    def _key(self, job: Job, budget: Budget) -> str:
        # Threads are those of the host, and have no part in what runs elsewhere.
        threads = job.threads if self.device().name == "host" else 0
        asked = [job.layer, job.batch, job.first_unit, threads, budget.workspace, self._chosen.availability()]
        digest = hashlib.sha256(msgspec.json.encode(asked)).hexdigest()[:12]
        return f"{self.name}-{job.layer.name}-{job.dtype}-{job.batch}-{digest}"

    def prepare(self, job: Job, tensors: Tensors, choices: Mapping[Pass, Choice]) -> Any:
        return self._chosen.prepare(job, tensors, choices)

    def error_limit(self, dtype: DType, choice: Choice) -> float:
        return self._chosen.error_limit(dtype, choice)


KERNEL = Remembered()
