"""`Spheres` with its noises, from observations to sizes and numbers; the quartz sections."""

from __future__ import annotations

import csv
import math
import warnings
from importlib.resources import files

import numpy as np
import pytest
import torch
import xarray as xr
from scipy import optimize, stats

import physgen as pg
from physgen.forward_models.stereology.free_spheres import FreeSpheres
from physgen.forward_models.stereology.section_histogram import SectionHistogram
from physgen.forward_models.stereology.section_noise import SectionSizes
from physgen.forward_models.stereology.size_measures import section_sizes
from physgen.forward_models.stereology.spheres_model import Spheres
from physgen.inversions import OptimalEstimation
from physgen.testing import check_forward_model

PRIOR = {"geometric_mean": pg.LogNormal(30.0, 1.0), "multiplicative_sd": pg.Uniform(1.02, 4.0)}
FIELD = 4.0  # mm2


@pytest.fixture(scope="module")
def quartz():
    with xr.open_dataset(files("physgen") / "data" / "quartz_sections.nc") as data:
        return torch.as_tensor(data.equivalent_diameter.values), torch.as_tensor(data.area.values)


@pytest.mark.parametrize("model", [Spheres(), Spheres("gamma+uniform", "radius", counts=True), FreeSpheres(2.0, 90.0)])
def test_the_model_keeps_the_contract(model):
    check_forward_model(model)


def test_diameters_become_radii():
    x = torch.tensor([30.0, 1.5, 7.0])
    assert Spheres(counts=True)(x).tolist() == [15.0, 1.5, 7.0]
    assert Spheres(size="radius", counts=True)(x).tolist() == [30.0, 1.5, 7.0]
    assert float(Spheres().mean_size(x[:2])) == pytest.approx(30 * math.exp(math.log(1.5) ** 2 / 2))


def test_volume_fraction_is_number_times_mean_volume():
    x, s = torch.tensor([30.0, 1.5, 4000.0]), math.log(1.5)
    mean_cube = (15e-3) ** 3 * math.exp(4.5 * s**2)  # mm3
    expected = 4000 * 4 * math.pi / 3 * mean_cube
    assert float(Spheres(counts=True).volume_fraction(x)) == pytest.approx(expected, rel=1e-12)
    with pytest.raises(TypeError, match=r"volume fraction needs the number of spheres\. Make .*"):
        Spheres().volume_fraction(x[:2])


def test_the_quartz_sections_have_the_known_maximum(quartz):
    noise, model = SectionSizes(), Spheres()

    def minus(v):
        return -float(noise.log_prob(quartz[0], model(torch.tensor([math.exp(v[0]), 1 + math.exp(v[1])]))))

    best = optimize.minimize(minus, [3.4, -0.6], method="Nelder-Mead", options={"xatol": 1e-6, "fatol": 1e-6})
    assert abs(best.fun - 11273.86) < 0.05
    assert math.exp(best.x[0]) == pytest.approx(33.55, abs=0.01)
    assert 1 + math.exp(best.x[1]) == pytest.approx(1.537, abs=0.001)


def test_areas_and_diameters_give_the_same_posterior(quartz):
    d, area = quartz[0][:400], quartz[1][:400]
    problem = pg.Problem(Spheres(), pg.Independent(PRIOR), SectionSizes())
    first = OptimalEstimation()(problem, d)
    second = OptimalEstimation()(pg.Problem(Spheres(), pg.Independent(PRIOR), SectionSizes(measure="area")), area)
    assert int(first.status) == int(second.status) == 0
    torch.testing.assert_close(first.stats["latent_mean"], second.stats["latent_mean"], rtol=1e-6, atol=1e-6)


def counted(sets, seed):
    """Fields of FIELD mm2, and what is true of them."""
    prior = pg.Independent(PRIOR, number_density=pg.LogNormal(4000.0, 1.0))
    truth = torch.tensor([30.0, 1.5, 4000.0])
    noise = SectionSizes(counts=True, profiles=900)
    y = noise.sample(Spheres(counts=True)(truth).expand(sets, 3), seed=seed, field_area=torch.tensor(FIELD))
    return pg.Problem(Spheres(counts=True), prior, noise), truth, y


def test_number_per_volume_and_volume_fraction_come_back_with_honest_intervals():
    problem, truth, y = counted(40, seed=7)
    # the number of profiles on the field is Poisson, of the mean N_V 2 E[R] A
    mean = 4000 * 2 * 15e-3 * math.exp(math.log(1.5) ** 2 / 2) * FIELD
    n = (~y.isnan()).sum(-1)
    assert abs(float(n.double().mean()) - mean) < 4 * math.sqrt(mean / 40)
    result = OptimalEstimation()(problem, y, conditions={"field_area": FIELD})
    assert bool((result.status == 0).all())
    model = Spheres(counts=True)
    fraction = model.volume_fraction(result.draws)
    for draws, true in ((result.draws[..., 2], 4000.0), (fraction, float(model.volume_fraction(truth)))):
        rank = (draws < true).double().mean(0)
        # ranks are uniform where intervals are honest
        assert stats.kstest(rank.numpy(), "uniform").pvalue > 1e-3


def test_histograms_tell_what_lists_tell_when_classes_are_narrow():
    truth, noise = torch.tensor([30.0, 1.5]), SectionSizes(profiles=1500)
    theta = Spheres()(truth)
    y = noise.sample(theta, seed=1)
    # the last class holds whatever is larger still
    edges = torch.cat([torch.linspace(0, 1.01 * float(y.max()), 800), torch.tensor([1e5])])
    n = torch.histogram(y, edges).hist
    narrow = SectionHistogram(edges.tolist())
    other = theta * torch.tensor([1.03, 0.99])
    difference = narrow.log_prob(n, theta) - narrow.log_prob(n, other)
    assert float(difference) == pytest.approx(float(noise.log_prob(y, theta) - noise.log_prob(y, other)), abs=0.05)


@pytest.mark.parametrize("counts", [False, True])
def test_histogram_probabilities_scores_and_samples(counts):
    theta = torch.tensor([15.0, 1.4, 9000.0])[: 2 + counts]
    noise = SectionHistogram([0.0, 10, 20, 30, 40, 80], counts=counts, profiles=500)
    area = {"field_area": torch.tensor(2.0)} if counts else {}
    y = noise.sample(theta.expand(4000, -1), seed=1, **area)
    assert counts or bool((y.sum(-1) == 500).all())
    whitener = noise.whiten(y, theta.expand(4000, -1), **area)
    score = (whitener.factor.mT @ whitener.residual[..., None])[..., 0]
    leaf = theta.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(noise.log_prob(y[0], leaf, **area), leaf)
    torch.testing.assert_close(score[0], gradient, rtol=1e-8, atol=1e-8)
    assert bool((score.mean(0).abs() < 4 * score.std(0) / 4000**0.5).all())
    information = (whitener.factor.mT @ whitener.factor)[0]
    found = score.mT.cov()
    torch.testing.assert_close(found, information, rtol=0.1, atol=0.05 * float(information.abs().max()))
    y[0, 1] = torch.nan
    value = noise.log_prob(y[0], theta, **area)
    assert bool(torch.isfinite(value))
    with pytest.raises(ValueError, match=r"Invalid count -1\. Counts must be whole numbers, 0 or more\."):
        noise.log_prob(torch.tensor([-1.0, 0, 0, 0, 0]), theta, **area)


def test_multinomial_probabilities_sum_to_one():
    theta, noise = torch.tensor([15.0, 1.4]), SectionHistogram([0.0, 10, 25, 80])
    grid = torch.cartesian_prod(torch.arange(7.0), torch.arange(7.0))
    grid = grid[grid.sum(-1) <= 6]
    n = torch.cat([grid, 6 - grid.sum(-1, keepdim=True)], -1)
    assert float(noise.log_prob(n, theta.expand(len(n), 2)).exp().sum()) == pytest.approx(1, abs=1e-12)


def test_tables_of_sizes_are_checked_row_by_row(quartz, tmp_path):
    path = tmp_path / "sizes.csv"
    path.write_text("diameter\n" + "\n".join(["12.5"] * 12 + ["12,5"]) + "\n")
    with path.open(newline="") as lines:
        column = [row["diameter"] for row in csv.DictReader(lines, delimiter=";")]
    with pytest.raises(TypeError, match=r"Invalid size '12,5' in row 13\. Give a number\."):
        section_sizes(column)
    for value, words in (("-1", "-1 in row 2"), (0, "0 in row 2"), (math.nan, "nan in row 2"), (None, "None in row 2")):
        with pytest.raises((ValueError, TypeError), match=rf"Invalid size {words}\. "):
            section_sizes([3.0, value, *[4.0] * 20])
    with pytest.raises(ValueError, match=r"Invalid table of 9 profiles\. Give at least 10\."):
        section_sizes([3.0] * 9)
    with pytest.raises(ValueError, match=r"Invalid size 3 in row 1, below the detection limit of 5\. "):
        section_sizes([3.0] * 12, smallest=5.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert torch.equal(section_sizes(quartz[0].numpy()), quartz[0])
        section_sizes(quartz[1].numpy(), measure="area")


def test_areas_that_are_given_as_diameters_are_noticed():
    noise = SectionSizes(profiles=1000)
    for sd in (1.1, 1.5, 2.2):
        d = noise.sample(torch.tensor([15.0, sd]), seed=1)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            section_sizes(d.numpy())
        with pytest.warns(
            UserWarning, match=r"as frequent as areas would be: .* If they are areas, say measure='area'"
        ):
            section_sizes((np.pi / 4 * d.square()).numpy())
