"""Smooth fields: covariance, hyper-parameters, knots, evenness; densities against SciPy."""

import json
import math
import re
from dataclasses import MISSING, fields

import numpy as np
import pytest
import scipy.stats as st
import torch
from scipy import special

from physgen.construction import distributions
from physgen.forward_models.projection import AbelProjection
from physgen.priors import Empirical, HalfCauchy, LogNormal, Normal, TruncatedNormal, load_prior, prior_card, save_prior
from physgen.priors.matern import KERNELS
from physgen.priors.smooth_field import SmoothField
from physgen.priors.storage import CARD, shipped_priors
from physgen.priors.storage_distributions import KNOWN, distribution_from_json, distribution_to_json
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


MINE = dict.fromkeys(CARD, "of a test")
STORED = [
    {},
    {"log": True, "centre": 2.0, "level_sd": 0.5, **FIXED},
    {"even": True, "amplitude": TruncatedNormal(0.5, 1.0, 0.1), "knots": 5},
    {"length": HalfCauchy(0.3, units="m"), "kernel": "matern-3/2", "name": "profile", "units": "m-3"},
]


@pytest.mark.parametrize("settings", STORED, ids=lambda s: "-".join(s) or "default")
def test_a_stored_field_returns(tmp_path, settings):
    prior = SmoothField(GRID, **settings)
    again = load_prior(save_prior(prior, tmp_path / "field", MINE))
    assert again.causes == prior.causes
    assert (repr(again), again.capabilities) == (repr(prior), prior.capabilities)
    assert torch.equal(again.sample(5, seed=2), prior.sample(5, seed=2))
    assert "Infinity" not in (tmp_path / "field.json").read_text()


def test_names_of_a_forward_model_are_stored(tmp_path):
    prior = SmoothField(forward=AbelProjection(9, outer=3.0, units="m-3", length_units="m"))
    assert load_prior(save_prior(prior, tmp_path / "field", MINE)).causes == prior.causes


def test_a_distribution_that_no_file_holds_is_asked_for(tmp_path):
    own = Empirical(st.gamma(3).rvs(300, random_state=0), 0, 20)
    prior = SmoothField(GRID, length=own)
    path = save_prior(prior, tmp_path / "field", MINE)
    with pytest.raises(ValueError, match=r"needs 'length' \(it was physgen.priors.empirical:Empirical\)"):
        load_prior(path)
    again = load_prior(path, parts={"length": own})
    assert torch.equal(again.sample(5, seed=2), prior.sample(5, seed=2))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.update(length={"distribution": "os.system"}), r"lack a part \('os.system'\)"),
        (lambda s: s["causes"][0]["coordinates"]["field_grid"]["values"].__setitem__(0, -1.0), "grid of the card"),
    ],
)
def test_a_changed_card_is_refused(tmp_path, change, message):
    save_prior(SmoothField(GRID), tmp_path / "field", MINE)
    card = json.loads((tmp_path / "field.json").read_text())
    change(card["settings"])
    (tmp_path / "field.json").write_text(json.dumps(card))
    with pytest.raises(ValueError, match=message):
        load_prior(tmp_path / "field")


def test_every_distribution_that_a_recipe_may_name_but_two_can_be_stored():
    assert set(distributions()) - set(KNOWN) == {"Empirical", "Stretched"}
    parameters = {"LogUniform": (0.1, 2.0), "StudentT": (3.0, 0.0, 1.0)}
    for name, cls in KNOWN.items():
        made = cls(*parameters.get(name, (0.5, 1.5)[: len(required(cls))]), units="m", long_name="x")
        assert repr(distribution_from_json(json.loads(json.dumps(distribution_to_json(made))))) == repr(made)
    assert distribution_to_json(LogNormal(torch.tensor(1.0), 1.0)) is None


def required(cls):
    return [f for f in fields(cls) if f.default is MISSING and f.init]


def test_the_shipped_field_says_what_it_is():
    card, prior = prior_card("smooth-field"), load_prior("smooth-field")
    assert "smooth_field" in shipped_priors()
    assert all(card[key] for key in CARD)
    assert card["learned_from"].startswith("nothing")
    check_prior(prior)
    assert (prior.log, prior.hyper_names) == (True, ("amplitude", "length"))
    assert torch.equal(prior.grid, torch.linspace(0, 1, 51, dtype=torch.float64))
    for name in prior.hyper_names:
        median, sigma = getattr(prior, name).median, getattr(prior, name).sigma
        ends = st.lognorm(sigma, scale=median).ppf([0.05, 0.95])
        np.testing.assert_allclose(card["range"][f"{name}, 5 and 95 %"], ends, atol=0.006)
    # the field's logarithm at one point: normal, of variance 1 + a^2 given a
    a = torch.exp(0.5 * torch.special.ndtri((torch.arange(4000, dtype=torch.float64) + 0.5) / 4000))
    ends = torch.tensor(card["range"]["field, 5 and 95 %"], dtype=torch.float64)
    mass = torch.special.ndtr(ends.log()[:, None] / (1 + a.square()).sqrt()).mean(-1)
    np.testing.assert_allclose(mass, [0.05, 0.95], atol=4 * math.sqrt(0.05 * 0.95 / 20000) + 0.002)
