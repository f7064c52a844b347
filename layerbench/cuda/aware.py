"""Whether MPI takes buffers in a GPU's memory. One that does not, and is given them, ends in a segmentation fault."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Mapping
from typing import Any, NamedTuple

CUDA = 0
"""``MPIX_GPU_SUPPORT_CUDA`` of MPICH's ``mpi.h``."""

_OFF = {"0", "false", "no", "off"}


class Awareness(NamedTuple):
    """Whether MPI takes a GPU's memory; None where it does not say. ``why`` is told where it is not True."""

    aware: bool | None
    why: str


def awareness() -> Awareness:
    """Of the MPI that mpi4py has loaded and initialised."""
    from mpi4py import MPI

    try:
        library = ctypes.CDLL(MPI.__file__)
    except OSError:
        library = None
    return judged(MPI.Get_library_version(), os.environ, None if library is None else asked(library))


def asked(library: Any) -> bool | None:
    """What MPI itself answers; None if it has no function for the question.

    Parameters
    ----------
    library
        A ``ctypes.CDLL``, in which symbols of the libraries that it needs are found too. Open MPI has
        ``int MPIX_Query_cuda_support(void)``, MPICH since 4.0 ``int MPIX_GPU_query_support(int, int *)``.
    """
    try:
        query = library.MPIX_GPU_query_support
    except AttributeError:
        pass
    else:
        supported = ctypes.c_int(0)
        if query(ctypes.c_int(CUDA), ctypes.byref(supported)) == 0:
            return bool(supported.value)
    try:
        return bool(library.MPIX_Query_cuda_support())
    except AttributeError:
        return None


def judged(library: str, environment: Mapping[str, str], answer: bool | None) -> Awareness:
    """What follows from an MPI's name, the environment, and its own answer.

    Parameters
    ----------
    library
        As ``MPI_Get_library_version`` has it.
    answer
        As :func:`asked` returns it.

    Notes
    -----
    Cray MPICH takes a GPU's memory if ``MPICH_GPU_SUPPORT_ENABLED=1``; it then refuses to start without its transport
    layer for the GPU. MVAPICH2 does if ``MV2_USE_CUDA=1``, Open MPI 4 unless ``opal_cuda_support`` is turned off, MPICH
    unless ``MPIR_CVAR_ENABLE_GPU=0``.
    """
    name = library.upper()
    for who, needed in (("CRAY MPICH", "MPICH_GPU_SUPPORT_ENABLED"), ("MVAPICH2", "MV2_USE_CUDA")):
        if who in name:
            if environment.get(needed) == "1":
                return Awareness(True, "")
            return Awareness(False, f"it does so with {needed}=1 only")
    switches = {"OPEN MPI": "OMPI_MCA_opal_cuda_support", "MPICH": "MPIR_CVAR_ENABLE_GPU"}
    for who, switch in switches.items():
        if who in name and environment.get(switch, "").lower() in _OFF:
            return Awareness(False, f"{switch}={environment[switch]} turns that off")
    if answer is None:
        return Awareness(None, "it does not say whether it does")
    return Awareness(answer, "" if answer else "it was built without CUDA")
