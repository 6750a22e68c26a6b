"""The FactorVAE score at codes whose score is known."""

import numpy as np
import pytest
import torch

from physgen.diagnostics.factor_vae_score import factor_vae_score


def continuous(n=2000, d=4, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal((n, d)))


def discrete(n=2000, d=4, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 6, (n, d)))


@pytest.mark.parametrize("factors", [continuous(), discrete()], ids=["continuous", "discrete"])
def test_identity_zeros_and_noise(factors):
    assert factor_vae_score(factors, factors) >= 0.9
    assert factor_vae_score(-3.0 * factors[:, [3, 1, 0, 2]] + 100, factors) >= 0.9
    assert factor_vae_score(torch.zeros_like(factors), factors) <= 0.2
    # unrelated codes guess: 1 in 4, and a majority of 400 votes overfits by little
    assert factor_vae_score(continuous(seed=7), factors) < 0.4


def test_a_constant_code_does_not_vote():
    v = discrete().double()
    assert factor_vae_score(torch.cat([v, torch.full_like(v[:, :1], 0.1)], 1), v) >= 0.9


def test_two_factors_in_one_code_are_told_apart_by_chance_only():
    v = discrete(d=2)
    joint = (6 * v[:, :1] + v[:, 1:]).double()
    assert factor_vae_score(joint, v) == pytest.approx(0.5, abs=1e-12)


def test_seeded():
    c, v = continuous(seed=7), discrete()
    assert factor_vae_score(c, v, seed=1) == factor_vae_score(c, v, seed=1)


def test_refused():
    v = continuous(300)
    with pytest.raises(ValueError, match="19 votes"):
        factor_vae_score(v, v, votes=19)
    with pytest.raises(ValueError, match="all are constant"):
        factor_vae_score(v, torch.ones(300, 2))
    with pytest.raises(ValueError, match="At least 200"):
        factor_vae_score(v[:199], v[:199])
