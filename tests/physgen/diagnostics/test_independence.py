"""The independence test against a dependence whose best possible accuracy is known."""

import numpy as np
import pytest
import torch
from scipy import integrate, stats

from physgen.diagnostics.independence import independence_test


def normals(n, rho, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).multivariate_normal([0, 0], [[1, rho], [rho, 1]], size=n))


def best_accuracy(rho):
    """(1 + total variation) / 2 between N(0, C) and N(0, I), by quadrature."""
    joint = stats.multivariate_normal([0, 0], [[1, rho], [rho, 1]])
    grid = np.linspace(-8, 8, 801)
    at = np.stack(np.meshgrid(grid, grid), -1)
    gap = np.abs(joint.pdf(at) - stats.multivariate_normal([0, 0]).pdf(at))
    return 0.5 + 0.25 * integrate.simpson(integrate.simpson(gap, x=grid), x=grid)


@pytest.mark.parametrize("classifier", ["network", "logistic"])
def test_correlated_normals(classifier):
    found = independence_test(normals(6000, 0.8), classifier=classifier, folds=2)
    print(f"rho 0.8, {classifier}: {found.accuracy:.3f} of {best_accuracy(0.8):.3f}")
    assert found.accuracy == pytest.approx(best_accuracy(0.8), abs=0.02)
    assert found.p_value < 1e-10


def test_independent_columns_of_any_shape():
    rng = np.random.default_rng(1)
    x = torch.from_numpy(np.stack([rng.laplace(size=4000), rng.exponential(size=4000), rng.integers(3, size=4000)], 1))
    found = independence_test(x, folds=2)
    assert found.accuracy == pytest.approx(0.5, abs=3 * 0.5 / 4000**0.5)
    assert found.p_value > 0.01


def test_p_values_are_uniform_under_independence():
    p = [independence_test(normals(400, 0.0, seed=s), classifier="logistic", seed=s).p_value for s in range(60)]
    assert stats.kstest(p, "uniform").pvalue > 0.01


def test_dependence_without_correlation():
    x = torch.from_numpy(np.random.default_rng(2).normal(size=(2000, 2)))
    ring = x / x.norm(dim=1, keepdim=True) + 0.1 * x
    assert independence_test(ring, folds=2).accuracy > 0.75


def test_refused():
    with pytest.raises(ValueError, match=r"Too few codes.*At least 100 rows"):
        independence_test(torch.zeros(99, 2))
    with pytest.raises(ValueError, match="at least two columns"):
        independence_test(torch.randn(200, 1))
