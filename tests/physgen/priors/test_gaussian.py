"""The multivariate normal prior against SciPy."""

import math

import numpy as np
import pytest
import scipy.stats as st
import torch

from physgen.priors import Gaussian
from physgen.space import Block, Space

MEAN = np.array([1.0, -2.0, 0.5])
COVARIANCE = np.array([[2.0, 0.6, -0.3], [0.6, 1.0, 0.2], [-0.3, 0.2, 0.5]])


def test_log_prob_is_scipys():
    x = np.random.default_rng(0).normal(size=(5, 3))
    expected = st.multivariate_normal(MEAN, COVARIANCE).logpdf(x)
    np.testing.assert_allclose(Gaussian(MEAN, COVARIANCE).log_prob(torch.from_numpy(x)), expected, rtol=1e-13)


def test_draws_have_the_mean_and_the_covariance():
    x = Gaussian(MEAN, COVARIANCE).sample(20000, seed=1, dtype=torch.float64).numpy()
    n = len(x)
    sd = np.sqrt(np.diag(COVARIANCE))
    assert np.all(np.abs(x.mean(0) - MEAN) < 4 * sd / math.sqrt(n))
    spread = np.sqrt((COVARIANCE**2 + np.outer(sd**2, sd**2)) / n)  # of the elements of a sample covariance (Wishart)
    assert np.all(np.abs(np.cov(x.T) - COVARIANCE) < 4 * spread)


def test_names_and_spaces_name_the_causes():
    assert Gaussian(MEAN, COVARIANCE).causes.names == ("x0", "x1", "x2")
    assert Gaussian(MEAN, COVARIANCE, ["a", "b", "c"]).causes.names == ("a", "b", "c")
    space = Space(Block("t", "K", (0, 400)), Block("q", "1", shape=(2,)))
    causes = Gaussian(MEAN, COVARIANCE, space).causes
    assert causes.block("t").units == "K"
    assert causes.block("t").support == (-math.inf, math.inf)
    assert causes.block("q").shape == (2,)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Gaussian(MEAN, COVARIANCE[:2]), r"Give \(n,\) and \(n, n\)"),
        (lambda: Gaussian(MEAN, COVARIANCE + np.triu(np.ones((3, 3)), 1)), "must be symmetric"),
        (lambda: Gaussian(MEAN, COVARIANCE - 2 * np.eye(3)), "must be positive definite"),
        (lambda: Gaussian(MEAN * np.nan, COVARIANCE), "Every element must be finite"),
        (lambda: Gaussian(MEAN, COVARIANCE, ["a", "b"]), "The mean has 3"),
    ],
)
def test_unusable_moments_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
