"""Misfit and conflict of a linear Gaussian problem, where their distributions are known, by three ways."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from scipy import stats

import physgen as pg
from physgen.diagnostics.misfit import misfit
from physgen.diagnostics.weighted_chi2 import power_sums, weighted_chi2_tail

from .linear import A, exact, linear, problem


def test_equal_weights_are_chi_square():
    q = torch.tensor([0.5, 3.0, 9.0, 25.0])
    tail = weighted_chi2_tail(q, *(torch.full((4,), 5 * 0.7**i) for i in (1, 2, 3)))
    assert tail.numpy() == pytest.approx(stats.chi2.sf(q.numpy() / 0.7, 5), rel=1e-6)


def test_unequal_weights_are_those_of_simulated_sums():
    w, generator = torch.tensor([1.0, 1, 0.9, 0.5, 0.2, 0.05]), torch.Generator().manual_seed(1)
    sums = (w * torch.randn(400_000, 6, generator=generator).square()).sum(-1)
    for share in (0.2, 0.05, 0.01):
        q = sums.quantile(1 - share)
        p = float(weighted_chi2_tail(q, w.sum(), (w**2).sum(), (w**3).sum()))
        assert p == pytest.approx(share, rel=0.12)


def test_power_sums_are_those_of_eigenvalues():
    a = torch.randn(4, 5, 5, generator=torch.Generator().manual_seed(2))
    a = a @ a.mT
    value = torch.linalg.eigvalsh(a)
    for power, found in enumerate(power_sums(a), 1):
        assert torch.allclose(found, (value**power).sum(-1))


def test_nothing_left_over_and_nothing_known():
    zero, one, unknown = torch.zeros(()), torch.ones(()), torch.tensor(torch.nan)
    assert float(weighted_chi2_tail(one, zero, zero, zero)) == 0
    assert float(weighted_chi2_tail(zero, zero, zero, zero)) == 1
    assert torch.isnan(weighted_chi2_tail(unknown, one, one, one))


def without(result, *names):
    return replace(result, stats={k: v for k, v in result.stats.items() if k not in names})


class NoInverse(pg.Independent):
    """A prior of which latents are not known."""

    def __init__(self):
        super().__init__(a=pg.Normal(0, 1), b=pg.Normal(0, 1), c=pg.Normal(0, 1))
        self.capabilities = frozenset()


@pytest.mark.parametrize("way", ["stated", "latent draws", "predictions"])
def test_p_values_are_uniform_if_the_model_holds(way):
    p = problem()
    _, y = p.simulate(1500, seed=3)
    result = exact(p, y)
    if way != "stated":
        result = without(result, "latent_mean", "latent_covariance", "averaging_kernel", "chi2")
    if way == "predictions":
        p = pg.Problem(linear, NoInverse(), pg.GaussianNoise(1.0))
    found = misfit(p, result)
    for values in (found.predictive_p, found.conflict_p)[: 1 if way == "predictions" else 2]:
        assert stats.kstest(values.numpy(), "uniform").pvalue > 0.01
        assert float((values < 0.02).double().mean()) == pytest.approx(0.02, abs=0.012)
    assert abs(float((found.dofs - result.stats["dofs"]).mean())) < (1e-9 if way == "stated" else 0.02)
    assert torch.isnan(found.conflict_p).all() == (way == "predictions")


def test_chi2_and_conflict_divide_the_distance_under_the_prior_predictive():
    p = problem()
    _, y = p.simulate(20, seed=4)
    result = exact(p, y)
    whole = torch.einsum("bi,ij,bj->b", y, torch.linalg.inv(torch.eye(8) + A @ A.mT), y)
    assert torch.allclose(misfit(p, result).chi2 + result.stats["latent_mean"].square().sum(-1), whole)


def test_what_the_model_cannot_make_is_a_misfit_and_what_the_prior_does_not_expect_a_conflict():
    p = problem()
    _, y = p.simulate(100, seed=5)
    beside = torch.linalg.svd(A).U[:, -1]  # no cause moves the observables along it
    odd, far = misfit(p, exact(p, y + 9 * beside)), misfit(p, exact(p, y + A @ torch.tensor([7.0, 0, 0])))
    assert float((odd.predictive_p < 1e-3).double().mean()) > 0.99
    assert float((odd.conflict_p < 1e-3).double().mean()) < 0.02
    assert float((far.predictive_p < 1e-3).double().mean()) < 0.02
    assert float((far.conflict_p < 1e-3).double().mean()) > 0.99


def test_missing_elements_are_left_out():
    p = problem()
    _, y = p.simulate(800, seed=6)
    y[:, 2:5] = torch.nan
    found = misfit(p, exact(p, y))
    assert stats.kstest(found.predictive_p.numpy(), "uniform").pvalue > 0.01
    computed = misfit(p, without(exact(p, y), "chi2"))
    assert torch.allclose(found.chi2, computed.chi2)


def test_a_row_is_by_itself():
    p = problem()
    _, y = p.simulate(7, seed=7)
    whole, alone = misfit(p, exact(p, y)), misfit(p, exact(p, y[3:4]))
    assert torch.equal(whole.predictive_p[3:4], alone.predictive_p)


def test_what_is_not_known_is_nan():
    p = problem()
    _, y = p.simulate(3, seed=8)
    result = exact(p, y)
    broken = {k: v.clone() for k, v in result.stats.items()}
    for name in ("latent_mean", "averaging_kernel", "latent_covariance", "chi2"):
        broken[name][1] = torch.nan
    found = misfit(p, replace(result, stats=broken))
    assert torch.isnan(found.predictive_p).tolist() == [False, True, False]
    assert torch.isnan(found.conflict_p).tolist() == [False, True, False]


def test_a_result_of_another_problem_is_an_error():
    p = problem()
    _, y = p.simulate(3, seed=9)
    other = pg.Problem(lambda x: x, pg.Independent(b=pg.Normal(0, 1)), pg.GaussianNoise(1.0))
    with pytest.raises(ValueError, match="The result has the causes a, b, c, the prior b"):
        misfit(other, exact(p, y))
    empty = replace(exact(p, y), samples=torch.zeros(1, 0, 3, 3))
    with pytest.raises(ValueError, match="Invalid result without draws"):
        misfit(p, empty)
