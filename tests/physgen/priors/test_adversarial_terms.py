"""Terms of the adversarial game against closed forms."""

import math

import numpy as np
import pytest
import torch
from scipy import integrate, stats

from physgen.priors.adversarial_terms import adversarial, critic_loss, gradient_penalty, info


def test_losses_are_those_of_the_probabilities():
    real, made = torch.tensor([0.3, -2.0]), torch.tensor([1.5, 0.1])
    d, d_made = torch.sigmoid(real), torch.sigmoid(made)
    torch.testing.assert_close(critic_loss(real, made), -d.log() - (1 - d_made).log())
    torch.testing.assert_close(adversarial(real, made), -d_made.log())
    torch.testing.assert_close(critic_loss(real, made, "relativistic"), -torch.sigmoid(real - made).log())
    torch.testing.assert_close(adversarial(real, made, "relativistic"), -torch.sigmoid(made - real).log())


def test_best_critic_loses_the_jensen_shannon_divergence():
    """Goodfellow et al. (2014), theorem 1: at D = p / (p + q) the value is -2 ln 2 + 2 JSD."""
    p, q = stats.norm(0, 1), stats.norm(1.5, 1)
    at = np.linspace(-9, 11, 4001)
    logit = torch.from_numpy(p.logpdf(at) - q.logpdf(at))
    loss = (
        critic_loss(logit, torch.zeros_like(logit)).numpy() - math.log(2),
        critic_loss(0 * logit, logit).numpy() - math.log(2),
    )
    value = integrate.simpson(p.pdf(at) * loss[0] + q.pdf(at) * loss[1], x=at)
    middle = 0.5 * (p.pdf(at) + q.pdf(at))
    jsd = 0.5 * sum(integrate.simpson(f.pdf(at) * np.log(f.pdf(at) / middle), x=at) for f in (p, q))
    assert value == pytest.approx(2 * math.log(2) - 2 * jsd, rel=1e-9)


def test_penalty_of_a_quadratic_critic_and_its_gradient():
    a = torch.tensor([[2.0, 0.5], [0.5, 1.0]], requires_grad=True)
    x = torch.tensor([[0.3, -1.0, 2.0], [1.0, 0.2, -0.7]])
    found = gradient_penalty(lambda u: 0.5 * (u * (a @ u)).sum(0), x)
    torch.testing.assert_close(found, 0.5 * (a @ x).square().sum(0))
    (gradient,) = torch.autograd.grad(found.sum(), a)
    torch.testing.assert_close(gradient + gradient.mT, (a @ x @ x.mT + (a @ x @ x.mT).mT))


def test_information_of_a_noisy_channel():
    """x = c + sd noise: the exact posterior makes the bound the mutual information, ln(1 + 1 / sd^2) / 2 each."""
    sd = torch.tensor([[0.5], [2.0]])
    c, noise = torch.randn(2, 2, 200_000, generator=torch.Generator().manual_seed(0))
    share = 1 / (1 + sd**2)
    mean, log_sd = share * (c + sd * noise), (0.5 * (sd**2 * share).log()).expand_as(c)
    exact = float(0.5 * torch.log1p(1 / sd**2).sum())
    assert float(info(c, mean, log_sd).mean()) == pytest.approx(exact, rel=0.01)
    assert float(info(c, 0.8 * mean, log_sd).mean()) < exact
    assert float(info(c, 0 * mean, 0 * log_sd).mean()) == pytest.approx(0, abs=1e-12)
