"""The small U-Net: its symmetries, where it starts, and what it refuses."""

import pytest
import torch

from physgen.priors.unet import UNet

PHASE = torch.tensor(0.3)


def made(periodic=True, context=0, seed=0):
    """A network with weights in its last layer."""
    network = UNet((16, 8), context, channels=8, periodic=periodic, seed=seed).double()
    network.last.weight.data += 0.1 * torch.randn(1, 8, 3, 3, generator=torch.Generator().manual_seed(1))
    return network


def values(rows=3):
    return torch.randn(128, rows, generator=torch.Generator().manual_seed(2))


def test_starts_as_zero_and_follows_the_seed():
    first = UNet((16, 8), 0, channels=8, periodic=False, seed=1).double()
    assert not bool(first(values(), PHASE, torch.zeros(0, 3)).any())
    again, other = (UNet((16, 8), 0, channels=8, periodic=False, seed=s).double() for s in (1, 2))
    assert torch.equal(first.first.weight, again.first.weight)
    assert not torch.equal(first.first.weight, other.first.weight)


def test_size():
    network = UNet((16, 16), 0, channels=16, periodic=False)
    assert 80_000 < sum(p.numel() for p in network.parameters()) < 120_000


@pytest.mark.parametrize(("periodic", "moves"), [(True, True), (False, False)])
def test_a_periodic_network_moves_with_the_field(periodic, moves):
    """By the pixels of the coarsest grid."""
    network, w, context = made(periodic), values(), torch.zeros(0, 3)

    def moved(columns):
        return columns.mT.reshape(-1, 16, 8).roll((4, -4), (1, 2)).reshape(-1, 128).mT

    one, two = network(moved(w), PHASE, context), moved(network(w, PHASE, context))
    assert bool((one - two).abs().max() < 1e-10) == moves


def test_it_sees_time_conditions_and_the_whole_grid():
    network, w = made(context=1), values(1).requires_grad_()
    out = network(w, PHASE, torch.zeros(1, 1))
    assert not torch.allclose(out, network(w, PHASE + 0.5, torch.zeros(1, 1)))
    assert not torch.allclose(out, network(w, PHASE, torch.ones(1, 1)))
    (slope,) = torch.autograd.grad(out[0, 0], w)
    assert bool((slope != 0).all())


def test_rows_do_not_mix_and_times_may_differ():
    network, w, phase = made(), values(), torch.tensor([0.3, -0.2, 1.0])
    whole = network(w, phase, torch.zeros(0, 3))
    for i in range(3):
        one = network(w[:, i : i + 1], phase[i], torch.zeros(0, 1))
        torch.testing.assert_close(whole[:, i : i + 1], one, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    ("grid", "channels", "message"),
    [
        ((16, 18), 8, r"Invalid grid \(16, 18\) of a U-Net. Both sides must be multiples of 4"),
        ((4, 16), 8, "at least 8"),
        ((16, 16), 6, "Invalid number of channels 6. It must be a multiple of 4"),
    ],
)
def test_unusable_shapes_are_refused(grid, channels, message):
    with pytest.raises(ValueError, match=message):
        UNet(grid, 0, channels=channels, periodic=False)
