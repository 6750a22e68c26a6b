"""The verdict on each observation: the order of reasons, the share of false alarms, and each reason where it holds."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from physgen.diagnostics.trust import Trust
from physgen.diagnostics.trust_assessment import Judge, learn_judge
from physgen.diagnostics.trust_verdict import FALSE_ALARMS, Levels, trust_codes
from physgen.status import Status

from .linear import A, exact, problem


def codes(status=Status.TRUSTED, range_p=1.0, predictive_p=1.0, conflict_p=1.0, dominated=False):
    figures = {"range_p": range_p, "predictive_p": predictive_p, "conflict_p": conflict_p}
    tensors = {k: torch.tensor([float(v)]) for k, v in figures.items()}
    levels = Levels.of()
    found = trust_codes(torch.tensor([int(status)]), **tensors, dominated=torch.tensor([dominated]), levels=levels)
    return Trust(int(found))


def test_every_code_has_words_and_advice():
    for code in Trust:
        assert code.words.replace("-", "_").replace(" ", "_") == code.meaning
        assert code.advice.count(". ") == 1
        assert code.advice.endswith(".")
    assert [int(code) for code in Trust] == list(range(6))


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({}, Trust.TRUSTED),
        ({"dominated": True}, Trust.PRIOR_DOMINATED),
        ({"dominated": True, "conflict_p": 1e-4}, Trust.PRIOR_DATA_CONFLICT),
        ({"conflict_p": 1e-4, "status": Status.HEAVY_TAILS}, Trust.NOT_CONVERGED),
        ({"predictive_p": 1e-4, "status": Status.HEAVY_TAILS}, Trust.POOR_FIT),
        ({"predictive_p": 1e-4, "status": Status.MODEL_UNDEFINED}, Trust.NOT_CONVERGED),
        ({"range_p": 1e-4, "predictive_p": 1e-4, "status": Status.NOT_CONVERGED}, Trust.OUTSIDE_THE_MODEL),
        ({"status": Status.OUT_OF_RANGE}, Trust.OUTSIDE_THE_MODEL),
        ({"status": Status.INFEASIBLE}, Trust.PRIOR_DATA_CONFLICT),
        ({"status": Status.NO_DATA}, Trust.NOT_CONVERGED),
        ({"status": Status.APPROXIMATE}, Trust.NOT_CONVERGED),
        ({"range_p": torch.nan, "predictive_p": torch.nan, "conflict_p": torch.nan}, Trust.TRUSTED),
    ],
)
def test_the_gravest_reason_is_given(given, code):
    assert codes(**given) is code


def test_levels_leave_room_for_what_does_not_converge():
    levels = Levels.of()
    assert levels.range_p + levels.predictive_p + levels.conflict_p == pytest.approx(0.8 * FALSE_ALARMS)
    with pytest.raises(ValueError, match=r"Invalid false_alarms 5\. Give a share between 0 and 1"):
        Levels.of(5)


@pytest.fixture(scope="module")
def judge():
    torch.set_default_dtype(torch.float64)
    return learn_judge(problem(), simulations=2000, sensitivity=False)


def test_false_alarms_are_as_few_as_allowed(judge):
    p = problem()
    _, y = p.simulate(2000, seed=1)
    flagged = judge.figures(exact(p, y, draws=20))["trust"] != Trust.TRUSTED
    share = float(flagged.double().mean())
    print(f"false alarms: {100 * share:.1f} %")
    assert 0.015 < share <= 0.05


def test_each_reason_is_found_where_it_holds(judge):
    p = problem()
    _, y = p.simulate(50, seed=2)
    beside = torch.linalg.svd(A).U[:, -1]
    blind = torch.full_like(y, torch.nan)
    blind[:, 6] = y[:, 6]  # says next to nothing of any cause

    def share(y, *reasons):
        found = judge.figures(exact(p, y, draws=20))["trust"]
        return float(torch.isin(found, torch.tensor([int(r) for r in reasons])).double().mean())

    assert share(y + 9 * beside, Trust.OUTSIDE_THE_MODEL, Trust.POOR_FIT) > 0.99
    assert share(y + 9 * A[:, 0], Trust.OUTSIDE_THE_MODEL, Trust.PRIOR_DATA_CONFLICT) > 0.99
    assert share(blind, Trust.PRIOR_DOMINATED) > 0.9
    fitted_only = replace(judge, range=None)
    found = fitted_only.figures(exact(p, y + 9 * beside, draws=20))
    assert float((found["trust"] == Trust.POOR_FIT).double().mean()) > 0.99
    assert torch.isnan(found["range_p"]).all()


def test_the_answer_does_not_depend_on_the_others(judge):
    p = problem()
    _, y = p.simulate(9, seed=3)
    result = exact(p, y, draws=60)
    whole = judge.figures(result)

    def part(cut):
        stats = {k: v[cut] for k, v in result.stats.items()}
        some = replace(result, samples=result.samples[:, :, cut], status=result.status[cut], stats=stats, y=y[cut])
        return judge.figures(some)

    first, second = part(slice(0, 2)), part(slice(2, 9))
    for name, value in whole.items():
        assert torch.allclose(value, torch.cat([first[name], second[name]]), rtol=1e-12, atol=0), name


def test_sensitivities_come_with_it():
    p = problem()
    _, y = p.simulate(6, seed=4)
    judged = Judge(p).judge(exact(p, y, draws=400))
    assert judged.stats["prior_sensitivity"].shape == (6, 3)
    assert "range_p" in judged.stats
    few = Judge(p).judge(exact(p, y, draws=20))
    assert "prior_sensitivity" not in few.stats


def test_a_cause_may_be_asked_for_by_itself():
    p = problem()
    _, y = p.simulate(6, seed=4)
    y[:, 1:] = torch.nan  # the first observable is of the first cause only
    result = exact(p, y, draws=2000)
    verdicts = {c: Judge(p, causes=(c,)).figures(result)["trust"] for c in ("a", "c")}
    assert (verdicts["a"] != Trust.PRIOR_DOMINATED).all()
    assert (verdicts["c"] == Trust.PRIOR_DOMINATED).sum() >= 5  # sensitivities of draws are noisy
    assert (Judge(p).figures(result)["trust"] != Trust.PRIOR_DOMINATED).all()


def test_bad_questions_are_errors():
    p = problem()
    with pytest.raises(ValueError, match=r"Unknown cause 'lai'\. The causes are a, b, c\."):
        learn_judge(p, causes=("lai",))
    with pytest.raises(ValueError, match="Too few simulations: 50"):
        learn_judge(p, simulations=100)
    _, y = p.simulate(3, seed=5)
    with pytest.raises(ValueError, match="Invalid result without draws"):
        Judge(p).judge(replace(exact(p, y), samples=torch.zeros(1, 0, 3, 3)))
