"""Boxes and convex polyhedra."""

import math

import pytest
import torch

from physgen.forward_models.stereology.polyhedra import box, convex_polyhedron

F64 = torch.float64


def test_boxes_have_their_measures():
    sides = torch.tensor([[1.0, 1, 1], [1, 2, 3]], dtype=F64)
    boxes = box(sides)
    torch.testing.assert_close(boxes.volume, sides.prod(-1))
    torch.testing.assert_close(boxes.surface, torch.tensor([6.0, 22], dtype=F64))
    torch.testing.assert_close(boxes.mean_caliper(), sides.sum(-1) / 2)
    torch.testing.assert_close(boxes.diameter, sides.norm(dim=-1))
    assert boxes.edges.shape == (12, 2)


def test_octahedron_and_a_point_inside():
    corners = torch.cat([torch.eye(3, dtype=F64), -torch.eye(3, dtype=F64), torch.full((1, 3), 0.1, dtype=F64)])
    body = convex_polyhedron(corners)
    assert float(body.volume) == pytest.approx(4 / 3)
    assert float(body.surface) == pytest.approx(4 * math.sqrt(3))
    assert float(body.mean_caliper()) == pytest.approx(12 * math.sqrt(2) * math.acos(1 / 3) / (4 * math.pi))
    assert body.edges.shape == (12, 2)


def test_measures_are_differentiable():
    sides = torch.tensor([1.0, 2, 3], dtype=F64, requires_grad=True)
    (by_volume,) = torch.autograd.grad(box(sides).volume, sides)
    torch.testing.assert_close(by_volume, torch.tensor([6.0, 3, 2], dtype=F64))
    (by_surface,) = torch.autograd.grad(box(sides).surface, sides)
    torch.testing.assert_close(by_surface, torch.tensor([10.0, 8, 6], dtype=F64))


@pytest.mark.parametrize("sides", [[1.0, 1], [1.0, -1, 1], [1.0, math.inf, 1]])
def test_unusable_sides_are_refused(sides):
    with pytest.raises(ValueError, match="Invalid sides"):
        box(torch.tensor(sides))


def test_points_without_a_volume_are_refused():
    with pytest.raises(ValueError, match="span no volume"):
        convex_polyhedron(torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0], [2, 1, 0]]))
    with pytest.raises(ValueError, match="Invalid points of shape"):
        convex_polyhedron(torch.zeros(5, 2))
