"""Black boxes: the same numbers as the function, and never a silent gradient."""

from __future__ import annotations

import math
import threading

import numpy as np
import pytest
import torch
import torch.autograd.forward_ad as forward_ad

from physgen.black_box import BlackBox, blackbox
from physgen.conditions import Takes, takes
from physgen.random import normal, single_stream
from physgen.rows import jacobian
from physgen.space import Block, Space


def decay(x: np.ndarray, height: np.ndarray) -> np.ndarray:
    return x * np.exp(-height)[:, None]


def decay_of_one(x: np.ndarray, height: float) -> np.ndarray:
    return x * math.exp(-height)


BOXES = {
    "batched": blackbox(decay),
    "row by row": blackbox(decay_of_one, batched=False),
    "threads": blackbox(decay_of_one, batched=False, workers=3),
}


@pytest.mark.parametrize("box", BOXES.values(), ids=BOXES)
@pytest.mark.parametrize("batch", [(), (5,), (2, 5)])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_same_numbers_as_torch(box: BlackBox, batch: tuple[int, ...], dtype: torch.dtype) -> None:
    x = normal((*batch, 3), single_stream(), seed=0, dtype=dtype)
    height = torch.linspace(0, 1, 5, dtype=dtype) if batch else torch.tensor(0.3, dtype=dtype)
    found = box(x, height=height)
    assert found.dtype == dtype
    torch.testing.assert_close(found, x * torch.exp(-height)[..., None])


def test_shared_conditions_broadcast() -> None:
    x, box = normal((4, 3), single_stream(), seed=0), BOXES["batched"]
    for height in (0.5, torch.tensor([0.5]), torch.full((4,), 0.5)):
        torch.testing.assert_close(box(x, height=height), x * math.exp(-0.5))


def test_a_condition_with_a_shape_of_its_own() -> None:
    def weigh(x: np.ndarray, weights: np.ndarray) -> np.ndarray:
        return np.einsum("rn,rn->r", x, weights)[:, None]

    box = blackbox(weigh, conditions=Space(Block("weights", shape=(3,))))
    x, weights = normal((2, 4, 3), single_stream(), seed=0), normal((3,), single_stream(), seed=1)
    torch.testing.assert_close(box(x, weights=weights)[..., 0], x @ weights)


def test_the_function_may_overwrite_and_reuse_its_arrays() -> None:
    buffer = np.empty((4, 3))

    def in_place(x: np.ndarray) -> np.ndarray:
        x *= 2
        buffer[:] = x
        return buffer

    box, x = blackbox(in_place), torch.ones(4, 3, dtype=torch.float64)
    first = box(x)
    box(5 * x)
    assert bool((x == 1).all())
    assert bool((first == 2).all())


def test_rows_are_float64_whatever_x_is() -> None:
    seen = []
    blackbox(lambda x: seen.append((x.dtype, x.flags.c_contiguous)) or x)(torch.ones(3, 4, dtype=torch.float32).T)
    assert seen == [(np.dtype("float64"), True)]


def test_threads_keep_the_order_and_are_several() -> None:
    barrier = threading.Barrier(3, timeout=20)

    def wait(x: np.ndarray) -> np.ndarray:
        barrier.wait()  # passes only when three rows are under way at once
        return x

    x = torch.arange(6.0)[:, None]
    assert torch.equal(blackbox(wait, batched=False, workers=3)(x), x)


def test_values_that_are_not_finite_pass() -> None:
    assert bool(torch.isnan(blackbox(lambda x: x * math.nan)(torch.ones(2, 2))).all())


def test_no_rows() -> None:
    assert BOXES["batched"](torch.zeros(0, 3), height=1.0).shape == (0, 3)
    named = blackbox(decay_of_one, batched=False, observables=Space("a", "b", "c"))
    assert named(torch.zeros(0, 3), height=1.0).shape == (0, 3)


NO_GRADIENT = r"has no gradient\. Use an inversion of physgen\.inversions that only evaluates the model: SliceSampler"


def test_backward_is_an_error() -> None:
    x = torch.ones(2, 3, requires_grad=True)
    out = BOXES["batched"](x, height=1.0)
    with pytest.raises(TypeError, match=NO_GRADIENT):
        out.sum().backward()
    height = torch.tensor(1.0, requires_grad=True)
    with pytest.raises(TypeError, match=NO_GRADIENT):
        BOXES["batched"](torch.ones(2, 3), height=height).sum().backward()


def test_backward_is_an_error_after_a_prior() -> None:
    z = torch.zeros(2, 3, requires_grad=True)
    log_density = -0.5 * (z**2).sum() - BOXES["batched"](torch.exp(z), height=1.0).sum()
    with pytest.raises(TypeError, match=NO_GRADIENT):
        log_density.backward()


def test_forward_mode_is_an_error() -> None:
    box, x = blackbox(lambda x: x), torch.ones(2, 3)
    with forward_ad.dual_level(), pytest.raises(TypeError, match=NO_GRADIENT):
        box(forward_ad.make_dual(x, x))
    for ask in (torch.func.jacfwd(box), torch.func.jacrev(box), torch.func.grad(lambda x: box(x).sum())):
        with pytest.raises(TypeError, match=NO_GRADIENT):
            ask(x)
    with pytest.raises(TypeError, match=NO_GRADIENT):
        jacobian(box, x)
    with pytest.raises(TypeError, match="leading axes"):
        torch.func.vmap(box)(x)


def test_without_gradients_the_output_is_plain() -> None:
    box, x = blackbox(lambda x: x), torch.ones(2, 3, requires_grad=True)
    assert not box.differentiable
    assert not box(x.detach()).requires_grad
    with torch.no_grad():
        assert not box(x).requires_grad


def test_it_takes_what_the_function_names() -> None:
    assert takes(BOXES["batched"]) == Takes(frozenset({"height"}))
    assert takes(blackbox(lambda x, a, b=1.0: x)) == Takes(frozenset({"a"}), frozenset({"b"}))
    declared = blackbox(lambda x, **kw: x, conditions=Space("sun"))
    assert takes(declared) == Takes(frozenset({"sun"}))


def test_a_compiled_function_takes_what_is_declared() -> None:
    def compiled(x, *args):
        return x

    compiled.__signature__ = "none"  # type: ignore[attr-defined]  # inspect finds none, as in many libraries
    assert takes(blackbox(compiled)) == Takes()
    assert takes(blackbox(compiled, conditions=Space("sun"))) == Takes(frozenset({"sun"}))


def test_it_has_the_name_of_the_function() -> None:
    assert (blackbox(decay).name, blackbox(decay, name="layer").name) == ("decay", "layer")


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: blackbox(3), TypeError, "must be callable"),
        (lambda: blackbox(decay, workers=2), ValueError, "Only a function with batched=False"),
        (lambda: blackbox(decay, batched=False, workers=0), ValueError, "Invalid workers 0"),
        (lambda: blackbox(decay, conditions=Space("hight")), ValueError, "takes \\['height'\\]"),
        (lambda: BOXES["batched"](torch.ones(2, 3), hight=1.0, height=1.0), ValueError, "Unknown condition 'hight'"),
        (lambda: BOXES["batched"](torch.ones(2, 3)), ValueError, "Missing condition 'height'"),
        (lambda: BOXES["batched"](torch.ones(2, 3), height=torch.ones(5)), ValueError, "must broadcast"),
        (lambda: blackbox(lambda x: x[0])(torch.ones(2, 3)), ValueError, "Pass batched=False"),
        (lambda: blackbox(lambda x: x.sum(-1))(torch.ones(2, 3)), ValueError, r"the shape \(2,\) for 2 rows"),
        (lambda: blackbox(lambda x: "ok")(torch.ones(2, 3)), TypeError, "not an array of real numbers"),
        (lambda: blackbox(lambda x: x * 1j)(torch.ones(2, 3)), TypeError, "complex128"),
        (lambda: blackbox(lambda x: None)(torch.ones(2, 3)), TypeError, "NoneType"),
        (lambda: blackbox(lambda x: [[1.0], [2.0, 3.0]])(torch.ones(2, 3)), TypeError, "Return a NumPy array"),
        (
            lambda: blackbox(lambda x: np.ones(int(x[0])), batched=False)(torch.tensor([[1.0], [2.0]])),
            ValueError,
            r"rows of the lengths \[1, 2\]",
        ),
        (lambda: blackbox(lambda x: x, observables=Space("a"))(torch.ones(2, 3)), ValueError, r"not \(2, 1\)"),
        (lambda: blackbox(lambda x: x, causes=Space("a"))(torch.ones(2, 3)), ValueError, "must hold the 1 elements"),
    ],
)
def test_what_does_not_fit_is_refused(make, error, message: str) -> None:
    with pytest.raises(error, match=message):
        make()
