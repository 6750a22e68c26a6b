"""What latents and causes move, against linear maps and a chain with known slopes."""

import math

import numpy as np
import pytest
import torch

import physgen as pg
from physgen.diagnostics.intervention_effects import do_effects, intervention_effects


def latents(n=4000, k=3, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal((n, k)))


def test_a_linear_map():
    w = torch.tensor([[1.0, 0.0, -2.0], [0.0, 3.0, 1.0], [0.0, 0.0, 0.5]]).double()  # causes of latents
    found = intervention_effects(lambda z: z @ w.mT, latents(), step=0.5)
    expected = (w / w.norm(dim=1, keepdim=True)).mT  # 2 step / sd
    torch.testing.assert_close(found.mean, expected, rtol=0.05, atol=1e-9)
    torch.testing.assert_close(found.size, expected.abs(), rtol=0.05, atol=1e-9)
    assert 0 < float(found.controllability) < 1


def test_a_diagonal_map_is_controllable():
    assert float(intervention_effects(lambda z: z**3, latents()).controllability) == pytest.approx(1)


def test_an_effect_whose_sign_depends_on_another_latent():
    # x = z0 z1: the change is 2 z1, of mean 0 and mean size 2 E|z1|
    found = intervention_effects(lambda z: (z[:, 0] * z[:, 1])[:, None], latents())
    assert abs(float(found.mean[0, 0])) < 4 * 2 / math.sqrt(4000)
    assert float(found.size[0, 0]) == pytest.approx(2 * math.sqrt(2 / math.pi), rel=0.1)
    assert float(found.size[2, 0]) == 0


def test_features_of_the_causes():
    found = intervention_effects(lambda z: z, latents(), features=lambda x: x.sum(1, keepdim=True))
    assert found.size[:, 0].numpy() == pytest.approx(2 / math.sqrt(3), rel=0.05)


def test_do_moves_what_lies_downstream_only():
    chain = pg.Chain(a=pg.Normal(1.0, 2.0), b=lambda a: pg.Normal(3 * a, 1.0), c=lambda b: pg.Normal(-0.5 * b, 1.0))
    found = do_effects(chain, draws=4000, seed=1)
    sd = torch.tensor([2.0, math.sqrt(37), math.sqrt(37 / 4 + 1)])
    slopes = torch.tensor([[1.0, 3.0, -1.5], [0.0, 1.0, -0.5], [0.0, 0.0, 1.0]])
    expected = slopes * sd[:, None] / sd
    torch.testing.assert_close(found, expected.to(found), rtol=0, atol=0.06)
    assert found[1, 0] == found[2, 0] == found[2, 1] == 0


def test_refused():
    with pytest.raises(ValueError, match="Too few latents"):
        intervention_effects(lambda z: z, latents(19))
    with pytest.raises(ValueError, match="Invalid step 0"):
        intervention_effects(lambda z: z, latents(), step=0.0)
    with pytest.raises(ValueError, match="not 0 everywhere"):
        intervention_effects(lambda z: 0 * z, latents())
    with pytest.raises(TypeError, match=r"Gaussian has no 'do'\. Use intervention_effects"):
        do_effects(pg.Gaussian(torch.zeros(2).double(), torch.eye(2).double()))
