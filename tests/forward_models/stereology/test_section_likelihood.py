"""The likelihood of lists of sizes: exact, differentiable, batched; and what it refuses."""

from __future__ import annotations

import math

import pytest
import torch
from scipy import stats

from physgen.forward_models.stereology import section_likelihood
from physgen.forward_models.stereology.microscope import Microscope
from physgen.forward_models.stereology.section_noise import SectionSizes
from physgen.forward_models.stereology.spheres import section_cdf, section_density

SEEN = {"smallest": 14.0, "thickness": 9.0, "cap_angle": 20.0}
CASES = {
    "plane": ("lognormal", [15.0, 1.4], {}),
    "all effects": ("lognormal", [15.0, 1.4], SEEN),
    "gamma": ("gamma", [6.0, 3.0], {"thickness": 9.0}),
    "normal": ("normal", [15.0, 4.0], {}),
    "mixture": ("lognormal+lognormal", [0.5, 8.0, 1.3, 20.0, 1.3], {}),
}


@pytest.fixture(params=CASES)
def case(request):
    sizes, theta, seen = CASES[request.param]
    return SectionSizes(sizes, profiles=3000), torch.tensor(theta), {k: torch.tensor(v) for k, v in seen.items()}


@pytest.mark.parametrize("measure", ["radius", "diameter", "area"])
def test_log_prob_is_the_sum_of_log_densities_of_the_size(measure):
    theta, limit = torch.tensor([15.0, 1.4]), torch.tensor(3.0)
    noise = SectionSizes("lognormal", measure, least=1)
    y = torch.tensor([4.0, 11.0, 30.0, 52.0])
    to_radius = {"radius": lambda y: y, "diameter": lambda y: y / 2, "area": lambda y: (y / math.pi).sqrt()}[measure]
    y.requires_grad_()
    r, smallest = to_radius(y), Microscope(smallest=to_radius(limit))
    (slope,) = torch.autograd.grad(r.sum(), y)
    expected = (section_density(r.detach(), "lognormal", theta, smallest) * slope).log().sum()
    found = noise.log_prob(y.detach(), theta, smallest=limit)
    torch.testing.assert_close(found, expected, rtol=1e-13, atol=0)


def test_interpolation_gives_the_sum_over_all_profiles(case, monkeypatch):
    noise, theta, seen = case
    y = noise.sample(theta, seed=1, **seen)
    rows = theta * torch.tensor([[1.0], [0.97], [1.05]]).expand(3, len(theta))
    fast = noise.log_prob(y, rows, **seen)
    monkeypatch.setattr(section_likelihood, "_DEGREES", ())
    slow = noise.log_prob(y, rows, **seen)
    torch.testing.assert_close(fast, slow, rtol=0, atol=3000 * 1e-8)


def test_score_is_the_gradient_and_the_information_its_covariance(case):
    noise, theta, seen = case
    y = noise.sample(theta, seed=2, **seen)
    whitener = noise.whiten(y, theta, **seen)
    leaf = theta.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(noise.log_prob(y, leaf, **seen), leaf)
    score = (whitener.factor.mT @ whitener.residual[:, None])[:, 0]
    torch.testing.assert_close(score, gradient, rtol=1e-9, atol=1e-9)
    information = whitener.factor.mT @ whitener.factor
    # under the truth g^T I^-1 g is chi2 with p degrees of freedom; exceeded once in ten thousand
    assert float(gradient @ torch.linalg.solve(information, gradient)) < stats.chi2(len(theta)).isf(1e-4)
    if len(theta) == 2:
        hessian = torch.autograd.functional.hessian(lambda t: noise.log_prob(y, t, **seen), theta)
        # the observed information differs from the expected one by chance, some 1 / sqrt(3000) of it
        assert float((-hessian / information - 1).abs().max()) < 0.1


def test_gradient_against_finite_differences(case):
    noise, theta, seen = case
    y = noise.sample(theta, seed=3, **seen)[:400]
    assert torch.autograd.gradcheck(
        lambda t: noise.log_prob(y, t, **seen) / 400, theta.clone().requires_grad_(), eps=1e-5, atol=1e-6
    )


def test_samples_follow_the_distribution(case):
    noise, theta, seen = case
    y = noise.sample(theta, seed=4, **seen)
    microscope = Microscope(**{k: v / 2 if k == "smallest" else v for k, v in seen.items()})
    rank = section_cdf(y / 2, noise.sizes, theta, microscope)
    assert stats.kstest(rank.numpy(), "uniform").pvalue > 1e-4
    scores = noise.standardise(y, theta, **seen)
    torch.testing.assert_close(torch.special.ndtr(scores), rank, rtol=0, atol=1e-9)


def test_batches_equal_loops_and_nan_is_no_profile():
    noise = SectionSizes(profiles=300)
    theta = torch.tensor([[15.0, 1.4], [10.0, 1.7], [20.0, 1.2]])
    seen = {"smallest": torch.tensor([4.0, 5.0, 0.0]), "thickness": torch.tensor([9.0, 0.0, 3.0])}
    y = noise.sample(theta, seed=1, **seen)
    y[1, 100:] = torch.nan
    draws = theta * torch.tensor([0.9, 1.1])[:, None, None]
    whole, whitener = noise.log_prob(y, draws, **seen), noise.whiten(y, theta, **seen)
    for row in range(3):
        own = {k: v[row] for k, v in seen.items()}
        some = y[row][~y[row].isnan()]
        for draw in range(2):
            alone = noise.log_prob(some, draws[draw, row], **own)
            torch.testing.assert_close(whole[draw, row], alone, rtol=1e-9, atol=1e-5)
        one = noise.whiten(some, theta[row], **own)
        torch.testing.assert_close(whitener.factor[row], one.factor, rtol=1e-9, atol=1e-9)
    nothing = torch.full((2, 300), torch.nan)
    leaf = theta[:2].clone().requires_grad_()
    value = noise.log_prob(nothing, leaf)
    assert bool((value == 0).all())
    assert bool((torch.autograd.grad(value.sum(), leaf)[0] == 0).all())
    assert bool((noise.whiten(nothing, theta[:2]).residual == 0).all())


def test_rows_do_not_depend_on_the_batch():
    noise = SectionSizes(profiles=200)
    theta = torch.tensor([[15.0, 1.4], [10.0, 1.7], [20.0, 1.2], [12.0, 1.05]]).repeat(5, 1)
    y = noise.sample(theta, seed=1)
    whole = noise.log_prob(y, theta)
    parts = torch.cat([noise.log_prob(y[i : i + 3], theta[i : i + 3]) for i in range(0, 20, 3)])
    assert torch.equal(whole, parts)


@pytest.mark.parametrize("sd", [1.001, 1.02, 6.0, 30.0])
@pytest.mark.parametrize("mean", [0.01, 15.0, 1e5])
def test_log_prob_and_its_gradient_are_finite_far_from_the_truth(mean, sd):
    noise = SectionSizes(profiles=300)
    y = noise.sample(torch.tensor([15.0, 1.4]), seed=1)
    theta = torch.tensor([mean, sd]).requires_grad_()
    value = noise.log_prob(y, theta)
    assert bool(torch.isfinite(value))
    assert bool(torch.isfinite(torch.autograd.grad(value, theta)[0]).all())


def test_float32_follows_the_prediction():
    noise = SectionSizes(profiles=300)
    theta = torch.tensor([15.0, 1.4])
    y = noise.sample(theta, seed=1)
    single = noise.log_prob(y.float(), theta.float())
    assert single.dtype == torch.float32
    assert float(single) == pytest.approx(float(noise.log_prob(y, theta)), rel=1e-4)


def test_what_is_refused():
    noise, theta = SectionSizes(), torch.tensor([15.0, 1.4])
    good = torch.linspace(5, 30, 20)
    for value, words in ((-3.0, "-3 in row 7"), (0.0, "0 in row 7")):
        y = good.clone()
        y[7] = value
        with pytest.raises(ValueError, match=rf"Invalid size {words}\. Sizes of profiles must be positive\."):
            noise.log_prob(y, theta)
    with pytest.raises(ValueError, match=r"Invalid size 5 in row 0, below the detection limit of 6\. Remove .*\."):
        noise.log_prob(good, theta, smallest=torch.tensor(6.0))
    with pytest.raises(ValueError, match=r"Invalid observation of 9 profiles\. Give at least 10\."):
        noise.log_prob(good[:9], theta)
    with pytest.raises(ValueError, match=r"Missing condition field_area\. The number .* listed\."):
        SectionSizes(counts=True).log_prob(good, torch.tensor([15.0, 1.4, 100.0]))
    with pytest.raises(ValueError, match=r"Invalid prediction of 3 parameters\. 'lognormal' has 2: .*"):
        noise.log_prob(good, torch.tensor([15.0, 1.4, 100.0]))
    with pytest.raises(ValueError, match=r"Unknown measure 'perimeter'\. Must be one of radius, diameter, area\."):
        SectionSizes(measure="perimeter")
