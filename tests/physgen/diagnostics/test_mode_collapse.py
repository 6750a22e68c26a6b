"""Mode collapse on mixtures whose lost share is known."""

import numpy as np
import pytest
import torch

from physgen.diagnostics.mode_collapse import chance_coverage, mode_collapse, mode_coverage

CENTRES = torch.from_numpy(np.stack(np.meshgrid(*[2.0 * np.arange(-2, 3)] * 2), -1).reshape(-1, 2))


def grid(n, modes=25, sd=0.05, seed=0):
    """A mixture of the first modes of the grid."""
    rng = np.random.default_rng(seed)
    return CENTRES[torch.from_numpy(rng.integers(modes, size=n))] + sd * torch.from_numpy(rng.normal(size=(n, 2)))


def test_known_modes():
    found = mode_coverage(torch.cat([grid(2000, 10), torch.tensor([[1.0, 1.0]])]), CENTRES, 0.15)
    assert found.hit == 10
    # 3 standard deviations of two dimensions hold 1 - exp(-9 / 2)
    assert found.high_quality == pytest.approx(1 - np.exp(-4.5), abs=0.007)
    assert int(found.counts.sum()) == round(found.high_quality * 2001)
    assert int(found.counts[10:].sum()) == 0


@pytest.mark.parametrize(("real", "generated", "k"), [(300, 300, 3), (400, 200, 5), (150, 600, 2)])
def test_coverage_of_equal_distributions_is_the_closed_form(real, generated, k):
    rng = np.random.default_rng(3)
    draws = torch.from_numpy(rng.normal(size=(40, real + generated, 3)))
    found = [mode_collapse(x[:real], x[real:], neighbours=k, times=1).coverage for x in draws]
    assert np.mean(found) == pytest.approx(chance_coverage(real, generated, k), abs=4 * np.std(found) / 40**0.5)


@pytest.mark.parametrize("modes", [5, 15, 20])
def test_lost_is_the_share_of_the_lost_modes(modes):
    found = mode_collapse(grid(1500, seed=1), grid(1500, modes, seed=2))
    print(f"{25 - modes} of 25 modes lost: {found}")
    assert found.lost == pytest.approx(1 - modes / 25, abs=0.03)
    assert found.collapsed
    assert found.p_value == pytest.approx(1 / 201)


@pytest.mark.parametrize("sd", [0.05, 0.1, 0.15])
def test_good_and_blurred_generators_are_no_collapse(sd):
    found = mode_collapse(grid(1500, seed=1), grid(1500, sd=sd, seed=2))
    print(f"all modes, deviation {sd} for 0.05: {found}")
    assert not found.collapsed
    assert found.lost < 0.02


def test_few_neighbours_also_see_modes_shrunk_to_points():
    shrunk = grid(1500, sd=0.002, seed=2)
    assert mode_collapse(grid(1500, seed=1), shrunk, neighbours=5).lost > 0.3
    assert mode_collapse(grid(1500, seed=1), shrunk).lost < 0.3


def test_samples_away_from_all_modes_are_a_collapse():
    assert mode_collapse(grid(1500, seed=1), grid(1500, seed=2) + 1.0).lost > 0.95


def test_p_value_under_equality():
    p = [mode_collapse(grid(200, seed=s), grid(200, seed=100 + s), times=50, seed=s).p_value for s in range(40)]
    assert 0.35 < np.mean(p) < 0.75  # a little above 1/2, as coverage takes few values
    assert np.mean(np.array(p) <= 0.1) <= 0.25


def test_refused():
    x = grid(50)
    with pytest.raises(ValueError, match="Invalid radius 0"):
        mode_coverage(x, CENTRES, 0.0)
    with pytest.raises(ValueError, match="number of neighbours 50"):
        mode_collapse(x, x, neighbours=50)
    with pytest.raises(ValueError, match="Invalid tolerance 1"):
        mode_collapse(x, x, tolerance=1.0)
    with pytest.raises(ValueError, match="Both need the same columns"):
        mode_coverage(x[:, :1], CENTRES, 1.0)
