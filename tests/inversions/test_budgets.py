"""No method can hang: each has a budget, keeps it, and says by its status when that was too little."""

from dataclasses import fields, replace

import pytest
import torch

import physgen.inversions as inversions
from physgen.inversions.suggestion import NEEDS
from physgen.noise import GaussianNoise
from physgen.priors import Gaussian, SmoothField
from physgen.problem import Problem
from physgen.status import Status

CURVED = Problem(
    lambda x: torch.cat([x[..., 1:] - 2 * x[..., :1] ** 2, x.sum(-1, keepdim=True)], -1),
    Gaussian(torch.zeros(2), torch.eye(2)),
    GaussianNoise(0.05),
)
Y = torch.tensor([0.5, 1.5])
FIELD = Problem(torch.exp, SmoothField([0.0, 1.0, 2.0, 3.0]), GaussianNoise(0.05))
SHORT = {"draws": 8, "warm_up": 20}

BUDGETS = {  # name -> settings that are its budget, far too small; others that are small; statuses that say so
    "OptimalEstimation": (
        {"iterations": 1, "restarts": 0, "round_draws": (20,)},
        {"candidates": 1},
        {"NOT_CONVERGED", "FEW_EFFECTIVE_DRAWS", "HEAVY_TAILS", "ROUNDS_DISAGREE"},
    ),
    "NestedLaplace": (
        {"iterations": 1, "anneal": 0, "proposals": 20},
        {"nodes": 1.1, "depth": 2.0},
        {"NOT_CONVERGED", "FEW_EFFECTIVE_DRAWS", "HEAVY_TAILS"},
    ),
    "Hamiltonian": ({"max_steps": 8, "max_leaps": 1}, SHORT, {"CHAINS_TOO_SHORT", "CHAINS_DISAGREE"}),
    "NUTS": ({"max_steps": 8, "max_depth": 1}, SHORT, {"CHAINS_TOO_SHORT", "CHAINS_DISAGREE"}),
    "Microcanonical": ({"max_steps": 8, "max_leaps": 1}, SHORT, {"CHAINS_TOO_SHORT", "CHAINS_DISAGREE"}),
    "Variational": (
        {"rounds": 1, "newton_steps": 1, "max_steps": 1, "restarts": 0},
        {"correct": False},
        {"NOT_CONVERGED"},
    ),
    "SliceSampler": ({"max_evaluations": 1}, SHORT, {"CHAINS_TOO_SHORT", "CHAINS_DISAGREE"}),
    "TemperedSMC": ({"max_steps": 2, "max_moves": 1}, {"draws": 8, "particles": 40}, {"NOT_CONVERGED"}),
    "Ensemble": (
        {"max_steps": 40, "burn_in": 8},
        {"draws": 8, "walkers": 16},
        {"CHAINS_TOO_SHORT", "CHAINS_DISAGREE"},
    ),
    "Pathfinder": (
        {"round_draws": (20,), "paths": 1, "candidates": 1},
        {"draws": 50},
        {"FEW_EFFECTIVE_DRAWS", "HEAVY_TAILS", "ROUNDS_DISAGREE"},
    ),
    "Grid": ({"passes": 2, "points": 9}, {}, {"GRID_TOO_COARSE"}),
    "LookupTable": ({"size": 200}, {}, {"APPROXIMATE"}),
    "Amortised": (
        {"simulations": 200, "epochs": 1, "escalation": ()},
        {"draws": 50, "width": 8, "batch": 100},
        {"HEAVY_TAILS", "FEW_EFFECTIVE_DRAWS"},
    ),
    "GuidedDiffusion": ({"steps": 2, "products": 1}, {}, {"APPROXIMATE"}),
}
WITHOUT_A_DENOISER = [name for name in BUDGETS if name != "GuidedDiffusion"]  # which is approximate whatever it does


def test_every_method_has_a_budget():
    assert set(BUDGETS) == set(NEEDS)
    for name, (budget, others, _) in BUDGETS.items():
        known = {f.name for f in fields(getattr(inversions, name))}
        assert set(budget) | set(others) <= known, name


@pytest.mark.parametrize("name", WITHOUT_A_DENOISER)
def test_a_budget_that_is_too_small_is_said(name):
    budget, others, said = BUDGETS[name]
    problem, y = (FIELD, torch.tensor([0.2, 3.0, 0.1, 2.0])) if name == "NestedLaplace" else (CURVED, Y)
    result = getattr(inversions, name)(**budget, **others)(problem, y, seed=3)
    assert Status(int(result.status)).name in said
    assert bool(torch.isfinite(result.samples).all())


STEPS = {"Hamiltonian": "warm_up", "NUTS": "warm_up", "Microcanonical": "warm_up", "Ensemble": None}


@pytest.mark.parametrize("name", STEPS)
def test_no_more_steps_than_the_budget_where_the_chains_are_never_good(name):
    budget, others, _ = BUDGETS[name]
    method = getattr(inversions, name)(**budget | {"max_steps": 100}, **others, accept_rhat=1 + 1e-12)
    steps = int(method(CURVED, Y).stats["steps"])
    assert 50 <= steps <= 100 + (getattr(method, STEPS[name]) if STEPS[name] else 0)


def test_no_more_evaluations_than_the_budget():
    budget, others, _ = BUDGETS["SliceSampler"]
    method = inversions.SliceSampler(**budget | {"max_evaluations": 20_000}, **others)
    never = replace(method, accept_ess=1e12)
    warmed, spent = (int(m(CURVED, Y).stats["evaluations"]) for m in (replace(method, max_evaluations=1), never))
    assert warmed < spent <= warmed + 20_000
