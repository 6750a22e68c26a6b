"""Scores, PIT values, z-scores and the local classifier test: against closed forms and definitions."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from physgen.diagnostics.contraction import contraction, posterior_z_score, z_score
from physgen.diagnostics.known_replications import FAULTS, Fault, known_replications
from physgen.diagnostics.local_c2st import local_c2st, local_c2st_at
from physgen.diagnostics.pit import pit, pit_uniformity, smooth_components
from physgen.diagnostics.replications import Replications
from physgen.diagnostics.scores import candidate_scores, crps, energy_score, scores


def normal_pairs(n: int, S: int, k: int = 1, sd: float = 1.0) -> Replications:
    g = torch.Generator().manual_seed(0)
    draws = sd * torch.randn(S, n, k, generator=g)
    return Replications(torch.linspace(-2, 2, n * k).reshape(n, k), draws, tuple("abc"[:k]), prior_sd=torch.ones(k))


def test_crps_of_a_normal() -> None:
    """Gneiting & Raftery (2007), section 4.2: sigma (z (2 Phi(z) - 1) + 2 phi(z) - 1 / sqrt(pi))."""
    found = normal_pairs(5, 40_000, sd=0.7)
    z = found.truth[:, 0] / 0.7
    normal = torch.distributions.Normal(0.0, 1.0)
    wanted = 0.7 * (z * (2 * normal.cdf(z) - 1) + 2 * normal.log_prob(z).exp() - 1 / math.sqrt(math.pi))
    torch.testing.assert_close(crps(found)[:, 0], wanted, atol=0.01, rtol=0)


def test_energy_score_of_a_normal_in_three_dimensions() -> None:
    """E|X - y| of y = 0 is sqrt(8 / pi), E|X - X'| sqrt(2) times that (chi distribution of 3 degrees of freedom)."""
    g = torch.Generator().manual_seed(1)
    draws = torch.randn(3000, 2, 3, generator=g)
    found = Replications(torch.zeros(2, 3), draws, ("a", "b", "c"), prior_sd=torch.ones(3))
    wanted = math.sqrt(8 / math.pi) * (1 - math.sqrt(2) / 2)
    torch.testing.assert_close(energy_score(found), torch.full((2,), wanted), atol=0.02, rtol=0)


def test_energy_score_of_one_cause_is_its_crps() -> None:
    found = normal_pairs(20, 50)
    torch.testing.assert_close(energy_score(found), crps(found)[:, 0])


@pytest.mark.parametrize("kind", ["crps", "energy"])
def test_the_score_tested_is_the_one_of_the_package(kind: str) -> None:
    """Each draw against all other candidates, one by one, by scoringrules; the check's own is vectorised."""
    found = known_replications("angles", 25, 20, seed=3)
    check = scores(found, kind=kind, times=19)
    everyone = torch.cat([found.truth[None], found.draws])
    score = crps if kind == "crps" else energy_score
    values = []
    for j in range(21):
        others = torch.cat([everyone[:j], everyone[j + 1 :]])
        one = score(Replications(everyone[j], others, found.names, prior_sd=found.prior_sd))
        values.append(one / everyone.std(0) if kind == "crps" else one[:, None])
    wanted = torch.stack(values)
    assert check.figures["truth"] == pytest.approx(wanted[0].mean(0).tolist(), abs=1e-4)
    assert check.figures["draws"] == pytest.approx(wanted[1:].mean((0, 1)).tolist(), abs=1e-4)


def test_candidate_scores_by_hand() -> None:
    x = torch.tensor([0.0, 1.0, 3.0])
    sums = (x[:, None] - x).abs().sum(0)
    # 0 against 1 and 3: mean distance 2, half the mean distance of the two 1
    torch.testing.assert_close(candidate_scores(sums), torch.tensor([2 - 1.0, 1.5 - 1.5, 2.5 - 0.5]))


def test_pit_of_a_known_posterior_is_uniform_and_its_components_normal() -> None:
    found = known_replications("shares", 2000, 99)
    values = pit(found)
    assert float(values.min()) > 0
    assert float(values.max()) < 1
    ordered = values.sort(0).values
    expected = (torch.arange(2000) + 0.5)[:, None] / 2000
    assert float((ordered - expected).abs().max()) < 1.95 / 2000**0.5  # Kolmogorov, 0.1 %
    g = torch.Generator().manual_seed(0)
    components = smooth_components(torch.rand(4000, 50, 1, generator=g))[:, 0]
    torch.testing.assert_close(torch.cov(components.mT), torch.eye(4), atol=0.12, rtol=0)


@pytest.mark.parametrize(
    ("fault", "word"), [("0.8 sd", "too narrow"), ("1.25 sd", "too wide"), ("shift 0.3 sd", "below its draws")]
)
def test_pit_says_in_which_way(fault: str, word: str) -> None:
    found = pit_uniformity(known_replications("sizes", 400, 100, fault=FAULTS[fault], seed=1), times=99)
    assert not found.passed()
    assert word in found.words
    assert sum(found.figures["histogram"]["length"]) == 400


def test_z_score_and_contraction_are_their_definitions() -> None:
    found = known_replications("angles", 200, 100, seed=2)
    assert found.prior_sd is not None
    torch.testing.assert_close(
        posterior_z_score(found), (found.draws.mean(0) - found.truth) / found.draws.std(0), rtol=1e-12, atol=0
    )
    assert float(contraction(found).mean()) == pytest.approx(
        float(1 - (found.draws.var(0) / found.prior_sd.square()).mean()), rel=1e-9
    )
    nothing = known_replications("angles", 200, 400, fault=FAULTS["the prior"])
    assert float(contraction(nothing).mean()) == pytest.approx(0, abs=0.02)


def test_z_score_tells_shift_from_width() -> None:
    shifted = z_score(known_replications("angles", 300, 100, fault=FAULTS["shift 0.3 sd"], seed=3), times=199)
    narrow = z_score(known_replications("angles", 300, 100, fault=FAULTS["0.8 sd"], seed=3), times=199)
    assert "above the truth" in shifted.words
    assert "too narrow" in narrow.words
    assert shifted.figures["mean"] == pytest.approx([0.3] * 3, abs=0.2)
    assert narrow.figures["root_mean_square"] == pytest.approx([1.25] * 3, abs=0.15)


def test_local_test_finds_where() -> None:
    """A posterior that is wrong at one half of the angles: the local p-values are small there."""
    exact = known_replications("angles", 600, 60, seed=4)
    wrong = known_replications("angles", 600, 60, fault=FAULTS["shift 0.3 sd"], seed=4)
    where = exact.conditions["angle"] > math.pi / 2
    half = Replications(
        exact.truth,
        torch.where(where[None, :, None], exact.draws + 3 * (wrong.draws - exact.draws), exact.draws),
        exact.names,
        y=exact.y,
        conditions=exact.conditions,
    )
    found = local_c2st(half, times=199)
    local = torch.tensor(found.figures["local_p_value"])
    assert not found.passed()
    assert float((local[where] <= 0.05).double().mean()) > 0.8
    assert float((local[where] <= 0.05).double().mean()) > float((local[~where] <= 0.05).double().mean()) + 0.2
    assert local_c2st(exact, times=199).passed()


GIVEN = 6  # observations, of which no truth is used


def asked(fault: Fault, n: int, seed: int, times: int = 99) -> torch.Tensor:
    """P-values at given observations, whose draws have the same fault as those of the replications."""
    taught = known_replications("angles", n, 60, fault=fault, seed=seed)
    given = known_replications("angles", GIVEN, 200, fault=fault, seed=1000)  # whatever the seed: other observations
    assert given.y is not None
    return local_c2st_at(taught, given.draws, given.y, conditions=given.conditions, times=times, seed=seed).p_value


@pytest.mark.parametrize("fault", ["0.8 sd", "1.25 sd", "shift 0.3 sd"])
def test_local_test_objects_at_given_observations(fault: str) -> None:
    found = torch.stack([asked(FAULTS[fault], 1000, seed) for seed in range(10)])
    print(fault, "p <= 0.05 in", float((found <= 0.05).double().mean()))
    assert float((found <= 0.05).double().mean()) >= 0.9


def test_local_test_at_given_observations_is_right_about_an_exact_posterior() -> None:
    found = torch.stack([asked(FAULTS["exact"], 300, seed) for seed in range(60)])
    shares = (found <= 0.05).double().mean(0), (found <= 0.5).double().mean(0)
    print("exact: p <= 0.05 in", shares[0].tolist(), "p <= 0.5 in", shares[1].tolist())
    # uniform at each observation: of 60 repetitions, standard errors 2.8 and 6.5 %
    assert bool((shares[0] <= 0.05 + 3 * 0.028).all())
    assert bool(((shares[1] - 0.5).abs() <= 3 * 0.065).all())
    assert 0.02 <= float(shares[0].mean()) <= 0.08


def test_local_test_at_given_observations_tells_where() -> None:
    """Draws are shifted the more, the larger the angle: the statistic at a given observation says how much there."""
    exact = known_replications("angles", 1000, 60, seed=4)
    wrong = known_replications("angles", 1000, 60, fault=FAULTS["shift 0.3 sd"], seed=4)
    size = 4 * (exact.conditions["angle"] / math.pi)[None, :, None] ** 2
    taught = replace(exact, draws=exact.draws + size * (wrong.draws - exact.draws))
    given = known_replications("angles", 400, 100, seed=5)
    assert given.y is not None
    found = local_c2st_at(taught, given.draws, given.y, conditions=given.conditions, times=199)
    angle = given.conditions["angle"] / math.pi
    assert float((found.p_value[angle > 0.8] <= 0.05).double().mean()) > 0.9
    middle = [float(found.statistic[(angle >= low) & (angle < low + 0.2)].median()) for low in (0, 0.2, 0.4, 0.6, 0.8)]
    print("mean square score, from small angles to large:", middle)
    assert middle == sorted(middle)
    assert middle[-1] > 3 * middle[0]


def test_local_test_at_its_own_observations_and_in_any_batch() -> None:
    taught = known_replications("sizes", 200, 60, fault=FAULTS["0.8 sd"], seed=2)
    assert taught.y is not None
    whole = local_c2st_at(taught, taught.draws, taught.y, times=49)
    some = local_c2st_at(taught, taught.draws[:, 7:9], taught.y[7:9], times=49)
    torch.testing.assert_close(some.statistic, whole.statistic[7:9], rtol=1e-10, atol=0)
    assert "Do not rely on the posterior there." in str(whole)
    draws = taught.draws[:, :2].clone()
    draws[:, 0] = torch.nan
    assert local_c2st_at(taught, draws, taught.y[:2], times=9).p_value.isnan().tolist() == [True, False]


def test_bad_input_of_the_local_test_at_given_observations() -> None:
    taught = known_replications("angles", 120, 30)
    assert taught.y is not None
    draws, y, angle = taught.draws[:, :2], taught.y[:2], taught.conditions["angle"][:2]
    with pytest.raises(ValueError, match=r"conditions none, the replications angle. Give the same."):
        local_c2st_at(taught, draws, y)
    with pytest.raises(ValueError, match=r"Invalid condition angle of 3 rows. Give one for each of 2 observations."):
        local_c2st_at(taught, draws, y, conditions={"angle": torch.zeros(3)})
    with pytest.raises(ValueError, match=r"Invalid shapes \(30, 2, 3\) of draws and \(4,\) of observations"):
        local_c2st_at(taught, draws, y[0], conditions={"angle": angle})
    with pytest.raises(ValueError, match=r"Invalid observations with 4 elements, conditions included"):
        local_c2st_at(taught, draws, y[:, :3], conditions={"angle": angle})
    with pytest.raises(ValueError, match=r"Too few draws of the observations: 5. At least 20 are needed."):
        local_c2st_at(taught, draws[:5], y, conditions={"angle": 1.0})
    with pytest.raises(ValueError, match=r"This check needs the observations"):
        local_c2st_at(replace(taught, y=None), draws, y, conditions={"angle": 1.0})


def test_bad_input() -> None:
    found = known_replications("sizes", 60, 30)
    with pytest.raises(ValueError, match=r"Unknown kind of score 'brier'. Choose from crps, energy."):
        scores(found, kind="brier")
    with pytest.raises(ValueError, match=r"Too few replications for the local classifier test: 60 trusted of 60."):
        local_c2st(found)
