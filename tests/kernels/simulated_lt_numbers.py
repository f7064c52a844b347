"""The numbers and types of cuBLASLt's bindings that products need, as nvmath-python has them.

A test compares them with the real package.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np

ALGORITHM = np.dtype([("data_", "<u8", (8,))])
HEURISTIC = np.dtype(
    [
        ("algo", ALGORITHM),
        ("workspace_size", "<u8"),
        ("state", "<i4"),
        ("waves_count", "<f4"),
        ("reserved", "<i4", (4,)),
    ]
)


class MatmulDescAttribute(IntEnum):
    POINTER_MODE = 2
    TRANSA = 3
    TRANSB = 4


class MatmulPreferenceAttribute(IntEnum):
    MAX_WORKSPACE_BYTES = 1
    REDUCTION_SCHEME_MASK = 3


class MatmulAlgoConfigAttribute(IntEnum):
    ID = 0
    TILE_ID = 1
    SPLITK_NUM = 2
    REDUCTION_SCHEME = 3
    CTA_SWIZZLING = 4
    CUSTOM_OPTION = 5
    STAGES_ID = 6
    INNER_SHAPE_ID = 7
    CLUSTER_SHAPE_ID = 8


class MatmulAlgoCapAttribute(IntEnum):
    NUMERICAL_IMPL_FLAGS = 15


class PointerMode(IntEnum):
    HOST = 0


class MatmulTile(IntEnum):
    TILE_UNDEFINED = 0
    TILE_128x128 = 20


class MatmulStages(IntEnum):
    STAGES_UNDEFINED = 0
    STAGES_64x3 = 15


class ClusterShape(IntEnum):
    SHAPE_2x1x1 = 3


class ReductionScheme(IntEnum):
    NONE = 0
    COMPUTE_TYPE = 2
    OUTPUT_TYPE = 4


class ComputeType(IntEnum):
    COMPUTE_32F = 68
    COMPUTE_64F = 70
    COMPUTE_32F_FAST_TF32 = 77


class Operation(IntEnum):
    N = 0
    T = 1


ENUMERATIONS = (
    MatmulDescAttribute,
    MatmulPreferenceAttribute,
    MatmulAlgoConfigAttribute,
    MatmulAlgoCapAttribute,
    PointerMode,
    MatmulTile,
    MatmulStages,
    ClusterShape,
    ReductionScheme,
)

DESC_TYPES = dict.fromkeys(MatmulDescAttribute, np.int32)
PREFERENCE_TYPES = {
    MatmulPreferenceAttribute.MAX_WORKSPACE_BYTES: np.uint64,
    MatmulPreferenceAttribute.REDUCTION_SCHEME_MASK: np.uint32,
}
CONFIG_TYPES = {
    MatmulAlgoConfigAttribute.ID: np.int32,
    MatmulAlgoConfigAttribute.TILE_ID: np.uint32,
    MatmulAlgoConfigAttribute.SPLITK_NUM: np.int32,
    MatmulAlgoConfigAttribute.REDUCTION_SCHEME: np.uint32,
    MatmulAlgoConfigAttribute.CTA_SWIZZLING: np.uint32,
    MatmulAlgoConfigAttribute.CUSTOM_OPTION: np.uint32,
    MatmulAlgoConfigAttribute.STAGES_ID: np.uint32,
    MatmulAlgoConfigAttribute.INNER_SHAPE_ID: np.uint16,
    MatmulAlgoConfigAttribute.CLUSTER_SHAPE_ID: np.uint16,
}
CAP_TYPES = {MatmulAlgoCapAttribute.NUMERICAL_IMPL_FLAGS: np.uint64}

F32, F64, F16, BF16 = 0, 1, 2, 14
STORED = {F32: np.float32, F64: np.float64, F16: np.float16, BF16: np.uint16}
VALID = {
    (ComputeType.COMPUTE_64F, F64): {F64},
    (ComputeType.COMPUTE_32F, F32): {F32, F16, BF16},
    (ComputeType.COMPUTE_32F_FAST_TF32, F32): {F32},
}
"""Types of operands for a compute and a scale type (cuBLAS documentation, table of ``cublasLtMatmul``)."""
