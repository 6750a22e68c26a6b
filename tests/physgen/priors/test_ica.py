"""Independent component analysis on mixtures whose sources are known."""

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment

from physgen.priors.fast_ica import whiten
from physgen.priors.ica import ICA
from physgen.priors.storage import load_prior, save_prior
from physgen.testing import check_prior

CARD = dict.fromkeys(
    ("title", "learned_from", "units", "range", "intended_use", "not_for", "fit", "licence"), "of a test"
)


def mixture(rows=5000, n=5, seed=0):
    """Laplace sources, and what a random matrix mixes of them."""
    rng = np.random.default_rng(seed)
    s = rng.laplace(size=(rows, n))
    return s, 3 + s @ rng.normal(size=(n, n)).T


def matched(s, found):
    """Mean absolute correlation under the best matching."""
    r = np.abs(np.corrcoef(s.T, np.asarray(found).T)[: s.shape[1], s.shape[1] :])
    return r[linear_sum_assignment(-r)].mean()


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_sources_are_found_and_whitening_does_not_find_them(seed):
    s, x = mixture(seed=seed)
    rows = torch.from_numpy(x)
    assert matched(s, ICA.fit(x, seed=seed).sources(rows)) >= 0.999
    mean, to_white, _ = whiten(rows)
    assert matched(s, (rows - mean) @ to_white.mT) <= 0.9


def test_contract():
    check_prior(ICA.fit(mixture(1000, 3)[1], causes=["a", "b", "c"]))


def test_draws_have_the_moments_of_the_samples():
    _, x = mixture()
    draws = ICA.fit(x).sample(20_000, seed=1, dtype=torch.float64).numpy()
    c = np.cov(x.T)
    np.testing.assert_allclose(draws.mean(0), x.mean(0), atol=4 * np.sqrt(np.diag(c).max() / 5000))
    np.testing.assert_allclose(np.cov(draws.T), c, atol=0.1 * np.diag(c).max())


def test_density_beats_the_normal_one():
    """A Laplace source is 0.072 nat from the normal one of its variance."""
    _, both = mixture(9000)
    x, rows = both[:5000], torch.from_numpy(both[5000:])
    normal = torch.distributions.MultivariateNormal(rows.mean(0), torch.cov(rows.mT)).log_prob(rows).mean()
    gain = float(ICA.fit(x).log_prob(rows).mean() - normal)
    assert gain == pytest.approx(5 * (0.5 * np.log(2 * np.pi * np.e) - (1 + 0.5 * np.log(2))), abs=0.1)


def test_stored_prior_returns(tmp_path):
    prior = ICA.fit(mixture(500, 2)[1])
    again = load_prior(save_prior(prior, tmp_path / "ica", CARD))
    assert torch.equal(again.sample(20, seed=1), prior.sample(20, seed=1))


def test_normal_sources_and_dependent_columns_are_refused():
    x = np.random.default_rng(0).normal(size=(400, 2))
    with pytest.raises(ValueError, match="a linear combination of others"):
        ICA.fit(np.stack([x[:, 0], x[:, 1], x[:, 0] + x[:, 1]], 1))
    with pytest.raises(ValueError, match="Too few samples"):
        ICA.fit(x[:50])
