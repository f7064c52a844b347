from __future__ import annotations

import numpy as np
import pytest

from layerbench.kernel_times import regression
from layerbench.kernel_times.shapes import Shape, gemm, recurrent

SIZES = [(m, n, k) for m in (256, 1024, 4096) for n in (16, 64, 256, 2048) for k in (512, 1024, 4096)]
SHAPES = tuple(gemm("forward", *size, 0, 0) for size in SIZES)


def law(shapes: tuple[Shape, ...]) -> np.ndarray:
    """Smooth: the smaller the work, the farther from the roofline."""
    return np.array([2 / (1 + np.exp(0.4 * (shape.features[0] - 20))) + 0.3 * shape.features[5] for shape in shapes])


def test_a_smooth_law_is_found_at_shapes_that_were_not_measured() -> None:
    held_out = np.arange(len(SHAPES)) % 5 == 2
    seen = tuple(shape for shape, out in zip(SHAPES, held_out, strict=True) if not out)
    unseen = tuple(shape for shape, out in zip(SHAPES, held_out, strict=True) if out)
    mean, deviation = regression.fit(seen, law(seen)).at(unseen)
    error = np.abs(mean - law(unseen))
    assert np.median(error) < 0.2 * np.abs(law(unseen) - law(seen).mean()).mean()
    assert (error <= 3 * deviation).all()


def test_intervals_hold_nine_of_ten_where_shapes_differ_at_random() -> None:
    random = np.random.default_rng(0)
    held = []
    for _ in range(20):
        values = law(SHAPES) + random.normal(0, 0.1, len(SHAPES))
        held_out = random.permutation(len(SHAPES)) < 8
        seen = tuple(shape for shape, out in zip(SHAPES, held_out, strict=True) if not out)
        mean, deviation = regression.fit(seen, values[~held_out]).at(
            [shape for shape, out in zip(SHAPES, held_out, strict=True) if out]
        )
        held.append(np.abs(mean - values[held_out]) <= 1.645 * deviation)
    assert 0.84 <= np.mean(held) <= 0.97


def test_beyond_the_measured_range_the_efficiency_stays_and_its_error_grows_to_an_end() -> None:
    fitted = regression.fit(SHAPES, law(SHAPES))
    mean, deviation = fitted.at([gemm("forward", 4096, n, 4096, 0, 0) for n in (2048, 2**14, 2**40, 2**50)])
    assert mean[3] == pytest.approx(mean[2], abs=1e-9)
    assert deviation[0] < deviation[1] <= deviation[2] + 1e-9
    assert deviation[3] == pytest.approx(deviation[2], rel=1e-6)


def test_passes_have_means_of_their_own_and_share_what_is_like() -> None:
    sizes = [(hidden, batch) for hidden in (256, 512, 1024, 2048) for batch in (16, 32, 64, 128)]
    shapes = tuple(
        recurrent(pass_, hidden, hidden, batch, 50, 4)
        for pass_ in ("forward", "backward_data")
        for hidden, batch in sizes
    )
    values = np.array([shape.features[3] + (2.0 if shape.pass_ == "forward" else 0.0) for shape in shapes])
    # Of the second pass the widest layers were not measured.
    seen = [i for i, shape in enumerate(shapes) if shape.pass_ == "forward" or shape.features[2] < np.log(1500)]
    mean, _ = regression.fit(tuple(shapes[i] for i in seen), values[seen]).at(shapes)
    np.testing.assert_allclose(mean, values, atol=0.15)


def test_a_pass_that_was_not_measured_is_predicted_by_those_that_were() -> None:
    values = np.full(len(SHAPES), 0.7)
    mean, deviation = regression.fit(SHAPES, values).at([gemm("another", 1024, 64, 512, 0, 0)])
    assert mean[0] == pytest.approx(0.7)
    assert np.isfinite(deviation[0])


def test_one_shape_alone_is_enough_to_say_something() -> None:
    mean, deviation = regression.fit(SHAPES[:1], np.array([0.4])).at(SHAPES[:3])
    np.testing.assert_allclose(mean, 0.4)
    assert np.isfinite(deviation).all()
