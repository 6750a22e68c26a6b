"""The leaf prior and the noise of measured leaves."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import binom

import physgen as pg
from physgen.forward_models.canopy import Canopy, Leaf
from physgen.forward_models.canopy.leaf_noise import ABSOLUTE, DISCREPANCY, LENGTH, leaf_noise
from physgen.forward_models.canopy.leaf_prior import VariableLeaf, leaves
from physgen.inversions import OptimalEstimation

WAVELENGTHS = list(range(400, 2501, 50))
# measured leaves of Feret et al. 2008 and 2017
RANGES = {"n": (1.0, 3.5), "cab": (0, 110), "car": (0, 30), "cw": (0.001, 0.07), "cm": (0.0005, 0.035)}


@pytest.mark.parametrize("version", ["4", "5", "D", "PRO"])
def test_it_describes_every_version(version):
    model = Leaf(version, WAVELENGTHS)
    prior = leaves(model)
    assert prior.causes.names == model.causes.names
    assert [b.units for b in prior.causes] == [b.units for b in model.causes]
    x, y = pg.Problem(model, prior, leaf_noise(WAVELENGTHS)).simulate(200, seed=1)
    assert torch.isfinite(y).all()
    assert (x[:, 0] >= 1).all()
    assert (x[:, 1:] >= 0).all()


def test_its_support_holds_the_measured_ranges():
    prior = leaves()
    for name, (low, high) in RANGES.items():
        support = prior.causes.block(name).support
        assert support[0] <= low
        assert support[1] > high


@pytest.mark.parametrize(
    ("name", "value"),
    [("n", 3.5), ("cab", 110), ("car", 30), ("cw", 0.001), ("cw", 0.07), ("cm", 0.0005), ("cm", 0.035)],
)
def test_the_ends_of_the_measured_ranges_are_no_surprise(name, value):
    """Each lies within 3.6 standard deviations in latent space, which one leaf in 3,000 exceeds."""
    prior = leaves().do(cab=100.0) if name == "car" else leaves()  # most carotenoids are where most chlorophyll is
    i = prior.causes.names.index(name)
    z = torch.zeros(2, prior.latent_dim, dtype=torch.float64)
    z[:, i] = z.new_tensor([-3.6, 3.6])
    low, high = prior.decode(z)[:, i].tolist()
    assert low < value < high


def test_carotenoids_stay_when_chlorophyll_is_gone():
    index = leaves().causes.names.index("car")
    assert float(leaves().do(cab=0.1).decode(torch.zeros(7, dtype=torch.float64))[index]) > 2.0
    green = leaves().do(cab=50.0).decode(torch.zeros(7, dtype=torch.float64))
    assert 0.18 < float(green[index]) / 50.0 < 0.26  # 0.22 in the vegetation prior


def test_the_factor_scales_dry_matter():
    leaf = Leaf("D", WAVELENGTHS)
    x = torch.tensor([1.5, 40.0, 9.0, 1.0, 0.1, 0.01, 0.006], dtype=torch.float64)
    model = VariableLeaf(leaf)
    more = torch.cat([x, x.new_tensor([1.5])])
    x[-1] = 0.009
    torch.testing.assert_close(model(more), leaf(x), rtol=1e-14, atol=0)


def test_the_factor_of_prospect_pro_is_that_of_the_carbon_based_constituents():
    leaf = Leaf("PRO", WAVELENGTHS)
    names = leaf.causes.names
    x = leaves(leaf).decode(torch.zeros(len(names), dtype=torch.float64))
    scaled = x.clone()
    scaled[names.index("cbc")] *= 0.7
    got = VariableLeaf(leaf)(torch.cat([x, x.new_tensor([0.7])]))
    torch.testing.assert_close(got, leaf(scaled), rtol=1e-14, atol=0)


def test_the_noise_has_the_declared_covariance():
    noise = leaf_noise([700.0, 730.0])
    f = torch.full((4,), 0.3, dtype=torch.float64)
    e = noise.sample(f.expand(40000, 4), seed=3) - f
    expected = np.kron(np.eye(2), DISCREPANCY**2 * np.exp(-np.abs(np.subtract.outer([0, 30], [0, 30])) / LENGTH))
    expected += ABSOLUTE**2 * np.eye(4)
    error = 5 * expected[0, 0] * np.sqrt(2 / 40000)
    np.testing.assert_allclose(np.cov(e.numpy().T), expected, atol=error)


def test_more_bands_say_hardly_more():
    """Information on a constant offset from 5 nm and from 10 nm bands: equal within 5 %, for twice the bands."""

    def information(step):
        w = list(range(700, 1301, step))
        f = torch.zeros(2 * len(w), dtype=torch.float64)
        white = leaf_noise(w).whiten(f, f)(torch.ones(2 * len(w), 1, dtype=torch.float64))
        return float((white**2).sum())

    assert information(10) <= information(5) < 1.05 * information(10)


def test_simulated_leaves_are_recovered_with_the_coverage_they_claim():
    leaf = VariableLeaf(Leaf("D", WAVELENGTHS))
    problem = pg.Problem(leaf, leaves(leaf), leaf_noise(WAVELENGTHS))
    x, y = problem.simulate(150, seed=5)
    result = OptimalEstimation()(problem, y, seed=6)
    good = result.status == pg.Status.TRUSTED
    assert good.double().mean() > 0.9
    draws, truth = result.samples[0][:, good].numpy(), x[good].numpy()
    rank = ((draws < truth).sum(0) + 0.5) / (len(draws) + 1)
    inside = ((rank > 0.05) & (rank < 0.95)).sum(0)
    # 0.001 in either tail, shared by eight causes
    low, high = binom.ppf([0.001 / 8, 1 - 0.001 / 8], int(good.sum()), 0.9)
    assert (inside >= low).all()
    assert (inside <= high).all()
    # a spectrum knows chlorophyll and water at least twice as well as the prior does
    for name in ("cab", "cw"):
        i = leaf.causes.names.index(name)
        assert np.median(draws[..., i].std(0)) < 0.5 * truth[:, i].std()


def test_bad_input_is_refused():
    with pytest.raises(TypeError, match="describes a leaf"):
        leaves(Canopy())
    with pytest.raises(TypeError, match="Give a Leaf"):
        VariableLeaf("D")
    with pytest.raises(ValueError, match="wavelength"):
        leaf_noise([300.0, 500.0])
