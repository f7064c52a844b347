"""Batches of a folder of images: read, decoded by Pillow, resized and normalised."""

from __future__ import annotations

import io
import os
import threading
import warnings
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image, UnidentifiedImageError

from layerbench.datamanager import image_files, naming
from layerbench.datamanager.casting import Normalise, dtype_asked
from layerbench.datamanager.image_files import ImageFile
from layerbench.datamanager.order import Order
from layerbench.datamanager.source import Field, Out, Piece, SkippedError, Stage
from layerbench.environment import usable_cores
from layerbench.errors import UsageError
from layerbench.suite_format import shown

FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
"""Formats of Pillow's that are decoded. It knows others, some of which start a program that the file steers."""

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
"""Of ImageNet's training images: red, green and blue from 0 to 1."""

_DECODERS = 16
"""More threads than this that decode hold each other up in the interpreter."""


class ImageFolder:
    """Batches of a folder's images, and of their labels where the folder has classes.

    Sub-folders are classes: an image's label (int64) is the place of its sub-folder among them, sorted by name; images
    may lie deeper. Images that lie in the folder itself have no classes, and label 0. A name that begins with a dot is
    passed over. Images are sorted by path.

    ``read`` takes a file's bytes into memory. ``decode`` makes red, green and blue of whatever it is (grey, palette,
    CMYK; what is transparent becomes opaque, 16 bits become 8, an animation is its first picture) and resizes both
    sides to ``size``, whatever the image's own proportions. A JPEG is decoded at the smallest of its own scales, 1/8,
    1/4 or 1/2, that is no smaller than ``size``, which leaves out much of the work; other images are first averaged
    over whole pixels to no less than twice the size. The rest is bilinear over all of the pixels that a new one covers,
    so that nothing aliases. EXIF orientation is ignored, as is usual in training. ``cast`` normalises.

    While a source of this kind is open, Pillow's warnings are silent in the whole process: what matters of them is told
    as an error, with the image's name.

    Parameters
    ----------
    folder
        Where the images are.
    size
        Height and width of delivered images, or one number for both.
    batch_size, rank, ranks, shuffle, epochs, drop_last
        As in :class:`~layerbench.datamanager.order.Order`.
    mean, std
        Of red, green and blue from 0 to 1: delivered are (value / 255 - mean) / std, as
        :class:`~layerbench.datamanager.casting.Normalise` computes it.
    layout
        ``CHW`` or ``HWC``: in what order a sample has channels, rows and columns.
    dtype
        What is delivered: a floating-point dtype.
    policy
        What is done about an image that cannot be read or decoded: ``raise`` it, or ``skip`` it, for the data manager
        to count and name. A batch of which nothing is left is not delivered: ranks that exchange gradients in each
        batch may then have different numbers of them, and wait for each other.

    Attributes
    ----------
    classes
        Names of the sub-folders; empty where there are none.

    Raises
    ------
    UsageError
        If the folder cannot be read, has no image, or too few for a batch; or an option is wrong.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        size: int | tuple[int, int],
        batch_size: int,
        *,
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
        layout: Literal["CHW", "HWC"] = "CHW",
        dtype: Any = np.float32,
        policy: Literal["raise", "skip"] = "raise",
        rank: int = 0,
        ranks: int = 1,
        shuffle: int | None = None,
        epochs: int | None = 1,
        drop_last: bool = True,
    ) -> None:
        if policy not in ("raise", "skip"):
            raise UsageError(f"policy must be raise or skip, not {shown(policy)}")
        if layout not in ("CHW", "HWC"):
            raise UsageError(f"layout must be CHW or HWC, not {shown(layout)}")
        height, width = _pair(size)
        if not isinstance(folder, str | os.PathLike):
            raise UsageError(f"expected the path of a folder of images, not {shown(folder)}")
        images = Field("images", (3, height, width), dtype_asked("images", dtype))
        factor, offset = Normalise(mean, std, divisor=255.0).factors(images)
        self._factors = list(zip(np.broadcast_to(factor.ravel(), 3), np.broadcast_to(offset.ravel(), 3), strict=True))
        if layout == "HWC":
            images = images._replace(shape=(height, width, 3))
        self.folder = Path(folder)
        self.classes, self._files = image_files.find(self.folder)
        try:
            self.order = Order(len(self._files), batch_size, rank, ranks, shuffle, epochs, drop_last)
        except UsageError as error:
            raise UsageError(f"{naming.path(folder)}: {error}") from None
        self.layout, self.policy = layout, policy
        self.size = (height, width)
        self.fields: Sequence[Field] = (images, Field("labels", (), np.dtype(np.int64)))
        self.batch_size = batch_size
        self.batches = self.order.batches
        decoders = min(_DECODERS, len(usable_cores()))
        self.stages: Sequence[Stage] = (
            Stage("read", self._read),
            Stage("decode", self._decode, workers=decoders),
            Stage("cast", self._cast),
        )
        self._silence()

    def __len__(self) -> int:
        """How many images there are."""
        return len(self._files)

    def plan(self) -> Iterator[Sequence[Piece]]:
        """A piece for each image: decoding one takes far longer than handing it on, and each can be skipped."""
        if not self._heard_again.alive:
            self._silence()
        for samples in self.order:
            chosen = [self._files[sample] for sample in samples]
            yield [Piece(place, place + 1, file, naming.path(file.path)) for place, file in enumerate(chosen)]

    def _silence(self) -> None:
        _SILENCE.enter()
        self._heard_again = weakref.finalize(self, _SILENCE.leave)

    def close(self) -> None:
        """Let Pillow's warnings be heard again."""
        self._heard_again()

    def _read(self, file: ImageFile, out: Out) -> tuple[int, bytes]:
        try:
            return file.label, image_files.contents(self.folder / file.path)
        except OSError as error:
            if self.policy == "skip":
                raise SkippedError(naming.reason(error)) from error
            raise

    def _decode(self, item: tuple[int, bytes], out: Out) -> tuple[int, list[bytes]]:
        label, contents = item
        try:
            return label, decoded(contents, self.size)
        except Exception as error:  # decoders of damaged files raise whatever their arithmetic ends in
            if self.policy == "skip" and not isinstance(error, MemoryError):
                raise SkippedError(naming.reason(error)) from error
            raise

    def _cast(self, item: tuple[int, list[bytes]], out: Out) -> None:
        label, bands = item
        images, labels = out
        labels[0] = label
        for channel, (band, (factor, offset)) in enumerate(zip(bands, self._factors, strict=True)):
            place = images[0, channel] if self.layout == "CHW" else images[0, :, :, channel]
            pixels = np.frombuffer(band, np.uint8).reshape(place.shape)
            np.multiply(pixels, factor, out=place, dtype=place.dtype)
            np.add(place, offset, out=place)


def decoded(contents: bytes, size: tuple[int, int]) -> list[bytes]:
    """The red, green and blue pixels of an image file, resized to a height and width.

    Raises
    ------
    PIL.UnidentifiedImageError
        If it is no image.
    Exception
        Pillow's own, of many kinds, if it is damaged or too large to be meant.
    """
    height, width = size
    try:
        opened = Image.open(io.BytesIO(contents), formats=FORMATS)
    except UnidentifiedImageError:
        # Pillow's message names an object in memory.
        kinds = f"none of {', '.join(FORMATS)}, or damaged" if contents else "empty"
        raise UnidentifiedImageError(f"the file is {kinds}") from None
    with opened:
        opened.draft(None, (width, height))
        # Transparency is dropped anyway; of a palette with several degrees of it Pillow would warn.
        opened.info.pop("transparency", None)
        image = _rgb(opened)
    if image.size != (width, height):
        image = image.resize((width, height), Image.Resampling.BILINEAR, reducing_gap=2.0)
    # One band at a time is what Pillow gives quickest, and lies in one piece for the cast.
    return [image.tobytes("raw", band) for band in "RGB"]


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        # Of 16 bits Pillow would keep the values and cut them at 255.
        values = np.asarray(image)
        return Image.fromarray((values.clip(0, 0xFFFF) >> 8).astype(np.uint8)).convert("RGB")
    image.load()
    return image if image.mode == "RGB" else image.convert("RGB")


def _pair(size: int | tuple[int, int]) -> tuple[int, int]:
    pair = tuple(size) if isinstance(size, Sequence) else (size, size)
    # A bool is a whole number to Python.
    whole = all(isinstance(side, int) and not isinstance(side, bool) and 1 <= side <= 2**15 for side in pair)
    if len(pair) != 2 or not whole:
        raise UsageError(f"size must be a height and a width of 1 to {2**15} pixels, not {size!r}")
    return pair


class _Silence:
    """Passes over what Pillow warns of while any source is open.

    ``warnings.catch_warnings`` would do it for one thread's sake and undo what other threads do meanwhile.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open = 0
        self._filter: Any = None

    def enter(self) -> None:
        with self._lock:
            self._open += 1
            # Again for each source: whoever restores the filters of an earlier time takes this one away.
            warnings.filterwarnings("ignore", module=r"PIL\.")
            self._filter = warnings.filters[0]

    def leave(self) -> None:
        with self._lock:
            self._open -= 1
            filters: Any = warnings.filters
            if not self._open and self._filter in filters:
                filters.remove(self._filter)


_SILENCE = _Silence()
