"""Which statuses go on to another method, and how its answer is put among the others."""

from dataclasses import dataclass, replace

import torch

from physgen.inversions.escalation import CODES, code, curable, escalate, evenly
from physgen.noise import GaussianNoise
from physgen.priors import Independent, Normal
from physgen.problem import Problem
from physgen.result import Result
from physgen.status import Status

PROBLEM = Problem(lambda x, shift: x + shift[..., None], Independent(a=Normal(0, 1)), GaussianNoise(1.0))


@dataclass(frozen=True)
class Fixed:
    """Gives every observation the same status, and draws that tell its number and its condition."""

    status: int
    seen: list
    chains: int = 2

    def __call__(self, problem, y, *, conditions=None, seed=0, index=None, progress=False):
        self.seen.append((index.tolist(), conditions["shift"].tolist()))
        own = index.double() + 100 * conditions["shift"]
        return Result(
            own.expand(self.chains, 6, -1)[..., None].clone(),
            torch.full_like(index, self.status),
            {"ess": own.clone(), "latent_mean": own[:, None].clone()},
            problem.prior.causes,
            y,
        )


def blank(status):
    b = len(status)
    return {
        "samples": torch.full((b, 1, 4, 1), torch.nan),
        "status": torch.tensor(status),
        "answered_by": torch.ones(b, dtype=torch.int64),
        "ess": torch.zeros(b),
        "k_hat": torch.zeros(b),
        "rounds": torch.ones(b, dtype=torch.int64),
    }


def test_each_method_sees_what_is_left_under_its_own_conditions():
    shift = torch.tensor([0.0, 1.0, 2.0])
    posterior = PROBLEM.condition(torch.zeros(3, 1), shift=shift)
    first, second, third = Fixed(Status.CHAINS_DISAGREE, []), Fixed(Status.TRUSTED, []), Fixed(Status.TRUSTED, [])
    before = blank([Status.HEAVY_TAILS, Status.TRUSTED, Status.NOT_CONVERGED])
    out = escalate(posterior, torch.tensor([7, 8, 9]), before, [first, second, third], seed=0)
    assert first.seen == second.seen == [([7, 9], [0.0, 2.0])]
    assert third.seen == []
    assert out["status"].tolist() == [0, 0, 0]
    assert out["ess"].tolist() == [4.0, 0.0, 4.0]  # it cannot exceed the number of draws that are kept
    assert out["samples"][:, 0, 0, 0].nan_to_num(-1).tolist() == [7.0, -1.0, 209.0]
    assert out["answered_by"].tolist() == [0, 1, 0]  # a method that no table names
    # what the method does not know is blank, the others' is kept
    assert out["k_hat"].nan_to_num(-1).tolist() == [-1.0, 0.0, -1.0]
    assert out["rounds"].tolist() == [0, 1, 0]
    assert before["status"].tolist() == [Status.HEAVY_TAILS, 0, Status.NOT_CONVERGED]


def test_the_last_has_the_last_word():
    posterior = PROBLEM.condition(torch.zeros(1, 1), shift=0.0)
    last = Fixed(Status.CHAINS_TOO_SHORT, [])
    out = escalate(posterior, torch.tensor([3]), blank([Status.HEAVY_TAILS]), [last], seed=0)
    assert out["status"].tolist() == [Status.CHAINS_TOO_SHORT]


def test_only_what_another_method_may_cure_goes_on():
    final = {"TRUSTED", "MODEL_UNDEFINED", "INFEASIBLE", "NO_DATA", "OUT_OF_RANGE", "INTERRUPTED"}
    every = list(Status)
    found = curable(torch.tensor([int(s) for s in every])).tolist()
    assert {s.name for s, yes in zip(every, found, strict=True) if not yes} == final


def test_draws_are_spread_evenly_over_chains():
    samples = torch.arange(24.0).reshape(4, 6, 1, 1)
    picked = evenly(samples, 1, 8).flatten()
    assert picked.tolist() == [1.0, 4.0, 7.0, 10.0, 13.0, 16.0, 19.0, 22.0]
    assert evenly(samples, 4, 6)[0, :, :, 0].tolist() == samples[..., 0, 0].tolist()
    assert evenly(samples, 1, 48).flatten().unique().numel() == 24


def test_codes_are_distinct():
    assert len(set(CODES.values())) == len(CODES)
    assert code(replace(Fixed(0, []), chains=1)) == 0
