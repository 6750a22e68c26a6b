"""EM against another optimiser, its own certificate, quadrature, and simulated spheres."""

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.optimize import minimize
from scipy.stats import wasserstein_distance

from physgen.forward_models.stereology.classical import class_kernel, mean_reach, saltykov
from physgen.forward_models.stereology.expectation_maximisation import (
    _binomial,
    _densities,
    expectation_maximisation,
    likeliest_sizes,
    likeliest_sizes_of_counts,
)


def sections(n, seed, sd=1.3):
    """Diameters of n profiles of log-normal spheres, geometric mean diameter 60: planes hit the large ones more."""
    rng = np.random.default_rng(seed)
    s = np.log(sd)
    D = 60 * np.exp(s * s + s * rng.normal(size=n))
    return torch.from_numpy(D * np.sqrt(1 - rng.uniform(size=n) ** 2))


def case(seed=0, fields=()):
    rng = np.random.default_rng(seed)
    edges = torch.arange(9, dtype=torch.float64)
    K = class_kernel(edges, edges)
    theta = torch.from_numpy(rng.uniform(0, 40, 8))
    return K, torch.from_numpy(rng.poisson((K @ theta).numpy(), (*fields, 8))).to(K)


def test_the_likelihood_never_falls_and_the_gap_bounds_what_is_left():
    K, n = case()
    first = expectation_maximisation(K, n, iterations=30, tolerance=1e-9)
    long = expectation_maximisation(K, n, iterations=20000, tolerance=1e-7)
    assert not bool(first.converged)
    assert bool(long.converged)
    assert float(long.log_likelihood.diff().min()) > -1e-9
    left = float(long.log_likelihood[-1] - first.log_likelihood[-1])
    assert 0 < left <= float(first.gap)


def test_another_optimiser_finds_the_same_maximum():
    K, n = case(3)
    found = expectation_maximisation(K, n, iterations=50000, tolerance=1e-6)

    def loss(root):
        theta = torch.tensor(root, requires_grad=True)
        mean = K @ theta.square()
        value = -(torch.xlogy(n, mean) - mean).sum()
        value.backward()
        return float(value.detach()), theta.grad.numpy()

    other = minimize(loss, np.full(8, 4.0), jac=True, method="L-BFGS-B", options={"maxiter": 5000, "ftol": 1e-15})
    assert float(found.log_likelihood[-1]) == pytest.approx(-other.fun, abs=1e-4)


def test_many_data_sets_at_once_are_those_one_by_one():
    K, n = case(1, (2, 3))
    together = expectation_maximisation(K, n, iterations=40, tolerance=0.0)
    assert together.intensity.shape == (2, 3, 8)
    assert together.log_likelihood.shape == (41, 2, 3)
    for i in range(2):
        for j in range(3):
            alone = expectation_maximisation(K, n[i, j], iterations=40, tolerance=0.0)
            torch.testing.assert_close(together.intensity[i, j], alone.intensity, rtol=1e-11, atol=1e-13)


def test_without_noise_the_truth_is_found():
    K, _ = case()
    theta = torch.tensor([3.0, 1, 4, 1, 5, 9, 2, 6]).to(K)
    found = expectation_maximisation(K, K @ theta, iterations=100000, tolerance=1e-9)
    torch.testing.assert_close(found.intensity, theta, rtol=0, atol=2e-3)


def wicksell_mean(size, a, b):
    """Mean of d / sqrt(D^2 - d^2) over D uniform on (a, b); D = start + v^2 takes out the root at D = d."""
    start = max(a, size)
    if start >= b:
        return 0.0
    end = np.sqrt(b - start)
    return quad(lambda v: 2 * v * size / np.sqrt((start + v * v) ** 2 - size**2 + 1e-300), 0, end)[0] / (b - a)


def test_the_density_of_a_class_is_wicksells_kernel():
    low, high = torch.tensor([0.5, 2.0]).double(), torch.tensor([2.0, 3.0]).double()
    d = torch.tensor([0.3, 1.0, 1.999, 2.5]).double()
    exact = [[wicksell_mean(size, a, b) for a, b in ((0.5, 2.0), (2.0, 3.0))] for size in d.tolist()]
    torch.testing.assert_close(_densities(d, low, high), torch.tensor(exact).double(), rtol=1e-7, atol=1e-12)


@pytest.mark.parametrize("x0", [0.0, 0.8])
@pytest.mark.parametrize(("a", "b"), [(0.5, 2.0), (2.0, 3.0)])
def test_the_density_of_a_class_integrates_to_the_exposure(x0, a, b):
    low, high, limit = torch.tensor([a]).double(), torch.tensor([b]).double(), torch.tensor(x0).double()

    def density(x):
        return float(_densities(torch.tensor([x]).double(), low, high))

    parts = [quad(density, *ends, limit=400)[0] for ends in ((x0, max(a, x0)), (max(a, x0), b))]
    assert sum(parts) == pytest.approx(float(mean_reach(limit, low, high)), rel=1e-6)


def test_simulated_spheres_beat_saltykov():
    """Wasserstein distance to the true sizes, relative to their mean, over ten sets of 2,000 profiles."""
    true = 60 * np.exp(np.log(1.3) * np.random.default_rng(9).normal(size=20000))
    em, classes = [], []
    for seed in range(10):
        d = sections(2000, seed)
        fit = likeliest_sizes(d, 30, smoothing=3)
        old = saltykov(d, 15).clipped()
        em.append(wasserstein_distance(fit.diameter, true, fit.number) / true.mean())
        classes.append(wasserstein_distance(old.diameter, true, old.number) / true.mean())
    assert np.mean(em) < 0.05
    assert np.mean(em) < np.mean(classes)


def test_number_per_volume_and_the_detection_limit():
    """N_V E[D] area hits; those below the limit are not seen, which is harmless once stated."""
    area, number = 1e6, 2.5e-5
    mean = 60 * np.exp(0.5 * np.log(1.3) ** 2)
    d = sections(int(number * mean * area), 4)
    whole = likeliest_sizes(d, 30, area=area, smoothing=3)
    assert float(whole.number.sum()) == pytest.approx(number, rel=0.08)
    seen = d[d > 35]
    stated = likeliest_sizes(seen, 30, area=area, smallest=35.0, smoothing=3)
    ignored = likeliest_sizes(seen, 30, area=area, smoothing=3)
    above = whole.number[whole.edges[:-1] > 40].sum()
    assert float(stated.number[stated.edges[:-1] > 40].sum()) == pytest.approx(float(above), rel=0.05)
    assert abs(float(stated.mean_diameter) - float(mean)) < 0.5 * abs(float(ignored.mean_diameter) - float(mean))


def test_weights_stand_for_repeated_profiles():
    d = sections(60, 5)
    twice = likeliest_sizes(torch.cat([d, d]), 12, iterations=50, tolerance=0.0)
    weighted = likeliest_sizes(d, 12, weights=torch.full_like(d, 2.0), iterations=50, tolerance=0.0)
    torch.testing.assert_close(twice.number, weighted.number, rtol=1e-11, atol=1e-13)


def test_counts_by_classes_are_close_to_single_profiles():
    d = sections(5000, 6)
    edges = torch.linspace(0, float(d.max()) * 1.01, 31).double()
    counts = torch.histogram(d, edges).hist
    binned = likeliest_sizes_of_counts(counts, edges, smoothing=3)
    single = likeliest_sizes(d, edges, smoothing=3)
    a, b = binned.intensity / binned.intensity.sum(), single.number
    assert float((a.cumsum(0) - b.cumsum(0)).abs().max()) < 0.02


def test_the_smoothing_matrix():
    S = _binomial(3, 5)
    torch.testing.assert_close(S[2], torch.tensor([0, 0.25, 0.5, 0.25, 0]).double())
    torch.testing.assert_close(S[0], torch.tensor([2 / 3, 1 / 3, 0, 0, 0]).double())
    assert torch.equal(_binomial(1, 4), torch.eye(4).double())
    torch.testing.assert_close(_binomial(7, 3).sum(1), torch.ones(3).double())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"counts": torch.ones(7)}, "shapes"),
        ({"counts": -torch.ones(8)}, "counts"),
        ({"counts": torch.zeros(8)}, "all 0"),
        ({"smoothing": 4}, "smoothing 4"),
        ({"exposure": torch.zeros(8)}, "exposure"),
        ({"kernel": torch.full((8, 8), torch.nan)}, "kernel"),
        ({"kernel": torch.eye(8) * torch.arange(8.0), "exposure": torch.ones(8)}, "nothing reaches"),
    ],
)
def test_bad_input_stops_in_two_sentences(change, words):
    K, _ = case()
    given = {"kernel": K, "counts": torch.ones(8), **change}
    with pytest.raises(ValueError, match=words) as error:
        expectation_maximisation(given.pop("kernel"), given.pop("counts"), **given)
    assert str(error.value).count(". ") == 1


def test_bad_sizes():
    d = sections(30, 1)
    with pytest.raises(ValueError, match="in row 3, below the smallest"):
        likeliest_sizes(torch.cat([torch.full((3,), 20.0).to(d), torch.full((12,), 3.0).to(d)]), smallest=5.0)
    with pytest.raises(ValueError, match="end below it"):
        likeliest_sizes(d, [1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match="classes 0"):
        likeliest_sizes(d, 0)
