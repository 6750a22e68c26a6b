"""Priors one behind the other: densities add up, interventions go through, and counterfactuals keep what they must."""

import math

import numpy as np
import pytest
import torch

from physgen.priors import Flow, LogNormal, Normal
from physgen.priors.causal_flow import CausalFlow
from physgen.priors.chain import Chain
from physgen.priors.composed import Composed
from physgen.priors.composed_abduction import abduct, can_abduct
from physgen.priors.decoder import Decoder
from physgen.priors.fitting import Training
from physgen.priors.ppca import PPCA
from physgen.priors.storage import load_prior, save_prior
from physgen.priors.where import where
from physgen.rows import jacobian
from physgen.space import Block
from physgen.testing import check_prior

CARD = dict.fromkeys(
    ("title", "learned_from", "units", "range", "intended_use", "not_for", "fit", "licence"), "of a test"
)
FAST = Training(epochs=20, learning_rate=0.01)
GRAPH = {"b": ["a"]}


def table(rows=1000, seed=0):
    """Concepts a -> b, and three features of them: 2 a, exp of b / 2, and neither."""
    rng = np.random.default_rng(seed)
    a = rng.normal(size=rows)
    b = 0.8 * a + 0.6 * rng.normal(size=rows)
    f = np.stack([2 * a, np.exp(0.5 * b), np.zeros(rows)], 1)
    f += 0.1 * rng.normal(size=f.shape) * [1, 0, 1]
    f[:, 1] *= np.exp(0.1 * rng.normal(size=rows))
    return np.stack([a, b], 1), f


CAUSES = ["f0", Block("f1", support=(0, math.inf)), "f2"]


@pytest.fixture(scope="module")
def parts():
    concepts, features = table()
    conditions = {"a": concepts[:, 0], "b": concepts[:, 1]}
    inner = CausalFlow.fit(concepts, GRAPH, causes=["a", "b"], hidden=(8,), training=FAST)
    flow = Flow.fit(features, causes=CAUSES, conditions=conditions, transforms=2, hidden=(16,), training=FAST)
    training = Training(epochs=60, learning_rate=0.01, weight_decay=0.3)
    decoder = Decoder.fit(features, 1, causes=CAUSES, conditions=conditions, hidden=(16,), training=training)
    return inner, flow, decoder


def test_contract(parts):
    inner, flow, decoder = parts
    exact, coded = Composed(inner, flow), Composed(inner, decoder)
    assert exact.capabilities == {"log_prob", "encode", "do"}
    assert coded.capabilities == {"do"}
    check_prior(exact)
    check_prior(coded)
    check_prior(exact.do(a=0.5))


def test_a_condition_that_is_no_cause_stays_one():
    inner = Chain(a=lambda day: Normal(0.01 * day, 1.0))
    outer = Chain(f=lambda a, place: Normal(a + place, 0.5))
    prior = Composed(inner, outer)
    assert prior.takes.required == {"day", "place"}
    check_prior(prior, {"day": 100.0, "place": 2.0})
    x = torch.tensor([0.3, 1.0])
    by_hand = [torch.distributions.Normal(m, s).log_prob(v) for m, s, v in ((1.0, 1.0, x[0]), (2.3, 0.5, x[1]))]
    torch.testing.assert_close(prior.log_prob(x, day=100.0, place=2.0), sum(by_hand))


def test_outside_the_support_of_a_concept_the_density_vanishes():
    prior = Composed(Chain(a=LogNormal(1, 0.5)), Chain(f=lambda a: LogNormal(a, 0.5)))
    assert torch.isneginf(prior.log_prob(torch.tensor([-1.0, 1.0])))
    assert torch.isneginf(prior.log_prob(torch.tensor([1.0, -1.0])))


def test_density_is_that_of_the_concepts_times_that_of_the_features(parts):
    inner, flow, _ = parts
    prior = Composed(inner, flow)
    x = prior.sample(50, seed=1)
    c, f = x[:, :2], x[:, 2:]
    expected = inner.log_prob(c) + flow.log_prob(f, a=c[:, 0], b=c[:, 1])
    torch.testing.assert_close(prior.log_prob(x), expected, rtol=1e-12, atol=1e-12)


def test_forbidden_entries_of_the_jacobian_are_exactly_zero(parts):
    """Concepts do not depend on the features' latents, nor a on the noise of b."""
    inner, flow, decoder = parts
    for outer in (flow, decoder):
        prior = Composed(inner, outer)
        z = torch.randn(20, prior.latent_dim, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        _, dx = jacobian(prior.decode, z)
        assert bool((dx[:, :2, 2:] == 0).all())
        assert bool((dx[:, 0, 1] == 0).all())
        assert bool((dx[:, 1, 0] != 0).all())


def test_features_follow_an_intervention(parts):
    """do(b) moves exp(b / 2) and not 2 a, where naive conditioning on b moves both."""
    inner, _, decoder = parts
    prior = Composed(inner, decoder)
    before, after = (p.sample(2000, seed=3) for p in (prior, prior.do(b=1.5)))
    assert (after[:, 1] == 1.5).all()
    assert torch.equal(after[:, 0], before[:, 0])
    assert float(after[:, 3].median()) == pytest.approx(math.exp(0.75), rel=0.1)
    near = before[(before[:, 1] - 1.5).abs() < 0.2]
    moved, naive = (float(x[:, 2].mean() - before[:, 2].mean()) for x in (after, near))
    print(f"do(b = 1.5) moves 2 a by {moved:.3f} (truth 0), conditioning on b by {naive:.3f} (truth 2.4)")
    assert abs(moved) < 0.15 < 1.5 < naive


def test_counterfactuals_are_exact(parts):
    """With nothing set, what was observed; with b set, a stays to the bit, and f1 moves by exp((b' - b) / 2)."""
    concepts, features = (torch.from_numpy(t) for t in table(300, seed=5))
    x = torch.cat([concepts, features], 1)
    for outer in parts[1:]:
        prior = Composed(parts[0], outer)
        torch.testing.assert_close(prior.counterfactual(x, {}), x, rtol=1e-8, atol=1e-8)
        moved = prior.counterfactual(x, {"b": 0.5})
        torch.testing.assert_close(moved[:, 0], x[:, 0], rtol=1e-9, atol=1e-9)
        middle = (x[:, 1].abs() < 1.5) & (x[:, 0].abs() < 1.5)
        expected = x[middle, 3] * torch.exp(0.5 * (0.5 - x[middle, 1]))
        error = (moved[middle, 3].log() - expected.log()).square().mean().sqrt()
        change = (expected.log() - x[middle, 3].log()).square().mean().sqrt()
        assert float(error) < 0.3 * float(change)


def test_abduction_draws_the_code(parts):
    prior = Composed(parts[0], parts[2])
    x = torch.cat([torch.from_numpy(t) for t in table(20, seed=6)], 1)
    one, two = prior.abduct(x, seed=1), prior.abduct(x, seed=2)
    assert torch.equal(one, prior.abduct(x, seed=1))
    assert bool((one[:, 2:] != two[:, 2:]).all())
    for z in (one, two):
        torch.testing.assert_close(prior.decode(z), x, rtol=1e-9, atol=1e-9)
    assert not can_abduct(parts[0].do(a=1.0))
    with pytest.raises(TypeError, match="CausalFlow has no 'encode' and no code"):
        abduct(parts[0].do(a=1.0), x[:, :2], seed=0)


def test_stored_prior_returns(parts, tmp_path):
    for prior in (Composed(*parts[:2]), Composed(parts[0], parts[2]).do(a=0.3)):
        again = load_prior(save_prior(prior, tmp_path / "p", CARD))
        assert torch.equal(again.sample(20, seed=1), prior.sample(20, seed=1))
        assert again.intervened == prior.intervened


def test_a_part_that_no_file_holds_is_asked_for(parts, tmp_path):
    concepts, _ = table()
    outer = Flow.fit(concepts[:, 1:], conditions={"a": concepts[:, 0]}, transforms=1, training=Training(epochs=2))
    inner = Chain(a=Normal(0, 1))
    path = save_prior(Composed(inner, outer), tmp_path / "p", CARD)
    with pytest.raises(ValueError, match=r"needs 'inner' \(it was physgen.priors.chain:Chain\), which no file holds"):
        load_prior(path)
    with pytest.raises(ValueError, match="Unknown part 'other'"):
        load_prior(path, parts={"inner": inner, "other": 1})
    again = load_prior(path, parts={"inner": inner})
    assert torch.equal(again.sample(5, seed=1), Composed(inner, outer).sample(5, seed=1))


def test_unusable_parts_are_refused(parts):
    inner, flow, _ = parts
    with pytest.raises(TypeError, match="Invalid inner part of type str"):
        Composed("a", flow)
    with pytest.raises(ValueError, match="takes none of a, b; its conditions are none"):
        Composed(inner, PPCA.fit(table()[1], 1))
    with pytest.raises(TypeError, match="outer prior with a log_factor"):
        Composed(inner, where(flow, lambda x: x[..., 0] > 0))
    with pytest.raises(ValueError, match="The feature 'f0' cannot be set: Flow has no 'do'"):
        Composed(inner, flow).do(f0=1.0)
    with pytest.raises(ValueError, match="Unknown name 'z'"):
        Composed(inner, flow).do(z=1.0)
    with pytest.raises(ValueError, match="5 latents: 2 of the inner prior and 3 of the outer one"):
        Composed(inner, flow).decode(torch.zeros(4))
    with pytest.raises(TypeError, match="Composed has no 'log_prob'"):
        Composed(inner, flow).do(a=1.0).log_prob(torch.zeros(5))
