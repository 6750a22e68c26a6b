"""Wrappers: conditions fixed, causes set, selections, ratios."""

import math

import numpy as np
import pytest
import torch

from physgen.noise import GaussianNoise
from physgen.priors import Chain, Conditional, Exponential, Gaussian, Independent, LogNormal, Normal, Uniform
from physgen.priors.composed import Composed
from physgen.priors.decoder import Decoder
from physgen.priors.fitting import Training
from physgen.priors.wrappers import counterfactual, do, given, shift, where
from physgen.problem import Problem
from physgen.testing import check_prior

LINE = (-math.inf, math.inf)


def seasonal():
    return Chain(
        a=Conditional(lambda day: Normal(0.01 * day, 1), support=LINE),
        b=Conditional(lambda a, day, shade: Normal(a + shade, 1 + 0.001 * day), support=LINE),
    )


PRIORS = {
    "given": (lambda: given(seasonal(), day=100.0), {"shade": 0.3}),
    "given twice": (lambda: given(given(seasonal(), day=100.0), shade=0.1), {}),
    "given do": (lambda: do(given(seasonal(), day=100.0), a=0.5), {"shade": 0.3}),
    "where": (lambda: where(Independent(r=LogNormal(1, 0.5)), lambda x: x[..., 0] > 0.8), {}),
    "where by a condition": (
        lambda: where(Gaussian([0, 1], np.eye(2)), lambda x, limit: x[..., 0] < limit),
        {"limit": 1.0},
    ),
    "shift": (lambda: shift(Independent(r=Uniform(0, 2)), lambda x: x[..., 0].log(), bound=math.log(2)), {}),
    "where of a shift": (
        lambda: where(shift(Gaussian([0], [[1.0]]), lambda x: -(x[..., 0] ** 2)), lambda x: x[..., 0] > -1),
        {},
    ),
}


@pytest.mark.parametrize("name", PRIORS)
def test_contract(name):
    make, conditions = PRIORS[name]
    check_prior(make(), conditions)


def test_given_is_the_prior_under_that_condition():
    prior, z = seasonal(), torch.linspace(-2, 2, 10, dtype=torch.float64).reshape(5, 2)
    fixed = given(prior, day=100.0)
    assert torch.equal(fixed.decode(z, shade=0.2), prior.decode(z, day=100.0, shade=0.2))
    assert fixed.takes.names == {"shade"}
    assert torch.equal(do(fixed, a=1.0).decode(z, shade=0.2), prior.do(a=1.0).decode(z, day=100.0, shade=0.2))
    assert given(prior) is prior


def radii(draws):
    return draws[..., 0].sqrt()


def test_a_plane_cuts_large_spheres_more_often():
    """Rayleigh radii (their squares are exponential): E[R | cut] / E[R] = E[R^2] / E[R]^2 = 4 / pi."""
    mean, n = math.sqrt(math.pi / 2), 40_000
    spheres = Chain(square=Exponential(2.0), distance=Uniform(0, 7))
    cut = where(spheres, lambda x: x[..., 1] < radii(x))
    favoured = shift(Chain(square=Exponential(2.0)), lambda x: radii(x).log(), bound=math.log(7))
    # the standard deviation of R | cut (Maxwell-like, R^2 exp(-R^2 / 2)) is sqrt(3 - 8 / pi)
    tolerance = 4 * math.sqrt(3 - 8 / math.pi) / math.sqrt(n) / mean
    for prior in (cut, favoured):
        ratio = float(radii(prior.sample(n, seed=1, dtype=torch.float64)).mean()) / mean
        assert ratio == pytest.approx(4 / math.pi, abs=tolerance)
    unbiased = float(radii(spheres.sample(n, seed=1, dtype=torch.float64)).mean()) / mean
    assert unbiased == pytest.approx(1, abs=tolerance)


def test_inversions_read_the_factor():
    """A Gaussian measurement of a Gaussian cause that was selected to be positive: truncated normal posterior."""
    prior = where(Gaussian([0.0], [[1.0]]), lambda x: x[..., 0] > 0)
    problem = Problem(lambda x: x, prior, GaussianNoise(1.0))
    posterior = problem.condition(torch.tensor([-0.5], dtype=torch.float64))
    z = torch.linspace(-1, 4, 6, dtype=torch.float64)[:, None]
    value = posterior.log_prob(z)
    assert torch.isneginf(value[0])
    kept = z[2:, 0]
    expected = -0.5 * kept**2 - 0.5 * (-0.5 - kept) ** 2
    torch.testing.assert_close(value[2:].diff(), expected.diff(), rtol=1e-12, atol=1e-12)
    x, _ = problem.simulate(500, seed=0)
    assert (x > 0).all()


def test_class_frequencies_change():
    """Two classes at 0 and 4, one in two; the ratio 1 to 4 leaves one in five of the upper class."""
    two = Chain(side=Uniform(0, 1), x=lambda side: Normal(4.0 * (side > 0.5).to(side), 0.5))
    rarer = shift(two, lambda x: torch.where(x[..., 0] > 0.5, math.log(0.25), 0.0).to(x))
    share = float((rarer.sample(20_000, seed=3)[:, 1] > 2).double().mean())
    assert share == pytest.approx(0.2, abs=4 * math.sqrt(0.2 * 0.8 / 20_000))


def test_counterfactual_of_a_chain():
    prior = Chain(a=Normal(0, 1), b=lambda a: Normal(2 * a, 0.5))
    x = torch.tensor([[0.3, 1.0], [-1.0, -2.5]], dtype=torch.float64)
    moved = counterfactual(prior, x, {"a": 1.0})
    torch.testing.assert_close(moved, torch.stack([torch.ones(2).to(x), x[:, 1] - 2 * x[:, 0] + 2], 1))


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda: given(seasonal(), dya=1.0),
            ValueError,
            "Unknown condition 'dya' of Chain. Its conditions are day, shade",
        ),
        (lambda: given(seasonal(), day="x"), TypeError, "Give one number"),
        (lambda: given(seasonal(), day=math.nan), ValueError, "It must be finite"),
        (lambda: given(seasonal(), day=1.0).decode(torch.zeros(2), day=2.0), ValueError, "'day' is fixed"),
        (lambda: do(Gaussian([0], [[1.0]]), x0=1.0), TypeError, "Gaussian has no 'do'"),
        (lambda: where(seasonal(), 3), TypeError, "Give a function of causes"),
        (
            lambda: where(Gaussian([0], [[1.0]]), lambda x: x[..., 0]).log_factor(torch.zeros(1)),
            TypeError,
            "must be bool",
        ),
        (lambda: shift(seasonal(), 3), TypeError, "Give a function of causes"),
        (lambda: shift(seasonal(), len, bound=math.inf), ValueError, "Invalid bound inf"),
        (lambda: shift(Gaussian([0], [[1.0]]), lambda x: x[..., 0]).sample(50), ValueError, "Raise the bound"),
        (lambda: shift(Gaussian([0], [[1.0]]), lambda x: x[..., 0].log()).sample(50), ValueError, "not a number"),
        (
            lambda: shift(Gaussian([0], [[1.0]]), lambda x: x).log_factor(torch.zeros(3, 1)),
            TypeError,
            "must be a tensor",
        ),
    ],
)
def test_unusable_input_is_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_counterfactual_of_a_composed_causal_model():
    """b = 2 a + e, f = exp(b) + a + u: with a set, e and u stay, in closed form; with b set, a stays."""
    inner = Chain(a=Normal(0, 1), b=lambda a: Normal(2 * a, 0.5))
    outer = Chain(f=lambda a, b: Normal(b.exp() + a, 0.3), g=lambda b: Normal(-b, 0.2))
    prior = Composed(inner, outer)
    x = prior.sample(20, seed=1, dtype=torch.float64)
    a, b, f, g = x.unbind(-1)
    one = torch.ones_like(a)
    then = b - 2 * a + 2
    expected = torch.stack([one, then, f - b.exp() - a + then.exp() + 1, g + b - then], -1)
    torch.testing.assert_close(counterfactual(prior, x, {"a": 1.0}), expected)
    expected = torch.stack([a, 0.5 * one, f - b.exp() + math.exp(0.5), g + b - 0.5], -1)
    torch.testing.assert_close(counterfactual(prior, x, {"b": 0.5}), expected)
    torch.testing.assert_close(counterfactual(prior, x, {}), x)


def test_counterfactual_through_a_decoder():
    """Abduction gives the features back whatever the decoder has learned; another seed draws another code."""
    a = torch.linspace(-1.5, 1.5, 100)[:, None]
    features = torch.cat([3 * a, -a], 1) + 0.1 * torch.randn(100, 2, generator=torch.Generator().manual_seed(1))
    settings = {"conditions": {"a": a[:, 0]}, "hidden": (8,), "training": Training(epochs=4)}
    prior = Composed(Chain(a=Normal(0, 1)), Decoder.fit(features, 1, causes=["f", "g"], **settings))
    x = torch.cat([a, features], 1)
    torch.testing.assert_close(counterfactual(prior, x, {}), x, rtol=1e-8, atol=1e-8)
    moved = counterfactual(prior, x, {"a": 0.5}, seed=3)
    assert bool((moved[:, 0] == 0.5).all())
    assert torch.equal(moved, prior.counterfactual(x, {"a": 0.5}, seed=3))
    assert bool((moved[:, 1:] != counterfactual(prior, x, {"a": 0.5}, seed=4)[:, 1:]).any())
    with pytest.raises(TypeError, match="Chain has no 'encode'"):
        counterfactual(do(prior, a=1.0), x, {"a": 0.0})
