"""Ranks with ties, and the exchange test: right with dependent parts, and with discrete numbers."""

from __future__ import annotations

import torch

from physgen.diagnostics.exchange import candidates, draw_places, exchange_test, ranks


def test_ranks_count_the_smaller_candidates() -> None:
    g = torch.Generator().manual_seed(0)
    values = torch.randn(21, 50, 3, generator=g)
    found = ranks(values)
    smaller = (values[:, None] < values[None]).sum(0)  # how many candidates lie below each
    assert torch.equal(found, smaller)


def test_ties_are_broken_at_random() -> None:
    found = ranks(torch.zeros(5, 4000, 1))[0, :, 0]
    counts = torch.bincount(found, minlength=5)
    assert bool(((counts - 800).abs() < 4 * (4000 * 0.2 * 0.8) ** 0.5).all())
    assert torch.equal(ranks(torch.zeros(5, 40, 1)).sort(0).values[:, :, 0], torch.arange(5)[:, None].expand(5, 40))


def test_infinite_values_have_ranks() -> None:
    values = torch.tensor([0.0, -torch.inf, torch.inf])[:, None, None]
    assert ranks(values).flatten().tolist() == [1, 0, 2]


def test_the_first_data_set_is_the_one_at_hand() -> None:
    place = draw_places(200, 30, 11, seed=3)
    assert bool((place[0] == 0).all())
    assert place.shape == (201, 30)
    assert place[1:].unique().tolist() == list(range(11))


def test_equal_parts_cost_no_power() -> None:
    """Three copies of one part have its p-value: no correction for their number, as Bonferroni's would be."""
    g = torch.Generator().manual_seed(1)
    one = candidates(torch.randn(40, 1, generator=g) + 0.6, torch.randn(30, 40, 1, generator=g))

    def mean(x: torch.Tensor) -> torch.Tensor:
        return x.mean(1).abs()

    alone = exchange_test(one, mean)
    thrice = exchange_test(one.expand(-1, -1, 3), mean)
    assert alone.p_value == thrice.p_value == float(alone.parts[0]) < 0.05


def test_p_values_are_uniform_for_dependent_and_discrete_parts() -> None:
    g = torch.Generator().manual_seed(2)
    values = []
    for seed in range(400):
        x = torch.randn(20, 30, 1, generator=g)
        x = torch.cat([x, x.round(), x + 0.2 * torch.randn(20, 30, 1, generator=g)], -1)
        values.append(exchange_test(x, lambda v: v.mean(1).abs(), times=99, seed=seed).p_value)
    for level in (0.05, 0.2, 0.5):
        share = sum(v <= level for v in values) / len(values)
        assert abs(share - level) < 3.5 * (level * (1 - level) / len(values)) ** 0.5


def test_blocks_do_not_change_the_answer(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    g = torch.Generator().manual_seed(4)
    x = torch.randn(20, 30, 2, generator=g)
    whole = exchange_test(x, lambda v: v.mean(1).abs(), times=99)
    monkeypatch.setattr("physgen.diagnostics.exchange._NUMBERS", 100)
    parts = exchange_test(x, lambda v: v.mean(1).abs(), times=99)
    assert whole.p_value == parts.p_value
    assert torch.equal(whole.parts, parts.parts)
