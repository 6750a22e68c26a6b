"""Blocks of rows and row-wise Jacobians."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from physgen.random import normal, single_stream
from physgen.rows import in_blocks, jacobian


@pytest.mark.parametrize("size", [1, 3, 4, 10, 100])
def test_blocks_join_to_the_whole(size: int) -> None:
    rows, scale = normal((10, 3), single_stream(), seed=0), torch.arange(10.0)
    sizes = []

    def function(x, conditions):
        sizes.append(len(x))
        return x * conditions["scale"][:, None], x.sum(-1)

    product, total = in_blocks(function, rows, {"scale": scale}, size)
    assert torch.equal(product, rows * scale[:, None])
    assert torch.equal(total, rows.sum(-1))
    assert max(sizes) <= size
    assert sum(sizes) == 10


def test_no_rows() -> None:
    (out,) = in_blocks(lambda x, c: (x * 2,), torch.zeros(0, 3), {}, 4)
    assert out.shape == (0, 3)


def wave(x: Tensor) -> Tensor:
    return torch.stack([x[:, 0] * torch.sin(x[:, 1]), x[:, 0] ** 2, x[:, 1] - x[:, 2], torch.exp(x[:, 2])], dim=-1)


def slopes_of_wave(x: Tensor) -> Tensor:
    a, b, c = x.unbind(-1)
    zero, one = torch.zeros_like(a), torch.ones_like(a)
    rows = [(b.sin(), a * b.cos(), zero), (2 * a, zero, zero), (zero, one, -one), (zero, zero, c.exp())]
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)


class Square(torch.autograd.Function):
    """Has no forward mode."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        return 2 * ctx.saved_tensors[0] * gradient


def test_jacobian_in_closed_form() -> None:
    x = normal((6, 3), single_stream(), seed=1)
    value, found = jacobian(wave, x)
    torch.testing.assert_close(value, wave(x), rtol=0, atol=0)
    torch.testing.assert_close(found, slopes_of_wave(x), rtol=1e-14, atol=1e-14)


def test_jacobian_without_forward_mode() -> None:
    x = normal((6, 3), single_stream(), seed=1)
    value, found = jacobian(lambda r: Square.apply(wave(r)), x)
    torch.testing.assert_close(value, wave(x) ** 2)
    torch.testing.assert_close(found, 2 * wave(x)[..., None] * slopes_of_wave(x), rtol=1e-13, atol=1e-13)
    assert not value.requires_grad


def test_jacobian_where_an_output_ignores_the_rows() -> None:
    x = normal((4, 2), single_stream(), seed=2)
    _, found = jacobian(lambda r: torch.stack([r.new_ones(len(r)), r[:, 0]], dim=-1), x)
    wanted = torch.tensor([[0.0, 0.0], [1.0, 0.0]]).to(x).expand(4, 2, 2)
    assert torch.equal(found, wanted)


def test_jacobian_inside_no_grad() -> None:
    x = normal((4, 3), single_stream(), seed=3)
    with torch.no_grad():
        for function in (wave, lambda r: Square.apply(r)):
            assert bool(jacobian(function, x)[1].abs().sum() > 0)


def test_an_error_of_the_function_is_not_hidden() -> None:
    def broken(x: Tensor) -> Tensor:
        raise ValueError("my own message")

    with pytest.raises(ValueError, match="my own message"):
        jacobian(broken, torch.ones(2, 2))


class OnceSquare(Square):
    """Cannot be differentiated twice."""

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient: Tensor) -> Tensor:
        return 2 * ctx.saved_tensors[0] * gradient


@pytest.mark.parametrize("square", [torch.square, Square.apply, OnceSquare.apply])
def test_many_outputs_by_columns_and_by_rows_are_the_same(square, monkeypatch: pytest.MonkeyPatch) -> None:
    x, A = normal((7, 2), single_stream(), seed=1), normal((2, 30), single_stream(), seed=2)

    def function(x: Tensor) -> Tensor:
        hidden = (x * 3).detach()  # no derivative passes here, in either way
        return torch.sin(square(x) @ A) + x[:, :1] * hidden[:, 1:]

    angle = (x * x) @ A
    wanted = torch.cos(angle)[..., None] * (2 * x[:, None, :] * A.mT)
    wanted[..., 0] += 3 * x[:, 1:]
    value, columns = jacobian(function, x)
    assert not value.requires_grad
    assert not columns.requires_grad
    assert torch.allclose(columns, wanted)
    monkeypatch.setattr("physgen.rows._MANY", 1e9)
    again, rows = jacobian(function, x)
    assert torch.equal(value, again)
    assert torch.allclose(rows, columns, atol=1e-12)


def test_many_outputs_of_which_some_are_constant() -> None:
    _, found = jacobian(lambda x: torch.cat([x * 0 + 1, x.new_ones(len(x), 20), 2 * x], -1), torch.ones(3, 2))
    assert found.shape == (3, 24, 2)
    assert torch.equal(found[:, 22:], 2 * torch.eye(2).expand(3, 2, 2))
    assert not bool(found[:, :22].any())
