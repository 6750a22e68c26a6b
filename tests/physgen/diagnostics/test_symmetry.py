"""Symmetries hold to 1e-6 where they should, and are found broken where they should not."""

import math

import numpy as np
import pytest
import torch

from physgen.diagnostics.symmetry import canonical_orientation, canonical_sign, random_rotations, symmetry_check


def cloud(batch=20, n=30, d=3, seed=0):
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.gamma(1.0, size=(batch, n, d)) * np.array([3.0, 2.0, 1.0])[:d])


def hydrogen(x):
    """Density of a 2p orbital along x of points (*, 3)."""
    r = x.norm(dim=-1)
    return x[..., 0] ** 2 * torch.exp(-r) / (32 * math.pi)


def test_an_orbitals_density():
    x = torch.from_numpy(np.random.default_rng(1).standard_normal((500, 3)))
    about_x = torch.tensor([[1.0, 0, 0], [0, math.cos(1), -math.sin(1)], [0, math.sin(1), math.cos(1)]])
    found = symmetry_check(hydrogen, [about_x, lambda p: -p], x)
    assert found.holds
    assert float(found.error.max()) < 1e-6
    broken = symmetry_check(hydrogen, [about_x, about_x.roll((1, 1), (0, 1))], x)
    assert not broken.holds
    assert (broken.error > 1e-6).tolist() == [False, True]


def test_the_error_is_relative_to_the_function():
    x = torch.ones(3).double()
    nearly = symmetry_check(lambda x: 1e9 * (x + 1e-7), [lambda x: -x + 2], x + 0)
    assert nearly.holds
    assert not symmetry_check(lambda x: x, [lambda x: x * (1 + 1e-5)], x).holds
    assert not symmetry_check(lambda x: 1 / x, [lambda x: 0 * x * math.inf], x).holds  # undefined after g


def test_rotations_are_rotations_and_uniform():
    r = random_rotations(4000, seed=1, dtype=torch.float64)
    torch.testing.assert_close(r @ r.mT, torch.eye(3).double().expand_as(r), rtol=0, atol=1e-12)
    assert torch.linalg.det(r).numpy() == pytest.approx(1)
    # a vector turned uniformly has mean 0 and covariance I / 3
    v = r[..., 2]
    assert float(v.mean(0).abs().max()) < 4 * math.sqrt(1 / 3 / 4000)
    assert float((v.mT @ v / 4000 - torch.eye(3).double() / 3).abs().max()) < 4 * 0.3 / math.sqrt(4000)
    turned = random_rotations(4, 2, reflections=True, dtype=torch.float64)
    assert torch.linalg.det(turned).round().tolist() == [1, -1, 1, -1]


def test_canonical_sign():
    x = torch.from_numpy(np.random.default_rng(2).standard_normal((50, 9)))
    assert symmetry_check(canonical_sign, [lambda x: -x], x).error.item() == 0
    assert torch.equal(canonical_sign(x).abs(), x.abs())
    odd = torch.sin(2 * math.pi * torch.arange(16) / 16)  # peaks of both signs are equal
    assert torch.equal(canonical_sign(-odd), canonical_sign(odd))
    assert canonical_sign(torch.zeros(3)).tolist() == [0, 0, 0]


@pytest.mark.parametrize("reflections", [False, True])
@pytest.mark.parametrize("d", [2, 3])
def test_canonical_orientation_removes_position_and_orientation(d, reflections):
    x = cloud(d=d)
    weights = torch.from_numpy(np.random.default_rng(3).uniform(size=x.shape[:-1]))

    def turned(x):
        return canonical_orientation(x, weights, reflections=reflections).points

    assert float(canonical_orientation(x, weights, reflections=reflections).clearness.min()) > 1e-4
    group = list(random_rotations(10, d, reflections=reflections, seed=4, dtype=torch.float64))
    found = symmetry_check(turned, [*group, lambda x: x + 5], x)
    assert found.holds, found.error
    if not reflections:  # mirror images stay different
        assert not symmetry_check(turned, [torch.diag(torch.tensor([-1.0, 1, 1])[:d])], x).holds


def test_the_frame_is_principal():
    x = cloud()
    found = canonical_orientation(x)
    centred = x - x.mean(1, keepdim=True)
    torch.testing.assert_close(found.points, centred @ found.rotation.mT)
    assert torch.linalg.det(found.rotation).numpy() == pytest.approx(1)
    moments = found.points.mT @ found.points / x.shape[1]
    off = moments - torch.diag_embed(moments.diagonal(dim1=1, dim2=2))
    assert float(off.abs().max()) < 1e-10
    assert bool((moments.diagonal(dim1=1, dim2=2).diff() < 0).all())


def test_a_shape_without_an_orientation_says_so():
    cube = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0]).double()] * 3)
    assert float(canonical_orientation(cube).clearness) < 1e-6
    assert float(canonical_orientation(cube * torch.tensor([3.0, 2, 1])).clearness) < 1e-6  # symmetric: no direction


def test_refused():
    x = cloud()
    with pytest.raises(ValueError, match="group without an element"):
        symmetry_check(hydrogen, [], x)
    with pytest.raises(ValueError, match="Try other inputs"):
        symmetry_check(lambda x: x / 0, [lambda x: x], x)
    with pytest.raises(ValueError, match="It must stay"):
        symmetry_check(lambda x: x, [lambda x: x[:1]], x)
    with pytest.raises(ValueError, match="with N above d"):
        canonical_orientation(torch.zeros(3, 3))
    with pytest.raises(ValueError, match="Invalid weights"):
        canonical_orientation(x, -torch.ones(30))
    with pytest.raises(ValueError, match="in 1 dimensions"):
        random_rotations(3, 1)
