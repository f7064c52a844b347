"""A folder of images, of every kind that cameras, web pages and accidents leave behind."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from layerbench.datamanager.casting import Normalise
from layerbench.datamanager.images import FORMATS, IMAGENET_MEAN, IMAGENET_STD, ImageFolder, decoded
from layerbench.datamanager.manager import DataManager
from layerbench.datamanager.sequential import batches
from layerbench.datamanager.source import Field, SkippedError
from layerbench.errors import DataError, UsageError

RANDOM = np.random.default_rng(0)


def picture(height: int = 40, width: int = 60) -> Image.Image:
    """Smooth enough that resizing and JPEG leave it as it is, roughly."""
    rows, columns = np.mgrid[:height, :width]
    pixels = np.stack([255 * rows / height, 255 * columns / width, 255 - 255 * rows / height], axis=-1)
    return Image.fromarray(pixels.astype(np.uint8))


def plain(colour: Any, mode: str = "RGB", size: tuple[int, int] = (10, 8)) -> Image.Image:
    return Image.new(mode, size, colour)


def pixels_of(contents: bytes, size: tuple[int, int]) -> np.ndarray:
    """Height × width × 3, as decoded."""
    return np.stack([np.frombuffer(band, np.uint8).reshape(size) for band in decoded(contents, size)], axis=-1)


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes of three images each, of which one is of another suffix, and one deeper."""
    for number, name in enumerate(("cat/1.png", "cat/2.JPG", "cat/more/3.png", "dog/1.png", "dog/2.png", "dog/3.bmp")):
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        kind = {".png": "PNG", ".jpg": "JPEG", ".bmp": "BMP"}[path.suffix.lower()]
        path.write_bytes(saved(plain((40 * number, 7, 250)), kind, **({"quality": 100} if kind == "JPEG" else {})))
        (path.parent / "notes.txt").write_text("not an image")
        (path.parent / "._1.png").write_text("nor this")
    return tmp_path / "images"


def test_sub_folders_are_classes_and_images_are_sorted(folder: Path) -> None:
    source = ImageFolder(folder, (4, 5), 3, mean=(0, 0, 0), std=(1, 1, 1))
    assert source.classes == ("cat", "dog")
    assert len(source) == 6
    assert source.fields == (Field("images", (3, 4, 5), np.dtype("f4")), Field("labels", (), np.dtype("i8")))
    origins = [piece.origin for pieces in source.plan() for piece in pieces]
    assert origins == ["cat/1.png", "cat/2.JPG", "cat/more/3.png", "dog/1.png", "dog/2.png", "dog/3.bmp"]
    made = [(images.copy(), labels.copy()) for images, labels in batches(source)]
    source.close()
    assert np.concatenate([labels for _, labels in made]).tolist() == [0, 0, 0, 1, 1, 1]
    images = np.concatenate([images for images, _ in made])
    red = np.array([40 * number / 255 for number in range(6)])
    np.testing.assert_allclose(images[:, 0], np.broadcast_to(red[:, None, None], (6, 4, 5)), atol=2.01 / 255)
    np.testing.assert_allclose(images[:, 2], 250 / 255, atol=2.01 / 255)


@pytest.mark.parametrize("layout", ["CHW", "HWC"])
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
def test_values_are_normalised_as_numpy_would(tmp_path: Path, layout: Any, dtype: str) -> None:
    (tmp_path / "a.png").write_bytes(saved(picture(20, 30), "PNG"))
    source = ImageFolder(tmp_path, (20, 30), 1, layout=layout, dtype=dtype)
    ((images, _),) = batches(source)
    source.close()
    values = np.asarray(picture(20, 30)).transpose(2, 0, 1)
    field = Field("images", (3, 20, 30), np.dtype(dtype))
    factor, offset = Normalise(IMAGENET_MEAN, IMAGENET_STD, divisor=255).factors(field)
    expected = values.astype(dtype) * factor + offset
    found = images[0] if layout == "CHW" else images[0].transpose(2, 0, 1)
    np.testing.assert_array_equal(found, expected)
    exact = (values / 255 - np.reshape(IMAGENET_MEAN, (3, 1, 1))) / np.reshape(IMAGENET_STD, (3, 1, 1))
    np.testing.assert_allclose(found, exact, atol=0.02 if dtype == "float16" else 1e-5)


KINDS: list[tuple[str, bytes, tuple[int, int, int]]] = [
    ("grey", saved(plain(100, "L"), "PNG"), (100, 100, 100)),
    ("grey jpeg", saved(plain(100, "L"), "JPEG", quality=100), (100, 100, 100)),
    ("black and white", saved(plain(1, "1"), "PNG"), (255, 255, 255)),
    ("grey with alpha", saved(plain((100, 3), "LA"), "PNG"), (100, 100, 100)),
    ("colour with alpha", saved(plain((10, 200, 30, 0), "RGBA"), "PNG"), (10, 200, 30)),
    ("palette", saved(plain((10, 200, 30)).convert("P", palette=Image.Palette.ADAPTIVE), "PNG"), (10, 200, 30)),
    (
        "palette with transparency",
        saved(plain((10, 200, 30)).convert("P", palette=Image.Palette.ADAPTIVE), "PNG", transparency=b"\x10\x80\xff"),
        (10, 200, 30),
    ),
    ("transparent gif", saved(plain((10, 200, 30)), "GIF", transparency=0), (10, 200, 30)),
    ("cmyk jpeg", saved(plain((10, 200, 30)).convert("CMYK"), "JPEG", quality=100), (10, 200, 30)),
    ("cmyk tiff", saved(plain((10, 200, 30)).convert("CMYK"), "TIFF"), (10, 200, 30)),
    ("16 bits png", saved(Image.fromarray(np.full((8, 10), 100 * 257, np.uint16)), "PNG"), (100, 100, 100)),
    ("16 bits tiff", saved(Image.fromarray(np.full((8, 10), 100 * 257, np.uint16)), "TIFF"), (100, 100, 100)),
    ("32 bits tiff", saved(Image.fromarray(np.full((8, 10), 100 * 257, np.int32)), "TIFF"), (100, 100, 100)),
    ("16 bits pgm", b"P5 2 1 65535\n" + struct.pack(">2H", 100 * 257, 100 * 257), (100, 100, 100)),
    ("webp", saved(plain((10, 200, 30)), "WEBP", lossless=True), (10, 200, 30)),
    ("bmp", saved(plain((10, 200, 30)), "BMP"), (10, 200, 30)),
    (
        "animation",
        saved(plain((10, 200, 30)), "GIF", save_all=True, append_images=[plain((0, 0, 0))]),
        (10, 200, 30),
    ),
]


@pytest.mark.parametrize(("contents", "colour"), [kind[1:] for kind in KINDS], ids=[kind[0] for kind in KINDS])
@pytest.mark.parametrize("size", [(8, 10), (3, 4), (16, 30)])
def test_every_kind_of_image_becomes_red_green_and_blue(
    contents: bytes, colour: tuple[int, int, int], size: tuple[int, int]
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = pixels_of(contents, size)
    assert np.abs(found.astype(int) - colour).max() <= 2


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.parametrize("size", [(16, 16), (10, 31), (63, 80), (300, 200)])
def test_a_resized_image_looks_like_the_original(kind: str, size: tuple[int, int]) -> None:
    found = pixels_of(saved(picture(240, 320), kind), size)
    expected = np.asarray(picture(240, 320).resize(size[::-1], Image.Resampling.BILINEAR))
    assert np.abs(found.astype(int) - expected).max() <= 6


def test_a_jpeg_is_decoded_at_a_scale_of_its_own_that_is_no_smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    resize = Image.Image.resize

    def noted(image: Image.Image, *arguments: Any, **named: Any) -> Image.Image:
        sizes.append(image.size)
        return resize(image, *arguments, **named)

    monkeypatch.setattr(Image.Image, "resize", noted)
    contents = saved(picture(960, 1280), "JPEG")
    for size in ((224, 224), (240, 320), (241, 320), (20, 20)):
        pixels_of(contents, size)
    # At (240, 320) the scale is the wanted size itself, and nothing is left to resize.
    assert sizes == [(320, 240), (640, 480), (160, 120)]


def test_resizing_does_not_alias() -> None:
    stripes = Image.fromarray(np.tile(np.array([0, 255], np.uint8), (256, 128)))
    found = pixels_of(saved(stripes, "PNG"), (30, 30))
    assert np.abs(found.astype(int) - 127).max() <= 3


def test_orientation_is_ignored() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    found = pixels_of(saved(picture(), "PNG", exif=exif), (40, 60))
    np.testing.assert_array_equal(found, np.asarray(picture()))


def bomb() -> bytes:
    """A small file that says it has 40,000 × 40,000 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">2I5B", 40_000, 40_000, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    )


def damage(folder: Path, kind: str) -> str:
    """Put a bad image into the folder's first class; returns what is told of it."""
    path = folder / "cat" / "bad.jpg"
    whole = saved(picture(200, 300), "JPEG")
    match kind:
        case "truncated":
            path.write_bytes(whole[: len(whole) // 2])
            return "image file is truncated"
        case "cut in the header":
            path.write_bytes(whole[:40])
            return ""
        case "no image":
            path.write_text("<html>404</html>")
            return f"the file is none of {', '.join(FORMATS)}, or damaged"
        case "empty":
            path.touch()
            return "the file is empty"
        case "folder":
            path.mkdir()
            return "is a folder, not a file"
        case "dangling link":
            path.symlink_to(folder / "gone.jpg")
            return "No such file or directory"
        case "pipe":
            os.mkfifo(path)
            return "is a pipe or device, not a file"
        case "bomb":
            path.write_bytes(bomb())
            return "exceeds limit of"
        case "broken png":
            contents = saved(picture(200, 300), "PNG")
            # From the first byte of what is compressed on.
            path.write_bytes(contents[:41] + b"\xff" * 100 + contents[141:])
            return ""
        case _:
            # PostScript is a program: nothing may run it, whatever the file is called.
            path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n")
            return "the file is none of"


BAD = [
    "truncated",
    "cut in the header",
    "no image",
    "empty",
    "folder",
    "dangling link",
    "pipe",
    "bomb",
    "broken png",
    "postscript",
]


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_image_is_raised_with_its_name(folder: Path, kind: str) -> None:
    told = damage(folder, kind)
    source = ImageFolder(folder, 8, 1)
    found = batches(source)
    with pytest.raises(DataError) as error:
        list(found)
    source.close()
    message = str(error.value)
    assert "of cat/bad.jpg (batch 2): " in message
    assert told in message
    assert "object at" not in message
    assert "\n" not in message


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_image_is_skipped_with_its_reason(folder: Path, kind: str) -> None:
    told = damage(folder, kind)
    source = ImageFolder(folder, 8, 7, policy="skip")
    (pieces,) = source.plan()
    out = tuple(np.empty((1, *field.shape), field.dtype) for field in source.fields)
    reasons = []
    for piece in pieces:
        item = piece.item
        try:
            for stage in source.stages:
                item = stage.run(item, out)
        except SkippedError as error:
            reasons.append((piece.origin, str(error)))
    ((origin, reason),) = reasons
    assert origin == "cat/bad.jpg"
    assert reason
    assert told in reason
    assert "\n" not in reason
    ((_, labels),) = batches(source)
    source.close()
    assert labels.tolist() == [0, 0, 0, 1, 1, 1]


def test_a_folder_that_vanishes_is_told_or_skipped(folder: Path) -> None:
    source = ImageFolder(folder, 8, 6, policy="skip")
    (folder / "cat").rename(folder.parent / "elsewhere")
    ((_, labels),) = batches(source)
    source.close()
    assert labels.tolist() == [1, 1, 1]
    again = ImageFolder(folder, 8, 3)
    (folder / "dog").rename(folder.parent / "there")
    with pytest.raises(DataError, match=r"^read of dog/1.png \(batch 0\): FileNotFoundError"):
        list(batches(again))
    again.close()


NOISY = """
import sys
from layerbench.datamanager.images import ImageFolder
from layerbench.datamanager.sequential import batches
from PIL import Image
source = ImageFolder(sys.argv[1], 8, 1, policy="skip")
print(len(list(batches(source))))
source.close()
"""


def test_nothing_of_pillows_warnings_is_printed(tmp_path: Path) -> None:
    # Pillow warns of an image of more pixels than its limit, up to twice as many; and of damaged metadata.
    Image.new("1", (10_000, 9_500)).save(tmp_path / "large.png")
    tiff = bytearray(saved(plain((1, 2, 3)), "TIFF"))
    (tmp_path / "damaged.tif").write_bytes(tiff[:-20])
    warns = tmp_path / "large.png"
    with pytest.warns(Image.DecompressionBombWarning):
        Image.open(warns).close()
    done = subprocess.run(
        [sys.executable, "-W", "always", "-c", NOISY, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    assert done.stdout.strip() in ("1", "2")


def test_warnings_are_heard_again_after_the_last_folder_is_closed(folder: Path) -> None:
    before = list(warnings.filters)
    first, second = ImageFolder(folder, 4, 1), ImageFolder(folder, 4, 1)
    assert warnings.filters[0][0] == "ignore"
    first.close()
    first.close()
    assert warnings.filters[0][0] == "ignore"
    second.close()
    assert list(warnings.filters) == before


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"batch_size": 7}, "images: 6 samples do not fill one batch of 7"),
        ({"size": (0, 4)}, "size must be a height and a width of 1 to 32768 pixels, not (0, 4)"),
        ({"size": (4, 4, 4)}, "size must be a height and a width"),
        ({"policy": "ignore"}, "policy must be raise or skip, not 'ignore'"),
        ({"layout": "NCHW"}, "layout must be CHW or HWC, not 'NCHW'"),
        ({"dtype": "uint8"}, "images: normalised values are delivered as floating-point numbers, not uint8"),
        ({"dtype": "floaty"}, "images: expected a dtype such as 'float32', not 'floaty'"),
        ({"std": (0, 1, 1)}, "images: mean must be finite, std and divisor positive"),
        ({"mean": (1, 1)}, "images: mean and std must be one number each, or one for each channel"),
    ],
)
def test_wrong_options_are_refused_in_one_line(folder: Path, wrong: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError) as error:
        ImageFolder(**({"folder": folder, "size": 8, "batch_size": 2} | wrong))
    assert told in str(error.value)
    assert "\n" not in str(error.value)
    assert not any(found[0] == "ignore" and str(found[3]).find("PIL") >= 0 for found in warnings.filters)


def test_a_folder_of_nothing_but_damaged_images_does_not_go_on_for_ever(tmp_path: Path) -> None:
    for number in range(4):
        (tmp_path / f"{number}.jpg").write_bytes(b"no image")
    source = ImageFolder(tmp_path, 8, 2, policy="skip", epochs=None)
    told = r"^no batch after 50 ms: of all up to batch \d+ everything was skipped, at last [13].jpg: the file is"
    with DataManager(source, timeout=0.05) as found, pytest.raises(DataError, match=told):
        list(found)
    assert len(found.skipped) > 2
