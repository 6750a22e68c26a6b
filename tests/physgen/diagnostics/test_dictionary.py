"""Dictionaries: planted atoms are found again, dead ones revived."""

import pytest
import torch

from physgen.diagnostics.dictionary import fit_dictionary
from physgen.diagnostics.dictionary_network import SparseAutoencoder
from physgen.diagnostics.dictionary_recovery import atom_cosines
from physgen.priors.fitting import Training


def planted(rows, features, atoms, active, seed=0):
    """Samples of a few atoms each, with noise of 5 % of an atom; the atoms, and the codes."""
    g = torch.Generator().manual_seed(seed)
    directions = torch.randn(atoms, features, generator=g, dtype=torch.float64)
    directions /= directions.norm(dim=1, keepdim=True)
    which = torch.rand(rows, atoms, generator=g).topk(active, 1).indices
    size = 0.5 + torch.rand(rows, active, generator=g, dtype=torch.float64)
    codes = torch.zeros(rows, atoms, dtype=torch.float64).scatter(1, which, size)
    noise = 0.05 / features**0.5 * torch.randn(rows, features, generator=g, dtype=torch.float64)
    return codes @ directions + noise, directions, codes


@pytest.fixture(scope="module")
def small():
    x, atoms, codes = planted(8000, 24, 32, 3)
    training = Training(epochs=15, batch=128, learning_rate=0.01)
    return x, atoms, codes, fit_dictionary(3 + 10 * x, 48, 3, training=training)


def test_planted_atoms_are_found(small):
    _, atoms, _, found = small
    cosines = atom_cosines(found.atoms, atoms)
    assert float((cosines > 0.9).double().mean()) >= 0.9
    assert found.explained > 0.9
    assert 1 - found.explained == pytest.approx(found.report.best, abs=0.02)


def test_codes_are_few_and_not_negative_and_in_the_units_of_the_samples(small):
    x, _, codes, found = small
    made = found.codes(3 + 10 * x)
    assert made.shape == (8000, 48)
    assert bool((made >= 0).all())
    assert int((made > 0).sum(1).max()) <= 3
    assert float(made[made > 0].mean()) == pytest.approx(10 * float(codes[codes > 0].mean()), rel=0.15)
    left = (found.reconstruct(3 + 10 * x) - 3 - 10 * x).square().sum() / (100 * (x - x.mean(0)).square().sum())
    assert 1 - float(left) == pytest.approx(found.explained, abs=1e-4)


def test_usage_counts_the_samples_of_an_atom(small):
    x, _, _, found = small
    made = found.codes(3 + 10 * x)
    torch.testing.assert_close((made > 0).double().mean(0), found.usage)
    assert torch.equal(found.dead, found.usage == 0)


def test_same_seed_same_atoms():
    x, *_ = planted(300, 8, 10, 2)
    one, two, other = (fit_dictionary(x, 10, 2, training=Training(epochs=2), seed=s).atoms for s in (1, 1, 2))
    assert torch.equal(one, two)
    assert not torch.equal(one, other)
    torch.testing.assert_close(one.norm(dim=1), torch.ones(10, dtype=torch.float64), atol=1e-6, rtol=0)


def test_an_atom_is_dead_after_so_many_steps_without_use_and_then_learns_the_error():
    network = SparseAutoencoder(4, 6, 1, 2, 3, seed=0)
    with torch.no_grad():
        network.encoder[5] = 0
        network.encoder[5, 0] = -1.0
    w = torch.rand(20, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float32) + 0.5
    for _ in range(2):
        network.loss(w, learning=True)
    assert float(network.idle[5]) == 2
    plain = network.loss(w, learning=False)
    assert float(network.idle[5]) == 2  # rows held out do not count
    revived = network.loss(w, learning=True)
    dead = int((network.idle >= 3).sum())
    assert dead >= 1
    assert bool((revived >= plain).all())
    assert bool((revived > plain).any())
    revived.mean().backward()
    for i in (network.idle >= 3).nonzero()[:, 0].tolist():
        with_codes = bool((((w - network.bias) @ network.encoder[i]) > 0).any())
        assert (float(network.atoms.grad[i].detach().abs().sum()) > 0) == with_codes


@pytest.mark.slow
def test_planted_overcomplete_dictionary_and_dead_atoms():
    """64 atoms in 32 dimensions, 3 a sample, as many sought as planted: without revival a quarter of them is lost."""
    training = Training(epochs=30, batch=128, learning_rate=0.01)
    for seed in range(2):
        x, atoms, _ = planted(20_000, 32, 64, 3, seed=seed)
        fits = {n: fit_dictionary(x, 64, 3, revived=n, training=training) for n in (6, 0)}
        share = {n: float((atom_cosines(f.atoms, atoms) > 0.9).double().mean()) for n, f in fits.items()}
        dead = {n: int(f.dead.sum()) for n, f in fits.items()}
        print(f"{seed=}: recovered {share[6]:.1%}, {dead[6]} dead; without revival {share[0]:.1%}, {dead[0]} dead")
        assert share[6] >= 0.9
        assert dead[6] < dead[0]


def test_cosines_pair_one_to_one():
    a = torch.tensor([[2.0, 0.0], [0.0, -3.0]])
    torch.testing.assert_close(atom_cosines(a, a.flip(0) / 7), torch.ones(2))
    found = atom_cosines(a, torch.tensor([[1.0, 0], [1, 0], [0, -1]]))
    torch.testing.assert_close(found.sort().values, torch.tensor([-1.0, 1, 1]))
    with pytest.raises(ValueError, match="Invalid atoms of length 0"):
        atom_cosines(a, torch.zeros(1, 2))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda x: fit_dictionary(x, 10, 0), "0 active of 10 atoms"),
        (lambda x: fit_dictionary(x, 10, 11), "11 active of 10 atoms"),
        (lambda x: fit_dictionary(x[:50], 10, 2), "Too few samples"),
        (lambda x: fit_dictionary(x * 0, 10, 2), "all are equal"),
    ],
)
def test_unusable_input_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make(planted(200, 8, 10, 2)[0])


def test_samples_of_another_length_are_refused(small):
    with pytest.raises(ValueError, match="Invalid samples with 3 columns"):
        small[-1].codes(torch.zeros(5, 3))
