"""One move of each sampler leaves the posterior as it is, whatever its step and metric; and the tree's own parts."""

import math

import pytest
import torch

from physgen.inversions.leapfrog import Trajectory, halton, leap, trajectory
from physgen.inversions.microcanonical import isokinetic
from physgen.inversions.nuts_tree import _closing, grow

COUNT = 10000  # chains, each at an exact draw
SD = torch.tensor([1.0, 0.3, 2.0])


def slope(w, which, wanted=None):
    """Independent: normal, normal, and a logistic variable, of scales that the metric does not know."""
    u = w / SD.to(w)
    value = -0.5 * (u[..., :2] ** 2).sum(-1) - (u[..., 2] + 2 * torch.nn.functional.softplus(-u[..., 2]))
    last = -(1 - 2 * torch.sigmoid(-u[..., 2:]))
    gradient = torch.cat([-u[..., :2], last], -1) / SD.to(w)
    if wanted is not None:
        value = torch.where(wanted, value, -torch.inf)
        gradient = torch.where(wanted[..., None], gradient, 0)
    return value, gradient


def exact(generator):
    w = torch.randn(1, COUNT, 3, generator=generator)
    w[..., 2] = torch.logit(torch.rand(1, COUNT, generator=generator))
    return w * SD


def assert_exact(w):
    """Means and mean squares, within four standard errors."""
    u = (w / SD)[0]
    fourth = torch.tensor([3.0, 3.0, 7 * math.pi**4 / 15])
    second = torch.tensor([1.0, 1.0, math.pi**2 / 3])
    assert bool((u.mean(0).abs() < 4 * (second / COUNT).sqrt()).all())
    assert bool(((u**2).mean(0) - second).abs().lt(4 * ((fourth - second**2) / COUNT).sqrt()).all())


def begin(seed, unit=False):
    g = torch.Generator().manual_seed(seed)
    w = exact(g)
    v = torch.randn(w.shape, generator=g)
    v = v / v.norm(dim=-1, keepdim=True) if unit else v
    return Trajectory(w, v, *slope(w, torch.tensor([0]))), g


@pytest.mark.parametrize(("step", "depth"), [(0.15, 3), (0.45, 5), (0.55, 2)])
def test_a_tree_leaves_the_posterior_as_it_is(step, depth):
    start, g = begin(1)
    coins = torch.rand(1, depth, 2, COUNT, generator=g)
    tree = grow(
        slope,
        start,
        torch.tensor([step]),
        coins,
        lambda d, which: torch.rand(1, 1 << d, COUNT, generator=g),
        divergent=1000.0,
    )
    assert float((tree.chosen.z - start.z).norm(dim=-1).mean()) > 0.5
    assert bool((tree.leaves < 1 << depth).all())
    assert 0.5 < float(tree.accept.mean()) < 1
    again, _ = slope(tree.chosen.z, torch.tensor([0]))
    assert torch.allclose(again, tree.chosen.value)
    assert_exact(tree.chosen.z)


def test_a_tree_stops_where_it_turns_and_where_it_diverges():
    start, g = begin(2)
    coins = torch.rand(1, 8, 2, COUNT, generator=g)

    def leaf(d, which):
        return torch.rand(1, 1 << d, COUNT, generator=g)

    tree = grow(slope, start, torch.tensor([0.1]), coins, leaf, divergent=1000.0)
    length = 0.1 * tree.leaves.to(start.z.dtype)
    assert 3 < float(length.mean()) < 12  # half a period of the widest direction is about 2 pi
    assert not bool(tree.saturated.any())
    wild = grow(slope, start, torch.tensor([5.0]), coins, leaf, divergent=1000.0)
    assert float(wild.diverged.to(torch.float64).mean()) > 0.5
    assert bool((wild.chosen.z == start.z).all(-1)[wild.diverged & (wild.leaves == 1)].all())


@pytest.mark.parametrize(("step", "leaps"), [(0.3, 5), (0.6, 3), (1.0, 2)])
def test_isokinetic_moves_leave_the_posterior_as_it_is(step, leaps):
    start, g = begin(3, unit=True)
    end, error = isokinetic(slope, start, torch.tensor([step]), torch.tensor([leaps]))
    yes = torch.rand(1, COUNT, generator=g) < torch.exp(-error)
    assert 0.2 < float(yes.to(torch.float64).mean()) < 1
    assert torch.allclose(end.v.norm(dim=-1), torch.ones(1, COUNT))
    assert_exact(end.where(yes, start).z)


def test_isokinetic_dynamics_go_back_and_keep_their_energy():
    start, _ = begin(4, unit=True)
    end, error = isokinetic(slope, start, torch.tensor([0.2]), torch.tensor([10]))
    back, other = isokinetic(slope, end.at(-end.v), torch.tensor([0.2]), torch.tensor([10]))
    assert torch.allclose(back.z, start.z, atol=1e-9)
    assert torch.allclose(other, -error, atol=1e-8)
    ends = [isokinetic(slope, start, torch.tensor([2.0 / n]), torch.tensor([n]))[1].abs().median() for n in (20, 40)]
    assert 3.5 < float(ends[0] / ends[1]) < 4.5  # second order
    steep = Trajectory(start.z, start.v, start.value, 1e6 * start.gradient)
    thrown, error = isokinetic(
        lambda w, which: (0 * w[..., 0], -1e6 * w), steep, torch.tensor([1.0]), torch.tensor([3])
    )
    assert bool(torch.isfinite(thrown.z).all() & torch.isfinite(error).all())


def test_leapfrog_steps_of_each_observation_are_its_own():
    g = torch.Generator().manual_seed(5)
    w, v = torch.randn(2, 4, 3, generator=g), torch.randn(2, 4, 3, generator=g)
    factor = torch.linalg.cholesky(torch.eye(3) + 0.3 * torch.ones(3, 3)).expand(2, 3, 3)
    both = torch.arange(2)
    start, step = Trajectory(w, v, *slope(w, both)), torch.tensor([0.1, 0.2])
    found = trajectory(slope, start, factor, step, torch.tensor([2, 5]))
    for i, leaps in enumerate((2, 5)):
        one = start.select(both[i : i + 1])
        for _ in range(leaps):
            one = leap(slope, one, factor[:1], step[i], torch.tensor([0]))
        assert torch.allclose(found.z[i], one.z[0])
        assert torch.allclose(found.v[i], one.v[0])


def test_what_left_the_support_does_not_come_back():
    def walled(w, which, wanted=None):
        value, gradient = slope(w, which)
        out = w[..., 0].abs() < 0.2
        return torch.where(out, -torch.inf, value), torch.where(out[..., None], 0, gradient)

    w = torch.tensor([[[-0.5, 0.0, 0.0]]])
    start = Trajectory(w, torch.tensor([[[2.0, 0.0, 0.0]]]), *walled(w, torch.tensor([0])))
    end = trajectory(walled, start, None, torch.tensor([0.1]), torch.tensor([8]))
    assert float(end.z[0, 0, 0]) > 0.2
    assert bool(torch.isneginf(end.value).all())


def test_checkpoints_are_the_first_leaves_of_the_subtrees_that_end():
    for depth in range(1, 6):
        first = {}
        for n in range(1 << depth):
            if n % 2 == 0:
                first[n.bit_count()] = n
                continue
            wanted = [n + 1 - (1 << d) for d in range(1, depth + 1) if (n + 1) % (1 << d) == 0]
            assert sorted(first[c] for c in _closing(n)) == sorted(wanted)


def test_the_jitter_has_mean_one():
    values = torch.tensor([halton(i) for i in range(255)])
    assert 0 < float(values.min()) < float(values.max()) < 2
    assert abs(float(values.mean()) - 1) < 0.01
