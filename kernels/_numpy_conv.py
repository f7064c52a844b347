"""Convolution by im2col: patches of the input copied to the columns of a matrix, then one matrix product.

Images lie channel first, (C, N, H, W), with the padding around every image: the product of a chunk of images
then writes its part of the output where it belongs, and no pass transposes anything. How many images make a
chunk is searched: few keep the columns in cache, many make the product's matrices large.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Literal

import numpy as np

from layerbench.device import Run
from layerbench.errors import KernelError
from layerbench.kernel import Job, Tensors
from layerbench.layers import ITEMSIZE, PASSES, Conv, Pass

_LARGEST_COLUMNS = 2**26
"""Columns beyond 64 MiB are out of the cache, and the product's matrices are large enough, so more gains nothing."""


def column_bytes(job: Job, layer: Conv) -> int:
    """Size of one image's columns."""
    return layer.fan_in * layer.groups * math.prod(layer.output) * ITEMSIZE[job.dtype]


def chunk_sizes(job: Job, layer: Conv, workspace: int) -> list[int]:
    """Chunks worth trying: one image, as many as memory allows, and the geometric mean of these.

    Raises
    ------
    KernelError
        If even one image's columns exceed the workspace.
    """
    one = column_bytes(job, layer)
    most = min(workspace - _scratch_bytes(job, layer), max(one, _LARGEST_COLUMNS)) // one
    if most < 1:
        raise KernelError(
            f"numpy: {layer.name} needs {one + _scratch_bytes(job, layer)} bytes of workspace for its columns, "
            f"and {workspace} are allowed; allow more, or choose another kernel"
        )
    largest = min(job.batch, most)
    return sorted({1, math.isqrt(largest), largest})


def workspace_bytes(job: Job, layer: Conv, pass_: Pass, images: int) -> int:
    """Scratch memory of a pass: the columns, and for weight gradients one chunk's share of them."""
    scratch = _scratch_bytes(job, layer) if pass_ == "backward_weights" else 0
    return min(images, job.batch) * column_bytes(job, layer) + scratch


def _scratch_bytes(job: Job, layer: Conv) -> int:
    return layer.weights * ITEMSIZE[job.dtype]


class NumpyConv:
    """A prepared convolution.

    Parameters
    ----------
    images
        Images in a chunk, for each pass.
    """

    def __init__(self, layer: Conv, tensors: Tensors, images: Mapping[Pass, int]) -> None:
        self._layer = layer
        self._batch = len(tensors["src"])
        groups = layer.groups
        dtype = tensors["src"].dtype
        self._weights = np.array(tensors["weights"], order="C").reshape(groups, layer.out_channels // groups, -1)
        self._src = self._padded(tensors["src"])
        self._diff_src = np.full_like(self._src, np.nan)
        self._diff_dst = self._grouped(tensors["diff_dst"])
        self._dst = np.full_like(self._diff_dst, np.nan)
        self._diff_weights = np.full_like(self._weights, np.nan)
        self._partial = np.zeros_like(self._weights)
        self._linked = {
            "src": self._canonical_images(self._src),
            "diff_dst": self._canonical_output(self._diff_dst),
            "dst": self._canonical_output(self._dst),
            "diff_src": self._canonical_images(self._diff_src),
        }
        self.gradient = self._diff_weights.reshape(-1)
        self.buffers: Mapping[Pass, np.ndarray] = {
            "forward": self._dst.reshape(-1),
            "backward_data": self._diff_src.reshape(-1),
        }
        self._pixels = math.prod(layer.output)
        most = min(max(images.values()), self._batch)
        self._columns = np.zeros(layer.fan_in * groups * self._pixels * most, dtype)
        implementations = (self._forward, self._backward_data, self._backward_weights)
        self._passes = dict(zip(PASSES, implementations, strict=True))
        self.run: Mapping[Pass, Run] = {pass_: self.chunked(pass_, images[pass_]) for pass_ in PASSES}
        self.run["forward"]()

    def chunked(self, pass_: Pass, images: int) -> Run:
        """A pass in chunks of so many images, no more than the columns were allocated for."""
        return partial(self._passes[pass_], images)

    def _padded(self, src: np.ndarray) -> np.ndarray:
        """Canonical images (N, C, H, W) as (C, N, H + 2 pad, W + 2 pad)."""
        high, wide = self._layer.padding
        return np.ascontiguousarray(np.pad(src.swapaxes(0, 1), ((0, 0), (0, 0), (high, high), (wide, wide))))

    def _grouped(self, dst: np.ndarray) -> np.ndarray:
        """Canonical output (N, K, P, Q) as (groups, K / groups, N P Q)."""
        groups = self._layer.groups
        return np.ascontiguousarray(dst.swapaxes(0, 1)).reshape(groups, len(dst[0]) // groups, -1)

    def _canonical_images(self, padded: np.ndarray) -> np.ndarray:
        """View (N, C, H, W) of padded images, without the padding."""
        (high, wide), (height, width) = self._layer.padding, self._layer.input
        return padded[:, :, high : high + height, wide : wide + width].swapaxes(0, 1)

    def _canonical_output(self, grouped: np.ndarray) -> np.ndarray:
        """View (N, K, P, Q) of what :meth:`_grouped` makes."""
        return grouped.reshape(self._layer.out_channels, self._batch, *self._layer.output).swapaxes(0, 1)

    def _chunks(self, images: int) -> Iterator[tuple[slice, slice, np.ndarray]]:
        """Each chunk's images, its output pixels, and its columns (groups, C / groups R S, n P Q)."""
        rows = self._layer.fan_in
        groups = self._layer.groups
        for start in range(0, self._batch, images):
            stop = min(start + images, self._batch)
            pixels = (stop - start) * self._pixels
            columns = self._columns[: groups * rows * pixels].reshape(groups, rows, pixels)
            yield slice(start, stop), slice(start * self._pixels, stop * self._pixels), columns

    def _windows(self, padded: np.ndarray) -> np.ndarray:
        """View (C, R, S, n, P, Q) of padded images (C, n, H, W): what each tap meets at each output pixel."""
        layer = self._layer
        channel, image, row, column = padded.strides
        return np.lib.stride_tricks.as_strided(
            padded,
            (len(padded), *layer.filter, padded.shape[1], *layer.output),
            (
                channel,
                row * layer.dilation[0],
                column * layer.dilation[1],
                image,
                row * layer.stride[0],
                column * layer.stride[1],
            ),
        )

    def _copy_patches(self, images: slice, columns: np.ndarray) -> None:
        windows = self._windows(self._src[:, images])
        np.copyto(columns.reshape(windows.shape), windows)

    def _forward(self, images: int) -> None:
        for chunk, pixels, columns in self._chunks(images):
            self._copy_patches(chunk, columns)
            np.matmul(self._weights, columns, out=self._dst[:, :, pixels])

    def _backward_data(self, images: int) -> None:
        for chunk, pixels, columns in self._chunks(images):
            np.matmul(self._weights.swapaxes(1, 2), self._diff_dst[:, :, pixels], out=columns)
            diff_src = self._diff_src[:, chunk]
            diff_src.fill(0)
            windows = self._windows(diff_src)
            taps = columns.reshape(windows.shape)
            # Patches overlap between taps but not within one, so each tap is one addition in place.
            for r in range(windows.shape[1]):
                for s in range(windows.shape[2]):
                    windows[:, r, s] += taps[:, r, s]

    def _backward_weights(self, images: int) -> None:
        for chunk, pixels, columns in self._chunks(images):
            self._copy_patches(chunk, columns)
            out = self._partial if chunk.start else self._diff_weights
            np.matmul(self._diff_dst[:, :, pixels], columns.swapaxes(1, 2), out=out)
            if chunk.start:
                self._diff_weights += self._partial

    def put(self, operand: Literal["src", "diff_dst"], array: np.ndarray) -> None:
        np.copyto(self._linked[operand], array)

    def take(self, result: Literal["dst", "diff_src"], out: np.ndarray) -> None:
        np.copyto(out, self._linked[result])

    def poison(self) -> None:
        for result in (self._dst, self._diff_src, self._diff_weights):
            result.fill(np.nan)

    def results(self, pass_: Pass) -> dict[str, np.ndarray]:
        if pass_ == "forward":
            return {"dst": self._linked["dst"].copy()}
        if pass_ == "backward_data":
            return {"diff_src": self._linked["diff_src"].copy()}
        return {"diff_weights": self._diff_weights.reshape(self._layer.weight_shapes["weights"]).copy()}
