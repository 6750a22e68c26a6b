"""Maximum-likelihood fits of profiles."""

from __future__ import annotations

import pytest
import torch

from physgen.forward_models.stereology.section_fit import fit_sections
from physgen.forward_models.stereology.section_noise import SectionSizes

CASES = [
    ("lognormal", [15.0, 1.5], [9.0, 1.2], {}),
    ("gamma", [6.0, 2.5], [2.0, 5.0], {"thickness": 9.0}),
    ("weibull", [2.5, 15.0], [1.0, 8.0], {"smallest": 4.0}),
    ("normal", [15.0, 4.0], [8.0, 8.0], {}),
]


@pytest.mark.parametrize(("sizes", "truth", "start", "seen"), CASES, ids=[c[0] for c in CASES])
def test_the_gradient_vanishes_and_the_truth_lies_near(sizes, truth, start, seen):
    noise, truth = SectionSizes(sizes, profiles=2000), torch.tensor(truth)
    given = {name: torch.tensor(value) for name, value in seen.items()}
    y = noise.sample(truth, seed=1, **given)
    fit = fit_sections(y, noise, start, **seen)
    leaf = fit.theta.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(noise.log_prob(y, leaf, **given), leaf)
    assert float(gradient @ fit.covariance @ gradient) < 1e-9  # squared standard deviations
    error = fit.theta - truth
    # chi2 with two degrees of freedom; exceeded once in ten thousand
    assert float(error @ torch.linalg.solve(fit.covariance, error)) < 18.4


def test_sizes_that_no_member_of_the_family_has_are_an_error():
    y = torch.full((50,), 10.0) + torch.linspace(0, 1e-3, 50)  # sections of one size: no spheres show them
    with pytest.raises(ValueError, match=r"No maximum was found, the last point being .*\. Start elsewhere, .*"):
        fit_sections(y, SectionSizes(), [5.0, 1.3])
