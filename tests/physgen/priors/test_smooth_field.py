"""Smooth fields: covariance, hyper-parameters, knots, evenness; densities against SciPy."""

import math
import re

import numpy as np
import pytest
import scipy.stats as st
import torch
from scipy import special

from physgen.forward_models.projection import AbelProjection
from physgen.priors import HalfCauchy, LogNormal, Normal
from physgen.priors.matern import KERNELS
from physgen.priors.smooth_field import SmoothField
from physgen.testing import check_prior

GRID = [0.0, 0.1, 0.25, 0.5, 0.55, 0.8, 1.0]
FIXED = {"amplitude": 0.7, "length": 0.3}


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"log": True, "centre": 2.0, "level_sd": 0.5},
        {"even": True, "amplitude": 0.5},
        {"knots": 5, "even": True},
        {**FIXED, "log": True, "level_sd": 1.0},
        {**FIXED, "kernel": "matern-7/2"},
        {"length": HalfCauchy(0.3), "kernel": "matern-3/2"},
    ],
    ids=lambda s: "-".join(map(str, s)) or "default",
)
def test_it_keeps_the_contract(settings):
    check_prior(SmoothField(GRID, **settings))


@pytest.mark.parametrize(
    ("name", "nu"), [("matern-1/2", 0.5), ("matern-3/2", 1.5), ("matern-5/2", 2.5), ("matern-7/2", 3.5)]
)
def test_kernels_are_those_of_the_general_formula(name, nu):
    """Rasmussen & Williams 2006, eq. 4.14, with a Bessel function."""
    s = np.linspace(0.01, 4, 50)
    t = math.sqrt(2 * nu) * s
    wanted = 2 ** (1 - nu) / special.gamma(nu) * t**nu * special.kv(nu, t)
    np.testing.assert_allclose(KERNELS[name](torch.as_tensor(s)).numpy(), wanted, rtol=1e-12)


def test_the_density_is_that_of_scipy():
    prior = SmoothField(GRID, centre=1.5, level_sd=0.4, **FIXED)
    t = np.array(GRID)
    correlation = KERNELS["matern-5/2"](torch.as_tensor(abs(t[:, None] - t) / 0.3)).numpy()
    covariance = 0.49 * (correlation + 1e-10 * np.eye(7)) + 0.16
    x = prior.sample(5, seed=1, dtype=torch.float64)
    wanted = st.multivariate_normal(np.full(7, 1.5), covariance).logpdf(x.numpy())
    np.testing.assert_allclose(prior.log_prob(x).numpy(), wanted, rtol=1e-7)
    positive = SmoothField(GRID, log=True, centre=1.5, level_sd=0.4, **FIXED)
    logs = st.multivariate_normal(np.full(7, math.log(1.5)), covariance).logpdf(np.log(np.abs(x.numpy())))
    wanted = logs - np.log(np.abs(x.numpy())).sum(-1)
    np.testing.assert_allclose(positive.log_prob(x.abs()).numpy(), wanted, rtol=1e-7)


def test_draws_have_the_covariance_that_they_should():
    prior = SmoothField(GRID, level_sd=0.4, **FIXED)
    x = prior.sample(40000, seed=2, dtype=torch.float64)
    t = torch.tensor(GRID, dtype=torch.float64)
    wanted = 0.49 * KERNELS["matern-5/2"]((t[:, None] - t).abs() / 0.3) + 0.16
    # four standard errors of a covariance of 0.65
    assert float((x.T.cov() - wanted).abs().max()) < 4 * 0.65 * math.sqrt(2 / 40000)


def test_hyper_parameters_are_latents():
    prior = SmoothField(GRID, amplitude=LogNormal(2.0, 0.5), length=LogNormal(0.3, 0.4), log=True)
    assert prior.hyper_names == ("amplitude", "length")
    assert prior.hyper_latents == (7, 8)
    z = prior.sample_latents(4, seed=1, dtype=torch.float64)
    own = prior.hyper(z[:, 7:])
    torch.testing.assert_close(own["amplitude"], 2 * torch.exp(0.5 * z[:, 7]))
    for row, field in zip(z, prior.decode(z), strict=True):
        given = prior.given_hyper(row[7:])
        torch.testing.assert_close(given.decode(row[:7]), field, rtol=1e-12, atol=0)
        assert given.causes == prior.causes
        assert given.capabilities == {"log_prob", "encode"}


def test_one_hyper_parameter_may_be_fixed():
    prior = SmoothField(GRID, amplitude=0.5)
    assert prior.hyper_names == ("length",)
    assert prior.latent_dim == 8
    assert SmoothField(GRID, **FIXED).latent_dim == 7


def test_knots_hardly_change_a_field_that_is_smooth():
    """The covariance of a field on 12 knots, length scale four knots long, against that on all points."""
    grid = torch.linspace(0, 1, 45, dtype=torch.float64)
    eye, small = torch.eye(45, dtype=torch.float64), torch.eye(12, dtype=torch.float64)
    for even in (False, True):
        whole = SmoothField(grid, amplitude=1.0, length=0.36, even=even).decode(eye)
        knots = SmoothField(grid, amplitude=1.0, length=0.36, even=even, knots=12).decode(small)
        assert float((whole.T @ whole - knots.T @ knots).abs().max()) < 0.02


def test_even_fields_have_no_slope_at_the_axis():
    grid = torch.tensor([0.0, 1e-3, 0.5, 1.0], dtype=torch.float64)
    z = torch.randn(200, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    slope = [SmoothField(grid, even=even, **FIXED).decode(z)[:, :2].diff() / 1e-3 for even in (True, False)]
    assert float(slope[0].abs().max()) < 0.1
    assert float(slope[1].std()) > 1
    variance = SmoothField(grid, even=True, **FIXED)._factor.square().sum(-1)
    torch.testing.assert_close(variance, torch.full_like(variance, 0.49), rtol=1e-8, atol=0)


def test_a_forward_model_gives_grid_and_names():
    model = AbelProjection(9, outer=3.0, units="m-3", length_units="m")
    prior = SmoothField(forward=model, log=True)
    assert prior.causes.names == ("profile",)
    assert prior.causes.blocks[0].units == "m-3"
    assert prior.causes.blocks[0].support == (0, math.inf)
    assert prior.causes.blocks[0].coordinates == model.causes.blocks[0].coordinates
    torch.testing.assert_close(prior.grid, torch.linspace(0, 3, 9, dtype=torch.float64))


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"grid": [1.0]},
        {"grid": [0.0, 2.0, 1.0]},
        {"grid": "abc"},
        {"grid": GRID, "amplitude": -1.0},
        {"grid": GRID, "length": 0.0},
        {"grid": GRID, "length": "long"},
        {"grid": GRID, "length": Normal(0, 1)},
        {"grid": GRID, "kernel": "rbf"},
        {"grid": GRID, "log": True, "centre": 0.0},
        {"grid": GRID, "level_sd": -1.0},
        {"grid": [-1.0, 0.0, 1.0], "even": True},
        {"grid": GRID, "knots": 3},
        {"grid": GRID, "knots": 8},
        {"forward": lambda x: x},
    ],
)
def test_bad_settings_are_refused_in_two_sentences(settings):
    with pytest.raises((ValueError, TypeError)) as caught:
        SmoothField(**settings)
    assert re.fullmatch(r"(?s)[A-Z].+[.?] .+[.?]", str(caught.value)), str(caught.value)
