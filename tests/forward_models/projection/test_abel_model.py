"""`AbelProjection` as a forward model: spaces, Jacobian, noises, errors."""

import re

import numpy as np
import pytest
import torch

from physgen.forward_models.projection import AbelProjection, abel
from physgen.noise import GaussianNoise, PoissonNoise
from physgen.priors.smooth_field import SmoothField
from physgen.problem import Problem
from physgen.testing import check_forward_model


@pytest.mark.parametrize(
    "model",
    [
        AbelProjection(12),
        AbelProjection(12, inner=0.5, outer=6.0, positive=True),
        AbelProjection([0, 0.1, 0.3, 0.4, 0.8, 1.5, 2.0], offsets=[0.2, 0.7]),
    ],
    ids=["even", "positive", "graded"],
)
def test_it_keeps_the_contract(model):
    n, m = model.causes.size, model.observables.size
    x = torch.rand(6, n, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    check_forward_model(model, x)
    y, jacobian = model.jacobian(x)
    assert y.shape == (6, m)
    assert jacobian.shape == (6, m, n)
    torch.testing.assert_close(y, (jacobian @ x[..., None]).squeeze(-1), rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(y, model(x), rtol=0, atol=0)


def test_causes_and_observables_are_labelled():
    model = AbelProjection(6, outer=10.0, offsets=[0, 3.5], units="m-3", length_units="m")
    (profile,), (projection,) = model.causes.blocks, model.observables.blocks
    assert (profile.name, profile.shape, profile.dims, profile.units) == ("profile", (6,), ("radius",), "m-3")
    assert profile.coordinates["radius"].values == (0, 2, 4, 6, 8, 10)
    assert (projection.name, projection.dims, projection.units) == ("projection", ("offset",), "m-3 m")
    assert projection.coordinates["offset"].values == (0, 3.5)


def test_offsets_are_those_of_the_transform():
    r, at = np.linspace(0, 2, 30), [0.0, 0.31, 1.9]
    f = torch.rand(3, 30, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    model = AbelProjection(30, outer=2.0, offsets=at)
    torch.testing.assert_close(model(f), abel(f, r, at), rtol=0, atol=0)


@pytest.mark.parametrize(("noise", "log"), [(GaussianNoise(0.1), False), (PoissonNoise(50.0, 0.1), True)])
def test_a_problem_is_simulated_with_either_noise(noise, log):
    model = AbelProjection(16, positive=log)
    problem = Problem(model, SmoothField(forward=model, log=log), noise)
    x, y = problem.simulate(20, seed=1)
    assert x.shape == y.shape == (20, 16)
    assert bool(torch.isfinite(y).all())
    assert not log or (bool((x > 0).all()) and bool((y == y.round()).all()))


@pytest.mark.parametrize(
    "settings",
    [
        {"radii": 5},
        {"radii": 10, "outer": -1.0},
        {"radii": 10, "inner": 2.0},
        {"radii": [0.0, 1.0]},
        {"radii": [0.0, 1, 2, 2, 3, 4]},
        {"radii": 10, "offsets": [1.5]},
        {"radii": 10, "offsets": ["a"]},
    ],
)
def test_bad_settings_are_refused_in_two_sentences(settings):
    with pytest.raises((ValueError, TypeError)) as caught:
        AbelProjection(**settings)
    assert re.fullmatch(r"(?s)[A-Z].+[.?] .+[.?]", str(caught.value)), str(caught.value)
