"""The Turing test: exact p-values, and a sheet that gives nothing away."""

import numpy as np
import pytest
import torch
from scipy.stats import binom, kstest

from physgen.diagnostics.turing import score_answers, turing_sheet


def test_sixty_of_a_hundred():
    score = score_answers(60, 100)
    assert round(score.p_value, 3) == 0.028
    assert score.low == pytest.approx(0.4972, abs=1e-4)  # Clopper and Pearson's table
    assert score.high == pytest.approx(0.6967, abs=1e-4)
    assert score_answers(0, 10).p_value == 1
    assert score_answers(10, 10).p_value == pytest.approx(2**-10)


def test_the_sheet_holds_what_its_key_says():
    real, generated = torch.arange(100.0), -torch.arange(1.0, 121.0)
    sheet = turing_sheet(real, generated, items=80, seed=3)
    assert sheet.samples.shape == sheet.generated.shape == (80,)
    assert torch.equal(sheet.samples < 0, sheet.generated)
    assert len(sheet.samples.unique()) == 80
    assert sheet.evaluate(sheet.generated).p_value == pytest.approx(2.0**-80)
    assert not torch.equal(sheet.generated, turing_sheet(real, generated, items=80, seed=4).generated)


def test_answers_by_any_rule_are_binomial():
    real = generated = torch.zeros(40, 1)
    said = torch.zeros(40)  # always "real", which fixed numbers of each kind would always score alike
    right = [turing_sheet(real, generated, seed=s).evaluate(said).right for s in range(200)]
    spread = np.random.default_rng(0).uniform(size=200)
    # a randomised p-value of a discrete variable is uniform
    p = binom.sf(right, 40, 0.5) + spread * binom.pmf(right, 40, 0.5)
    assert kstest(p, "uniform").pvalue > 0.01


def test_unanswered_items_do_not_count():
    sheet = turing_sheet(torch.zeros(10, 3, 3), torch.ones(10, 3, 3))
    answers = sheet.generated.double()
    answers[:4] = torch.nan
    assert sheet.evaluate(answers)[:2] == (6, 6)
    assert sheet.evaluate((~sheet.generated).tolist()).right == 0


def test_refused():
    sheet = turing_sheet(torch.zeros(10), torch.ones(10))
    for answers, message in (([1] * 9, "Give 10, in order"), ([2] * 10, "Each must be 1")):
        with pytest.raises(ValueError, match=message):
            sheet.evaluate(answers)
    with pytest.raises(ValueError, match=r"Invalid score 0 of 0\."):
        sheet.evaluate([float("nan")] * 10)
    with pytest.raises(ValueError, match="Samples must be alike"):
        turing_sheet(torch.zeros(10, 2), torch.zeros(10, 3))
    with pytest.raises(ValueError, match=r"Too few samples: 10 real and 9 generated\. Give 10 of each"):
        turing_sheet(torch.zeros(10), torch.zeros(9), items=10)
    with pytest.raises(ValueError, match="NaN"):
        turing_sheet(torch.zeros(10), torch.full((10,), torch.nan))
