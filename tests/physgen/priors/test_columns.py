"""Networks are evaluated on whole tiles, so that a row's bits are its own."""

from __future__ import annotations

import torch

from physgen.priors.columns import _ROWS, _TILE, in_column_blocks, in_tiles


def test_a_function_sees_whole_tiles_and_what_it_returns_is_cut():
    seen = []

    def doubled(x, c):
        seen.append(x.shape)
        return 2 * x + c, x.sum(0)

    x, c = torch.arange(30.0, dtype=torch.float64).reshape(3, 10), torch.ones(1, 10, dtype=torch.float64)
    made, total = in_tiles(doubled, x, c)
    assert seen == [(3, _TILE)]
    assert torch.equal(made, 2 * x + 1)
    assert torch.equal(total, x.sum(0))
    assert in_tiles(doubled, x[:, :0], c[:, :0])[0].shape == (3, 0)
    in_tiles(doubled, x.float(), c.float())
    assert seen[-1] == (3, 10)  # there answers agree to rounding only


def test_products_have_the_same_bits_whatever_their_number():
    g = torch.Generator().manual_seed(1)
    weight, x = (torch.randn(n, 20, dtype=torch.float64, generator=g) for n in (30, 2 * _ROWS + 100))
    columns = x.mT.contiguous()
    made = in_column_blocks(lambda c: torch.nn.functional.silu(weight @ c), columns)
    for cut in (slice(0, 1), slice(7, 12), slice(100, 301), slice(4000, None)):
        own = in_column_blocks(lambda c: torch.nn.functional.silu(weight @ c), columns[:, cut].contiguous())
        assert torch.equal(own, made[:, cut])


def test_a_gradient_passes_through_the_tiles():
    x = torch.linspace(0.1, 1.0, 10, dtype=torch.float64).reshape(1, 10).requires_grad_(True)
    (slope,) = torch.autograd.grad(in_column_blocks(torch.square, x).sum(), x)
    assert torch.equal(slope, 2 * x)
