"""The example of single-cell counts, which is a user's plug-in: short, calibrated, and not told apart."""

import importlib.util
from pathlib import Path

import pytest
import torch

from physgen.inversions import OptimalEstimation

EXAMPLE = Path(__file__).parents[3] / "examples" / "single_cell_counts.py"


@pytest.fixture(scope="module")
def example():
    spec = importlib.util.spec_from_file_location("single_cell_counts", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_it_is_short():
    assert len(EXAMPLE.read_text().splitlines()) < 80


@pytest.mark.slow
def test_generated_profiles_pass_and_intervals_cover(example):
    problem = example.learned_problem()
    apart = example.profiles_apart(problem)
    truth, own = example.cells(400, seed=8), example.circumstances(400, seed=8)
    y = problem.noise.sample(example.caught(truth, **own), seed=8)
    result = OptimalEstimation()(problem, y, conditions=own, seed=1)
    good = result.trusted
    rank = (result.draws[:, good] < truth[good]).double().mean(0)
    coverage = float(((rank > 0.05) & (rank < 0.95)).double().mean())
    print(f"C2ST {apart:.3f}, trusted {float(good.double().mean()):.3f}, coverage {coverage:.3f}")
    assert apart < 0.6
    assert float(good.double().mean()) > 0.95
    # cells are independent, genes of a cell are not: the error is between that of 400 and of 4,800 intervals
    assert abs(coverage - 0.9) < 4 * (0.9 * 0.1 / 400) ** 0.5
    assert bool(torch.isfinite(result.draws[:, good]).all())
