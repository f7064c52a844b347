"""The registry of kernel libraries, and which of them runs a layer."""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
from pathlib import Path
from types import ModuleType
from typing import cast

from layerbench.errors import KernelError, UnavailableError, UsageError
from layerbench.kernel import Kernel, OnDevices, RankLayer
from layerbench.layers import DType


def registry() -> dict[str, Kernel]:
    """Every kernel library in ``kernels/`` by name, in the order ``auto`` tries them.

    Raises
    ------
    KernelError
        If a file fails to import, has no ``KERNEL``, or repeats another's name; the file and cause are named.
    """
    package = importlib.import_module("layerbench.kernels")
    kernels: dict[str, Kernel] = {}
    for module in pkgutil.iter_modules(package.__path__):
        if module.name.startswith("_"):
            continue
        try:
            imported = importlib.import_module(name := f"layerbench.kernels.{module.name}")
        except Exception as error:
            raise KernelError(f"{name} cannot be imported: {type(error).__name__}: {error}") from error
        kernel = _kernel_of(imported, module.name)
        if kernel.name in kernels:
            raise KernelError(f"kernels/{module.name}.py: the name {kernel.name!r} is taken by another file")
        kernels[kernel.name] = kernel
    return dict(sorted(kernels.items(), key=lambda item: (item[1].preference is None, item[1].preference or 0)))


def _kernel_of(module: ModuleType, name: str) -> Kernel:
    kernel: Kernel | None = getattr(module, "KERNEL", None)
    if kernel is None:
        raise KernelError(f"kernel file {name} must define KERNEL, an instance of its kernel class, and does not")
    return kernel


def _from_file(path: Path) -> Kernel:
    spec = importlib.util.spec_from_file_location(f"layerbench_kernel_{path.stem}", path)
    if not path.is_file() or spec is None or spec.loader is None:
        raise UsageError(f"--kernels {path}: there is no such file")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        return _kernel_of(module, str(path))
    except KernelError as error:
        raise UsageError(str(error)) from error
    except Exception as error:
        raise UsageError(f"--kernels {path}: {type(error).__name__}: {error}") from error


def check_name(name: str) -> None:
    """See that a name or file could be meant by ``--kernels``, without loading it.

    Raises
    ------
    UsageError
        If there is none; the known names are listed.
    """
    known = ["auto", *registry()]
    if name.endswith(".py"):
        if not Path(name).is_file():
            raise UsageError(f"--kernels {name}: there is no such file")
    elif name not in known:
        raise UsageError(f"--kernels {name}: unknown; known are {', '.join(known)}, or a path to a .py file")


def named(name: str) -> Kernel:
    """The kernel called ``name``, or defined in the Python file of that path.

    Raises
    ------
    UsageError
        If there is none of that name; the known names are listed.
    """
    check_name(name)
    return _from_file(Path(name)) if name.endswith(".py") else registry()[name]


def resolved(name: str) -> str:
    """What ``--kernels`` names, as ranks that start elsewhere can use it: a file by its whole path.

    Raises
    ------
    UsageError
        If there is none of that name, or the file cannot be loaded.
    """
    if name == "auto":
        return name
    named(name)
    return str(Path(name).resolve()) if name.endswith(".py") else name


def check_available(name: str) -> None:
    """See that a kernel library that was asked for by name can be used on this machine.

    Raises
    ------
    UsageError
        If it cannot, with the reason and what would mend it.
    """
    if name == "auto":
        return
    found = named(name).availability()
    if not found.ok:
        mend = f": {found.remedy}" if found.remedy else "; layerbench doctor says what can be used"
        raise UsageError(f"--kernels {name} cannot be used here: {found.reason}{mend}")


def candidates(name: str) -> list[Kernel]:
    """The kernels that may run layers, in the order in which they are asked.

    Of one device: for ``auto`` those that run where the first available one does, so that a run does not compute some
    layers here and others there, and what no kernel can do on that device is told. Those that are not available are
    among them, for their reasons.

    Parameters
    ----------
    name
        As ``--kernels`` has it.
    """
    if name != "auto":
        first = named(name)
        return [first, *(registry()[companion] for companion in getattr(first, "companions", ()))]
    all_ = [kernel for kernel in registry().values() if kernel.preference is not None]
    available = {kernel.name: kernel.device().name for kernel in all_ if kernel.availability().ok}
    if not available:
        return all_
    device = next(iter(available.values()))
    return [kernel for kernel in all_ if available.get(kernel.name, device) == device]


def on_devices(name: str) -> OnDevices | None:
    """The kernel that decides which device a rank takes, if what ``--kernels`` names runs on one of several."""
    for kernel in candidates(name):
        if kernel.availability().ok and getattr(kernel, "devices", list)():
            return cast(OnDevices, kernel)
    return None


def find(name: str, layer: RankLayer, dtype: DType, *, split: bool = False, linked: bool = False) -> Kernel:
    """The kernel that will run a layer.

    Parameters
    ----------
    name
        ``auto`` for the first available one that supports the layer, else a kernel's name or file.
    split, linked
        Whether the layer is a share of one whose outputs are split, so that ranks exchange its results; whether it is
        one of a network, whose layers compute on each other's results.

    Raises
    ------
    UnavailableError
        If none can; the reason of each is given.
    """
    reasons = []
    for kernel in candidates(name):
        availability = kernel.availability()
        reason: str | None = availability.reason
        if availability.ok and split and not getattr(kernel, "splits_outputs", False):
            reason = "does not offer its results for exchange, so its layers cannot be split by outputs (model layout)"
        elif availability.ok and linked and not getattr(kernel, "links_layers", False):
            reason = "does not pass on its results, so its layers cannot be put together to a network"
        elif availability.ok:
            reason = kernel.supports(layer, dtype)
        if reason is None:
            return kernel
        mend = f" ({availability.remedy})" if availability.remedy else ""
        reasons.append(f"{kernel.name}: {reason}{mend}")
    raise UnavailableError(f"no kernel can run {layer.name} in {dtype}: " + "; ".join(reasons))
