"""Traversals, and their pictures."""

import pytest
import torch
from matplotlib.figure import Figure

from physgen.diagnostics.traversal import mosaic, traverse
from physgen.diagnostics.traversal_picture import draw_traversal
from physgen.priors import Gaussian


def test_one_latent_moves_and_the_others_stay():
    w = torch.tensor([[1.0, 0.0, 2.0], [0.0, 3.0, 0.0]]).double()
    z = torch.tensor([0.5, -1.0]).double()
    found = traverse(lambda z: z @ w, z, span=(-1, 1), steps=3)
    assert found.shape == (2, 3, 3)
    for i in range(2):
        for step, value in enumerate((-1.0, 0.0, 1.0)):
            moved = z.clone()
            moved[i] = value
            torch.testing.assert_close(found[i, step], moved @ w)
    assert torch.equal(traverse(lambda z: z @ w, z, latents=[1], span=(-1, 1), steps=3)[0], found[1])


def test_of_a_prior():
    prior = Gaussian(torch.zeros(2).double(), torch.diag(torch.tensor([4.0, 9.0]).double()))
    found = traverse(prior.decode, torch.zeros(2).double(), steps=5)
    torch.testing.assert_close(found[1, :, 1], 3 * torch.linspace(-2, 2, 5).double())
    assert found[1, :, 0].abs().max() == 0


def test_mosaic():
    images = torch.arange(2 * 3 * 2 * 2.0).reshape(2, 3, 2, 2)
    whole = mosaic(images)
    assert whole.shape == (5, 8)
    assert torch.equal(whole[3:, 6:], images[1, 2])
    assert bool(torch.isnan(whole[2]).all())
    assert torch.equal(mosaic(images, gap=0)[:2, 2:4], images[0, 1])


def test_pictures():
    causes = torch.arange(2 * 5 * 3.0).reshape(2, 5, 3)
    figure = Figure()
    draw_traversal(figure, causes, names=["a", "b", "c"])
    assert len(figure.axes) == 6
    line = figure.axes[2].lines[0]  # cause 1 over latent 0
    assert line.get_xdata().tolist() == [-2, -1, 0, 1, 2]
    assert line.get_ydata().tolist() == causes[0, :, 1].tolist()
    assert figure.axes[2].get_ylabel() == "b"
    pictures = Figure()
    draw_traversal(pictures, torch.rand(2, 5, 12, generator=torch.Generator().manual_seed(0)), image=(3, 4))
    assert pictures.axes[0].images[0].get_array().shape == (7, 24)


def test_refused():
    z = torch.zeros(2)
    with pytest.raises(ValueError, match=r"Unknown latent \[2\]\. Choose from 0 to 1"):
        traverse(lambda z: z, z, latents=[2])
    with pytest.raises(ValueError, match="Give one finite vector"):
        traverse(lambda z: z, torch.zeros(3, 2))
    with pytest.raises(ValueError, match="Invalid span"):
        traverse(lambda z: z, z, span=(1, 1))
    with pytest.raises(ValueError, match="Invalid images"):
        mosaic(torch.zeros(3, 3))
    with pytest.raises(ValueError, match="Invalid names: 1 for 3"):
        draw_traversal(Figure(), torch.zeros(1, 2, 3), names=["a"])
    with pytest.raises(ValueError, match="2 x 2 pixels"):
        draw_traversal(Figure(), torch.zeros(1, 2, 3), image=(2, 2))
