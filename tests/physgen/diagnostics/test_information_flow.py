"""Information flow: nested sampling against the closed form of the linear case, and against quadrature."""

import math

import numpy as np
import pytest
import torch

from physgen.diagnostics.information_flow import information_flow, linear_information_flow

B = torch.tensor([1.0, 0.5, 0.0, 2.0])
SETS = [[0], [1], [2], [3], [0, 1], [0, 1, 2, 3]]


def test_closed_form_of_a_scalar():
    found = linear_information_flow(B, 0.5, SETS)
    total = 1 + 0.25 + 4 + 0.25
    expected = [0.5 * math.log(total / (total - b)) for b in (1, 0.25, 0, 4, 1.25, 5.25)]
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_closed_form_of_a_vector_is_that_of_joint_normals():
    rng = np.random.default_rng(0)
    b, sd = rng.standard_normal((3, 4)), np.array([0.5, 1.0, 2.0])
    joint = np.block([[np.eye(4), b.T], [b, b @ b.T + np.diag(sd**2)]])
    for chosen in ([1], [0, 3]):
        both = [*chosen, 4, 5, 6]
        expected = 0.5 * (np.linalg.slogdet(joint[4:, 4:])[1] - np.linalg.slogdet(joint[np.ix_(both, both)])[1])
        found = linear_information_flow(torch.from_numpy(b), torch.from_numpy(sd), [chosen])
        assert float(found) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("sd", [0.5, 3.0])
def test_sampling_equals_the_closed_form(sd):
    found = information_flow(lambda z: z @ B.to(z), 4, sd, latents=SETS[:5], seed=1)
    np.testing.assert_allclose(found, linear_information_flow(B, sd, SETS[:5]), atol=0.025)


def test_sampling_of_a_vector():
    w = torch.tensor([[1.0, 0.5], [0.0, 1.0]])
    found = information_flow(lambda z: z @ w.to(z).mT, 2, torch.tensor([0.7, 1.0]))
    np.testing.assert_allclose(found, linear_information_flow(w, torch.tensor([0.7, 1.0])), atol=0.04)


def test_a_square_against_quadrature():
    # q = z0^2 + z1 / 2 + N(0, 1/4): correlation sees nothing of z0
    grid, weight = np.polynomial.hermite_e.hermegauss(80)
    weight = weight / weight.sum()
    q = np.linspace(-6, 40, 20001)
    spread = 0.5 * math.sqrt(2)
    p = sum(w * np.exp(-0.5 * ((q - z**2) / spread) ** 2) for z, w in zip(grid, weight, strict=True))
    p = p / np.trapezoid(p, q)
    entropy = -np.trapezoid(p * np.log(np.maximum(p, 1e-300)), q)
    expected = entropy - 0.5 * math.log(2 * math.pi * math.e * spread**2)
    found = information_flow(lambda z: z[:, 0] ** 2 + z[:, 1] / 2, 2, 0.5, latents=[[0]], inner=2000)
    assert float(found) == pytest.approx(expected, abs=0.04)


def test_seeded():
    runs = [information_flow(lambda z: z[:, 0], 1, 1.0, outer=50, inner=50, seed=s) for s in (1, 1, 2)]
    assert torch.equal(runs[0], runs[1])
    assert not torch.equal(runs[0], runs[2])


def test_refused():
    with pytest.raises(ValueError, match=r"Unknown latents \[2\]\. Choose from 0 to 1"):
        information_flow(lambda z: z[:, 0], 2, 1.0, latents=[[2]])
    with pytest.raises(ValueError, match=r"Invalid error 0\.0"):
        linear_information_flow(B, 0.0)
    with pytest.raises(ValueError, match="Too few draws: 49"):
        information_flow(lambda z: z[:, 0], 2, 1.0, outer=49)
    with pytest.raises(ValueError, match="must be finite for every latent"):
        information_flow(lambda z: z[:, 0] * math.nan, 2, 1.0)
