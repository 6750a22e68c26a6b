"""Sparse decoders: the simulation of Moran et al. (2022), with two factors behind seven features."""

import math

import numpy as np
import pytest
import torch

from physgen.diagnostics.dci import dci
from physgen.diagnostics.matching import match_codes
from physgen.priors.decoder import Decoder
from physgen.priors.fitting import Training
from physgen.priors.objectives import Objective
from physgen.priors.sparse_mask import MaskedNetwork, SpikeSlab
from physgen.priors.sparse_path import sparsest_path
from physgen.testing import check_prior

SUPPORT = np.array([[1, 0], [1, 0], [1, 0], [0, 1], [0, 1], [0, 1], [1, 1]], bool)
TRAINING = Training(epochs=400, batch=250, learning_rate=0.01)
SETTINGS = {"hidden": (32, 32), "training": TRAINING}


def simulation(seed, rows=1000, noise=0.5):
    """Three features of the first factor, three of the second and one of both."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(rows, 2))
    a, b = z.T
    x = np.stack([a, 2 * a, 3 * a**2, 4 * b, 5 * b, 6 * np.sin(b), 7 * a * b], 1)
    return x + noise * rng.normal(size=x.shape), z


def errors(decoder, x, z):
    """Wrong elements of the mask, its columns matched with the factors; columns besides those must be empty."""
    code = decoder.code(torch.from_numpy(x))[0]
    match = match_codes(code, torch.from_numpy(z)).code
    found = (decoder.mask != 0).numpy()
    others = np.delete(found, match.numpy(), axis=1)
    return int((found[:, match.numpy()] != SUPPORT).sum() + others.sum())


@pytest.fixture(scope="module")
def learned():
    x, z = simulation(0)
    fast = {"hidden": (24,), "training": Training(epochs=200, batch=250, learning_rate=0.02)}
    return Decoder.fit(x, 4, sparse=SpikeSlab(), seed=0, **fast), x, z


def test_support_is_recovered_and_surplus_codes_are_switched_off(learned):
    decoder, x, z = learned
    print(f"\nmask\n{decoder.mask.numpy().round(2)}")
    assert errors(decoder, x, z) == 0


def test_a_cause_does_not_see_a_code_whose_mask_is_zero(learned):
    decoder, *_ = learned
    z = torch.zeros(decoder.latent_dim)
    jacobian = torch.autograd.functional.jacobian(decoder.decode, z)[:, : decoder.code_dim]
    assert ((jacobian != 0) <= (decoder.mask != 0)).all()
    assert (jacobian[:3] != 0).any()


@pytest.mark.slow
def test_support_and_disentanglement_of_five_seeds():
    """The acceptance: the support of every seed, and a median DCI above that of the plain autoencoder."""
    scores, wrong = {"sparse": [], "plain": []}, []
    for seed in range(5):
        x, z = simulation(seed)
        for name, sparse in (("sparse", SpikeSlab()), ("plain", None)):
            decoder = Decoder.fit(x, 2, sparse=sparse, seed=seed, **SETTINGS)
            code = decoder.code(torch.from_numpy(x))[0]
            scores[name].append(float(dci(code, torch.from_numpy(z)).disentanglement))
            if sparse:
                wrong.append(errors(decoder, x, z))
    for name, values in scores.items():
        print(f"\n{name:>7} DCI median {np.median(values):.3f} of {np.round(values, 3)}", end="")
    print(f"\nwrong elements of 14: {wrong}")
    assert np.median(wrong) == 0
    assert np.median(scores["sparse"]) > np.median(scores["plain"])


@pytest.mark.slow
def test_path_picks_the_sparsest_that_predicts_as_well():
    x, z = simulation(1)
    path = sparsest_path(x, 4, seed=1, **SETTINGS)
    print(f"\n{path}")
    assert errors(path.best, x, z) == 0
    best = path.log_likelihood.argmax()
    limit = path.log_likelihood[best] - path.standard_error[best]
    assert path.log_likelihood[path.chosen] >= limit
    assert all(
        path.elements[i] >= path.elements[path.chosen]
        for i in range(len(path.penalties))
        if path.log_likelihood[i] >= limit
    )
    assert path.elements[0] > path.elements[path.chosen]


def test_choice_of_the_path():
    from physgen.priors.sparse_path import _chosen

    mean = torch.tensor([-1.0, -1.1, -1.15, -3.0, -1.12])
    assert _chosen(mean, torch.full((5,), 0.2), torch.tensor([9, 7, 4, 2, 4])) == 4
    assert _chosen(mean, torch.full((5,), 0.05), torch.tensor([9, 7, 4, 2, 4])) == 0


def test_penalty_is_minus_the_log_prior():
    prior = SpikeSlab(7.0, 0.5)
    network = MaskedNetwork(3, 2, 0, (4,), prior, seed=0)
    rng = np.random.default_rng(0)
    w, eta = rng.normal(size=(3, 2)), np.array([0.3, 0.8])
    with torch.no_grad():
        network.mask.copy_(torch.from_numpy(w))
        network.logit.copy_(torch.from_numpy(np.log(eta / (1 - eta))))
    spike, slab = 3.5 * np.exp(-7 * abs(w)), 0.25 * np.exp(-0.5 * abs(w))
    density = eta * slab + (1 - eta) * spike
    expected = -np.log(density).sum() - 2 * np.log(1 - eta).sum()  # Beta(1, 3), up to its constant
    assert float(network.penalty().detach()) == pytest.approx(expected, rel=1e-5)
    np.testing.assert_allclose(network.inclusion().detach(), eta * slab / density, rtol=1e-4)
    network.prune()
    assert ((network.mask == 0).numpy() == (eta * slab / density < 0.5)).all()


@pytest.mark.parametrize("hidden", [(), (6,), (6, 5)])
def test_masked_network_is_one_network_seen_through_each_mask(hidden):
    network = MaskedNetwork(3, 2, 1, hidden, SpikeSlab(), seed=0).double()
    with torch.no_grad():
        network.mask.copy_(torch.tensor([[1.0, 0.0], [0.5, 2.0], [0.0, -1.0]]))
    code, context = torch.randn(3, 4, generator=torch.Generator().manual_seed(0)).split([2, 1])
    whole = network(code, context)
    for j, row in enumerate(network.mask.detach().clone()):
        again = MaskedNetwork(3, 2, 1, hidden, SpikeSlab(), seed=0).double()
        with torch.no_grad():
            again.mask.fill_(1.0)
        torch.testing.assert_close(again(row[:, None] * code, context)[j], whole[j])


def test_contract():
    x, _ = simulation(2, rows=200)
    settings = {"hidden": (6,), "sparse": SpikeSlab(), "training": Training(epochs=3)}
    check_prior(Decoder.fit(x, 2, **settings))
    check_prior(Decoder.fit(x, 2, conditions={"day": np.linspace(0, 9, 200)}, **settings), {"day": 3.0})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SpikeSlab(1.0, 2.0), "They must be 0 < slab < spike"),
        (lambda: SpikeSlab(math.inf, 2.0), "They must be 0 < slab < spike"),
        (lambda: sparsest_path(simulation(0)[0], 2, penalties=()), "No penalty to fit with"),
        (lambda: sparsest_path(simulation(0)[0], 2, held_out=0.9), "Invalid held_out 0.9"),
        (
            lambda: Decoder.fit(simulation(0)[0], 2, sparse=SpikeSlab(), objective=Objective()),
            "The objective does not use `sparse`",
        ),
        (
            lambda: Decoder.fit(simulation(0)[0], 2, objective=Objective({"reconstruction": 1, "spike_slab": 1})),
            "The term 'spike_slab' needs `sparse`",
        ),
    ],
)
def test_unusable_input_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
