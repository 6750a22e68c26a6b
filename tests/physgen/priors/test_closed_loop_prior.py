"""A prior on top of another, and how it is learned from posterior draws: against closed forms."""

from __future__ import annotations

import math

import pytest
import torch

from physgen.priors import Decoder, Gaussian, Independent, LogNormal, Normal, Training, Uniform, load_prior, save_prior
from physgen.priors.closed_loop_prior import Updated
from physgen.priors.closed_loop_refit import LatentFlow, LatentGaussian
from physgen.priors.storage import CARD
from physgen.random import normal, single_stream
from physgen.testing import check_prior

FIRST = Independent(a=Normal(1.0, 2.0), b=LogNormal(3.0, 0.5))
SHIFTED = Gaussian([0.5, -1.0], [[0.3, 0.1], [0.1, 0.2]], ["u0", "u1"])


def test_it_keeps_the_contract_also_in_a_bounded_space():
    check_prior(Updated(FIRST, SHIFTED))
    check_prior(Updated(Independent(p=Uniform(0, 1)), Gaussian([0.3], [[0.5]], ["u0"])))


def test_a_normal_prior_updated_by_a_gaussian_is_the_normal_of_the_closed_form():
    prior = Updated(FIRST, SHIFTED)
    # a = 1 + 2 u0, log b = log 3 + 0.5 u1
    x = torch.tensor([[1.5, 2.0], [-1.0, 5.0]])
    mean, scale = torch.tensor([2.0, math.log(3) - 0.5]), torch.diag(torch.tensor([2.0, 0.5]))
    covariance = scale @ SHIFTED.covariance @ scale
    expected = (
        torch.distributions.MultivariateNormal(mean, covariance).log_prob(torch.stack([x[:, 0], x[:, 1].log()], 1))
        - x[:, 1].log()
    )
    torch.testing.assert_close(prior.log_prob(x), expected, rtol=1e-12, atol=1e-12)
    assert float(prior.log_prob(torch.tensor([0.0, -1.0]))) == -math.inf


def test_the_gaussian_refit_is_the_moments_of_the_latents():
    draws = SHIFTED.sample((7, 300), seed=2)
    x = FIRST.decode(draws)
    pool = draws.reshape(-1, 2)
    learned = LatentGaussian()(FIRST, x, {}, seed=0).latents
    torch.testing.assert_close(learned.mean, pool.mean(0), rtol=0, atol=1e-10)
    torch.testing.assert_close(learned.covariance, pool.mT.cov(correction=0), rtol=0, atol=1e-10)
    # 300 observations of the first prior, N(0, I), weigh as much as the 300
    half = LatentGaussian(strength=300)(FIRST, x, {}, seed=0).latents
    torch.testing.assert_close(half.mean, pool.mean(0) / 2, rtol=0, atol=1e-10)
    second = (pool.mT @ pool / len(pool) + torch.eye(2)) / 2 - torch.outer(half.mean, half.mean)
    torch.testing.assert_close(half.covariance, second, rtol=0, atol=1e-10)


def test_the_flow_refit_learns_a_shape_that_no_gaussian_has():
    side = torch.where(normal((2, 600), single_stream(), seed=1) > 0, 1.0, -1.0)
    u = torch.stack([2 * side + 0.3 * normal((2, 600), single_stream(), seed=2), side.new_zeros(2, 600)], -1)
    u[..., 1] = normal((2, 600), single_stream(), seed=3)
    refit = LatentFlow(transforms=2, hidden=(16,), training=Training(epochs=20, batch=100))
    prior = refit(FIRST, FIRST.decode(u), {}, seed=0)
    x = prior.sample(2000, seed=5)
    a = (x[:, 0] - 1) / 2
    assert 0.4 < float((a > 0).double().mean()) < 0.6
    assert float((a.abs() < 1).double().mean()) < 0.15  # a Gaussian of these moments has 0.38 there
    flat = LatentGaussian()(FIRST, FIRST.decode(u), {}, seed=0)
    rows = FIRST.decode(u).reshape(-1, 2)
    assert float(prior.log_prob(rows).mean()) > float(flat.log_prob(rows).mean()) + 0.5


def test_it_is_stored_with_what_no_file_holds_given_again(tmp_path):
    prior = Updated(FIRST, SHIFTED)
    save_prior(prior, tmp_path / "mine", dict.fromkeys(CARD, "a test"))
    again = load_prior(tmp_path / "mine", parts={"prior": FIRST})
    assert torch.equal(again.sample(5, seed=1), prior.sample(5, seed=1))
    with pytest.raises(ValueError, match="needs 'prior'"):
        load_prior(tmp_path / "mine")


def test_mistakes_are_named():
    with pytest.raises(ValueError, match="has 2 latents, and what was learned has 1 causes"):
        Updated(FIRST, Gaussian([0.0], [[1.0]]))
    with pytest.raises(ValueError, match=r"Invalid strength -1\. It must not be negative\."):
        LatentGaussian(strength=-1)
    decoder = Decoder.fit(normal((200, 2), single_stream(), seed=1), 1, hidden=(4,), training=Training(epochs=1))
    with pytest.raises(TypeError, match="Decoder has no 'encode'"):
        LatentGaussian()(decoder, torch.zeros(2, 30, 2), {}, seed=0)
