"""Compiled forward models: the same values and slopes, row by row, or a warning and the model as it is."""

from __future__ import annotations

import copy
import pickle
import shutil
import warnings

import pytest
import torch

import physgen as pg
from physgen import row_code
from physgen.forward_models import Canopy, vegetation
from physgen.problem import NUMBERS
from physgen.provenance import describe, name
from physgen.row_code import ROWS

compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")


class Decay:
    """A layer seen at an angle."""

    causes = pg.Space("depth", "albedo")

    def __call__(self, x, *, sun):
        return x[..., 1:] * torch.exp(-x[..., :1] * torch.tensor([1.0, 2.0, 3.0]).to(x) / torch.cos(sun)[..., None])

    def jacobian(self, x, *, sun):
        with torch.enable_grad():
            leaf = x.detach().requires_grad_(True)
            value = self(leaf, sun=sun)
            slopes = [torch.autograd.grad(v.sum(), leaf, retain_graph=True)[0] for v in value.unbind(-1)]
        return value.detach(), torch.stack(slopes, -2)


def drawn(count: int, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.rand(count, 2, generator=torch.Generator().manual_seed(1), dtype=dtype)
    return x, x[:, 0] * 0.5


@compiler
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_values_and_slopes_are_the_model_s_and_a_row_s_bits_its_own(dtype):
    plain, fast = Decay(), pg.compiled(Decay())
    x, sun = drawn(2 * ROWS + 7, dtype)
    near = {"rtol": 10 * torch.finfo(dtype).eps, "atol": 0.0}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        value, (again, slopes) = fast(x, sun=sun), fast.jacobian(x, sun=sun)
    torch.testing.assert_close(value, plain(x, sun=sun), **near)
    torch.testing.assert_close(again, value, **near)
    torch.testing.assert_close(slopes, plain.jacobian(x, sun=sun)[1], **near)
    for rows in (slice(5, 6), slice(100, 401), torch.arange(len(x) - 1, -1, -1)):
        assert torch.equal(fast(x[rows], sun=sun[rows]), value[rows])
        assert torch.equal(fast.jacobian(x[rows], sun=sun[rows])[1], slopes[rows])
    wide, angles = x[:6].reshape(2, 3, 2), sun[:6].reshape(2, 3)
    assert torch.equal(fast(wide, sun=angles), value[:6].reshape(2, 3, 3))
    assert fast(x[:0], sun=sun[:0]).shape == (0, 3)


@compiler
def test_gradients_are_those_of_the_model():
    plain, fast = Decay(), pg.compiled(Decay())
    x, sun = drawn(4, torch.float64)
    slopes = [
        torch.autograd.grad(f(leaf := x.clone().requires_grad_(True), sun=sun).sum(), leaf)[0] for f in (plain, fast)
    ]
    assert torch.equal(*slopes)
    shift = torch.nn.Linear(2, 3, dtype=torch.float64)
    assert pg.compiled(shift)(x.detach()).requires_grad  # somebody may be training it


@compiler
def test_what_is_small_is_not_lost():
    """torch's compiler takes exp(x) - 1 for expm1, however it is written."""

    def model(x):
        return torch.cat([torch.expm1(x), x.expm1(), x.clone().expm1_(), torch.nn.functional.elu(x)], -1)

    x = torch.logspace(-30, 1, 100, dtype=torch.float32)[:, None] * torch.tensor([1.0, -1.0])
    torch.testing.assert_close(pg.compiled(model)(x), model(x), rtol=4e-7, atol=0.0)


@compiler
def test_code_is_found_again_on_disk():
    from torch._dynamo.utils import counters

    x, sun = drawn(5, torch.float32)
    pg.compiled(Decay())(x, sun=sun)
    before = counters["inductor"]["fxgraph_cache_hit"]
    pg.compiled(Decay())(x, sun=sun)
    assert counters["inductor"]["fxgraph_cache_hit"] == before + 1


@compiler
@pytest.mark.slow
def test_more_models_than_torch_keeps_codes_of_one_function():
    def model(gain):
        return lambda x: gain * x

    x = torch.rand(3, 2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for gain in range(10):
            assert torch.equal(pg.compiled(model(float(gain)))(x), gain * x)


@compiler
def test_a_model_that_cannot_be_compiled_is_called_as_it_is_and_says_so_once():
    def branching(x):
        return x if bool(x.sum() > 0) else -x

    fast, x = pg.compiled(branching), torch.rand(3, 2)
    with pytest.warns(RuntimeWarning, match="branching cannot be compiled here"):
        assert torch.equal(fast(x), x)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert torch.equal(fast(-x), x)


def test_code_with_other_values_is_not_used(monkeypatch):
    monkeypatch.setattr(row_code, "_compiled", lambda code, _: lambda *block: tuple(1.01 * out for out in code(*block)))
    x, sun = drawn(5, torch.float32)
    fast = pg.compiled(Decay())
    with pytest.warns(RuntimeWarning, match="the values are not those of the model"):
        assert torch.equal(fast(x, sun=sun), Decay()(x, sun=sun))
    with pytest.warns(RuntimeWarning, match="the values are not those of the model"):
        assert torch.equal(fast.jacobian(x, sun=sun)[1], Decay().jacobian(x, sun=sun)[1])


def test_without_a_compiler_the_model_is_called_as_it_is(monkeypatch):
    def no_compiler(*_, **__):
        raise RuntimeError("No working C++ compiler found\nSome more lines")

    monkeypatch.setattr(row_code, "_compiled", no_compiler)
    x, sun = drawn(5, torch.float32)
    with pytest.warns(
        RuntimeWarning, match=r"^Decay cannot be compiled here \(RuntimeError: No working C\+\+ compiler found\)"
    ):
        assert torch.equal(pg.compiled(Decay())(x, sun=sun), Decay()(x, sun=sun))


def test_an_error_of_the_model_is_the_model_s():
    def refuses(x):
        raise ValueError("Invalid depth. It must be positive.")

    with pytest.raises(ValueError, match="Invalid depth"):
        pg.compiled(refuses)(torch.rand(3, 2))
    with pytest.raises(TypeError, match="sun"):
        pg.compiled(Decay())(torch.rand(3, 2))


def test_what_is_not_computed_is_the_model_s():
    fast = pg.compiled(Decay())
    assert fast.causes is Decay.causes
    assert fast.takes.required == {"sun"}
    assert getattr(pg.compiled(lambda x: x), "jacobian", None) is None
    assert name(fast) == "physgen.compilation.Compiled: Decay"
    assert describe(fast)["forward"]["class"].endswith("Decay")
    for again in (copy.deepcopy(fast), pickle.loads(pickle.dumps(fast))):
        assert again.causes.names == fast.causes.names


def test_wide_models_come_in_as_few_rows_as_without(monkeypatch):
    """Also those whose gradient is followed, which holds every operation's numbers."""
    seen = []
    monkeypatch.setattr(
        row_code, "_compiled", lambda code, _: lambda *block: seen.append(len(block[0])) or code(*block)
    )
    wide = Decay()
    wide.width = NUMBERS // 32
    problems = [
        pg.Problem(f, pg.Independent(depth=pg.Uniform(0, 1), albedo=pg.Uniform(0, 1)), pg.GaussianNoise(0.1))
        for f in (wide, pg.compiled(wide))
    ]
    assert problems[0].value_rows == problems[1].value_rows == 32
    problems[1].simulate(50, seed=1, sun=0.3)
    assert seen == [32, 32, 32]  # the first one makes the code


def test_a_condition_that_is_no_tensor_is_the_model_s_to_take():
    def model(x, sun=None):
        return x if sun is None else x * sun

    x = torch.rand(3, 2)
    assert torch.equal(pg.compiled(model)(x, sun=None), x)
    assert torch.equal(pg.compiled(model)(x, sun=2.0), 2 * x)


def test_a_black_box_cannot_be_compiled():
    with pytest.raises(TypeError, match="A black box cannot be compiled"):
        pg.compiled(pg.blackbox(lambda x: x))
    with pytest.raises(TypeError, match="It must be callable"):
        pg.compiled(3)


@compiler
@pytest.mark.slow
def test_a_compiled_canopy_is_the_canopy():
    plain = Canopy()
    x = vegetation(plain).sample(1000, seed=1, dtype=torch.float64)
    angles = {"solar_zenith": 40.0, "view_zenith": 5.0, "relative_azimuth": 100.0}
    conditions = {k: torch.full((1000,), v, dtype=torch.float64) for k, v in angles.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fast = pg.compiled(plain)
        value, (_, slopes) = fast(x, **conditions), fast.jacobian(x, **conditions)
    torch.testing.assert_close(value, plain(x, **conditions), rtol=1e-12, atol=1e-13)
    wanted = plain.jacobian(x, **conditions)[1]
    assert bool(((slopes - wanted).abs() <= 1e-12 * wanted.abs().amax(0)).all())
