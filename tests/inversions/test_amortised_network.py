"""The conditional flow of learned posteriors: a density, its draws, and what it reads of an observation."""

import math

import pytest
import torch
from torch import nn

import physgen as pg
from physgen.inversions.amortised_network import Features, PosteriorNetwork
from physgen.inversions.amortised_training import witnesses
from physgen.priors.flow_network import CouplingFlow
from physgen.random import normal, single_stream
from physgen.rows import spread


def normals(*shape, stage=0):
    return normal(shape, single_stream(), seed=3, stage=stage)


def network(k, bins=4, scale=0.5, conditions=1):
    """One with random weights, so that nothing is the identity."""
    y = normals(400, 4)
    made = PosteriorNetwork(
        Features(y, normals(400, conditions, stage=1)),
        k,
        width=16,
        layers=2,
        context=4,
        transforms=3,
        bins=bins,
        hidden=(8,),
        seed=0,
    ).double()
    for i, p in enumerate(made.parameters()):
        p.data += scale * normals(*p.shape, stage=10 + i) / math.sqrt(p.shape[-1] if p.ndim else 1)
    return made.requires_grad_(False)


def embedded(net, count, stage=50):
    return net.embed_rows(normals(count, 4, stage=stage), normals(count, 1, stage=stage + 1))


@pytest.mark.parametrize("bins", [1, 4])
@pytest.mark.parametrize("k", [1, 2, 3])
def test_draws_have_the_density_that_goes_with_them(k, bins):
    net = network(k, bins)
    given = embedded(net, 5)
    z, log_q = net.sample(normals(5, 30, k, stage=60), given)
    torch.testing.assert_close(net.log_prob_draws(z, given), log_q, rtol=1e-8, atol=1e-8)
    one, first = net.log_prob(z[:, 0], given), net.sample(normals(5, 30, k, stage=60), given, density=False)[0]
    torch.testing.assert_close(one, log_q[:, 0], rtol=1e-8, atol=1e-8)
    assert torch.equal(first, z)


@pytest.mark.parametrize("bins", [1, 4])
def test_the_density_integrates_to_one(bins):
    net = network(2, bins, scale=0.3)
    given = embedded(net, 1)
    z, _ = net.sample(normals(1, 400, 2, stage=60), given)
    low, high = z[0].amin(0), z[0].amax(0)
    reach = 3 * (high - low)
    axes = [torch.linspace(float(a - r), float(b + r), 801) for a, b, r in zip(low, high, reach, strict=True)]
    grid = torch.cartesian_prod(*axes)
    cell = float((axes[0][1] - axes[0][0]) * (axes[1][1] - axes[1][0]))
    assert abs(float(net.log_prob_draws(grid[None], given).exp().sum()) * cell - 1) < 5e-3


def test_an_untrained_network_is_the_prior():
    net = network(3, scale=0.0)
    z = normals(5, 7, 3)
    given = embedded(net, 5)
    expected = torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(-1)
    torch.testing.assert_close(net.log_prob_draws(z, given), expected, rtol=1e-4, atol=1e-4)


def test_a_row_has_the_same_bits_whatever_the_others():
    net = network(3)
    y, c, u = normals(130, 4, stage=50), normals(130, 1, stage=51), normals(130, 40, 3, stage=52)
    whole = net.embed_rows(y, c)
    z, log_q = net.sample(u, whole)
    for cut in (slice(0, 1), slice(3, 10), slice(60, 130)):
        own = net.embed_rows(y[cut], c[cut])
        assert torch.equal(own.mean, whole.mean[cut])
        assert torch.equal(own.factor, whole.factor[cut])
        part = net.sample(u[cut], own)
        assert torch.equal(part[0], z[cut])
        assert torch.equal(part[1], log_q[cut])


def test_features_are_white_blind_to_what_is_missing_and_bounded():
    mix = normals(4, 4, stage=1)
    y = normals(5000, 4) @ mix + 7
    features = Features(y, torch.full((5000, 1), 0.3)).double()
    f = features(y, torch.full((5000, 1), 0.3))
    inner = f[:4] @ f[:4].mT / 5000
    assert float((inner - torch.eye(4)).abs().max()) < 0.1
    gap = y[:2].clone()
    gap[:, 2] = torch.nan
    one = features(gap, torch.zeros(2, 1))
    assert bool(torch.isfinite(one).all())
    assert one[4:8, 0].tolist() == [1, 1, 0, 1]
    assert float(one[8].abs().max()) == 0  # a condition that did not vary says nothing
    far = features(torch.full((1, 4), 1e30), torch.full((1, 1), 1e30))
    assert float(far.abs().max()) <= 12


def test_many_latents_have_no_learned_correlations():
    net = network(70, bins=1)
    given = embedded(net, 3)
    assert given.factor.shape == (3, 70, 70)
    assert float(given.factor.tril(-1).abs().max()) == 0


def test_straight_lines_are_inverted_and_their_slope_is_the_jacobian():
    flow = CouplingFlow(3, 2, transforms=4, bins=1, hidden=(8,)).double()
    for i, p in enumerate(flow.parameters()):
        p.data = nn.Parameter(normals(*p.shape, stage=i), requires_grad=False)
    x, c = normals(3, 6), normals(2, 6, stage=1)
    y, log_slope = flow(x, c)
    back, other = flow(y, c, inverse=True)
    torch.testing.assert_close(back, x)
    torch.testing.assert_close(other, -log_slope)
    for r in range(6):
        own = c[:, r : r + 1]
        jacobian = torch.autograd.functional.jacobian(lambda v, own=own: flow(v[:, None], own)[0][:, 0], x[:, r])
        torch.testing.assert_close(torch.linalg.slogdet(jacobian)[1], log_slope[r])


def test_witnesses_are_spread_and_good():
    assert spread(5, 10).tolist() == [0, 1, 2, 3, 4]
    assert spread(10, 5).tolist() == [0, 2, 4, 6, 8]
    assert len(spread(100_000)) == 4096

    problem = pg.Problem(lambda x: x, pg.Independent(a=pg.Normal(0, 1)), pg.GaussianNoise(0.1))
    y = torch.tensor([[1.0], [torch.nan], [2.0], [torch.inf]])
    assert witnesses(problem, y, {}).y.tolist() == [[1.0], [2.0]]
    assert witnesses(problem, y[1:2], {}).y.tolist() == [[0.0]]  # nothing to learn gaps from
