"""Probabilistic principal component analysis, and priors in files."""

import json
import math

import numpy as np
import pytest
import scipy.stats as st
import torch

from physgen.priors.ppca import PPCA
from physgen.priors.storage import CARD, load_prior, prior_card, save_prior, space_from_json, space_to_json
from physgen.space import Block, Coordinate, Space
from physgen.testing import check_prior

CARD_OF_A_TEST = {key: f"{key} of a test" for key in CARD}


def table(rows=400, n=6, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(rows, 3)) @ rng.normal(size=(3, n)) + 0.3 * rng.normal(size=(rows, n)) + np.arange(n)


def covariance(prior):
    u, s = prior.directions, prior.scale
    c = prior.noise * torch.eye(len(s), dtype=s.dtype) + (u * (prior.variance - prior.noise)) @ u.mT
    return (s[:, None] * c * s).numpy()


@pytest.mark.parametrize("scale", [None, "deviation", np.linspace(0.5, 2, 6)])
def test_contract(scale):
    check_prior(PPCA.fit(table(), 3, scale=scale))


@pytest.mark.parametrize("scale", [None, "deviation"])
def test_density_is_that_of_the_normal(scale):
    prior = PPCA.fit(table(), 2, scale=scale)
    x = table(20, seed=4)
    expected = st.multivariate_normal(prior.mean.numpy(), covariance(prior)).logpdf(x)
    np.testing.assert_allclose(prior.log_prob(torch.from_numpy(x)), expected, rtol=1e-12)


def test_maximum_likelihood_in_closed_form():
    # Tipping & Bishop 1999, eq. 3 at the maximum: -N/2 (n ln 2 pi + ln |C| + n), whatever the data
    x = table()
    for k in (1, 3, 5):
        prior = PPCA.fit(x, k)
        eigenvalues = np.sort(np.linalg.eigvalsh(np.cov(x.T, ddof=0)))[::-1]
        noise = eigenvalues[k:].mean()
        log_det = np.log(eigenvalues[:k]).sum() + (6 - k) * math.log(noise)
        expected = -0.5 * (6 * math.log(2 * math.pi) + log_det + 6)
        assert float(prior.log_prob(torch.from_numpy(x)).mean()) == pytest.approx(expected, rel=1e-12)
        assert prior.noise == pytest.approx(noise, rel=1e-12)


def test_likelihood_falls_off_the_maximum():
    x = torch.from_numpy(table())
    best = PPCA.fit(x, 3)
    top = float(best.log_prob(x).mean())
    for noise, variance in ((1.05, 1.0), (0.95, 1.0), (1.0, 1.1), (1.0, 0.9)):
        other = PPCA(best.mean, best.directions, best.variance * variance, best.noise * noise)
        assert float(other.log_prob(x).mean()) < top


def test_digits():
    datasets = pytest.importorskip("sklearn.datasets")
    x = datasets.load_digits().data
    prior = PPCA.fit(x, 8, constant="keep")
    assert float(prior.log_prob(torch.from_numpy(x)).mean()) == pytest.approx(-163.23589, abs=1e-5)


def test_first_latents_are_standardised_principal_components():
    x = table()
    prior = PPCA.fit(x, 3)
    code = prior.encode(torch.from_numpy(x))[:, :3]
    expected = (x - x.mean(0)) @ prior.directions.numpy() / np.sqrt(prior.variance.numpy())
    np.testing.assert_allclose(code, expected, atol=1e-11)
    np.testing.assert_allclose(np.cov(code.numpy().T, ddof=0), np.eye(3), atol=1e-11)


def test_reconstruction_is_the_projection():
    x = torch.from_numpy(table())
    prior = PPCA.fit(x, 3)
    u = prior.directions
    torch.testing.assert_close(prior.reconstruct(x), x.mean(0) + ((x - x.mean(0)) @ u) @ u.mT)


def test_draws_have_mean_and_covariance():
    prior = PPCA.fit(table(), 2, scale="deviation")
    x, c = prior.sample(20_000, seed=1, dtype=torch.float64).numpy(), covariance(prior)
    sd = np.sqrt(np.diag(c))
    assert np.all(np.abs(x.mean(0) - prior.mean.numpy()) < 4 * sd / math.sqrt(len(x)))
    assert np.all(np.abs(np.cov(x.T) - c) < 5 * np.sqrt((c**2 + np.outer(sd**2, sd**2)) / len(x)))


def test_score_vanishes_at_the_mean():
    prior = PPCA.fit(table(), 2)
    torch.testing.assert_close(prior.score(prior.mean), torch.zeros(6, dtype=torch.float64))


def bad_rows():
    x = table()
    x[3, 1] = np.nan
    x[5, 4] = np.inf
    return x


def flat_column():
    x = table()
    x[:, 2] = 7.0
    return x


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PPCA.fit(table(4), 3), "Too few samples: 4 for a code of 3. Give at least 5"),
        (lambda: PPCA.fit(bad_rows(), 2), r"Missing or infinite values of x\[1\], x\[4\]\. "),
        (lambda: PPCA.fit(bad_rows(), 2, causes=list("abcdef")), r"Missing or infinite values of b, e\. "),
        (lambda: PPCA.fit(flat_column(), 2), r"No variation in x\[2\]\. "),
        (lambda: PPCA.fit(flat_column(), 2, scale="deviation", constant="keep"), "no column is constant"),
        (lambda: PPCA.fit(table(), 6), "a whole number from 1 to 5"),
        (lambda: PPCA.fit(table(), 0), "a whole number from 1 to 5"),
        (lambda: PPCA.fit(table(), 2, causes=["a"]), "Invalid causes with 1 elements"),
        (lambda: PPCA.fit(table()[0], 2), r"Give \(samples, causes\)"),
        (lambda: PPCA.fit(table() @ np.diag([1, 1, 1, 1, 1, 1.0])[:, [0, 1, 0, 1, 0, 1]], 2), "leaves no noise"),
        (lambda: PPCA([0.0, 0], [[1.0], [1.0]], [1.0], 0.1), "must be orthonormal"),
        (lambda: PPCA([0.0, 0], [[1.0], [0.0]], [0.05], 0.1), "no variance below the noise"),
        (lambda: PPCA([0.0, 0], [[1.0], [0.0]], [1.0], 0.0), "Both must be positive"),
        (lambda: PPCA([0.0, 0, 0], [[1.0], [0.0]], [1.0], 0.1), "of shapes"),
    ],
)
def test_unusable_input_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_stored_prior_returns(tmp_path):
    labels = {"band": Coordinate("band", ("B1", "B2", "B3", "B4"), "", "band")}
    space = Space(Block("t", "K", (0, 400)), "q", Block("r", shape=(4,), dims=("band",), coordinates=labels))
    prior = PPCA.fit(table(), 2, scale="deviation", causes=space)
    path = save_prior(prior, tmp_path / "learned", CARD_OF_A_TEST)
    for name in (path, tmp_path / "learned", str(tmp_path / "learned.json")):
        again = load_prior(name)
        assert again.causes == prior.causes
        assert torch.equal(again.sample(5, seed=2), prior.sample(5, seed=2))
    assert prior_card(path) == CARD_OF_A_TEST
    assert space_from_json(space_to_json(space)) == space
    assert sorted(p.name for p in tmp_path.iterdir()) == ["learned.json", "learned.safetensors"]


def test_stored_bytes_are_the_same_at_a_rerun(tmp_path):
    prior = PPCA.fit(table(), 2)
    one, two = (save_prior(prior, tmp_path / name, CARD_OF_A_TEST).read_bytes() for name in ("a", "b"))
    assert one == two


def changed(folder, **entries):
    card = json.loads((folder / "p.json").read_text())
    (folder / "p.json").write_text(json.dumps(card | entries))


def flip(folder):
    data = bytearray((folder / "p.safetensors").read_bytes())
    data[-1] ^= 1
    (folder / "p.safetensors").write_bytes(data)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (flip, "are not those of its card. Fetch both files again"),
        (lambda f: changed(f, version=2), r"is of version 2, and this physgen reads up to 1\. Install a newer physgen"),
        (lambda f: changed(f, kind="os.system"), "Unknown kind 'os.system'"),
        (lambda f: changed(f, settings={}), "lack a part"),
        (lambda f: changed(f, format="other"), "is not one of a physgen prior"),
        (lambda f: (f / "p.json").write_text("{"), "is not JSON"),
        (lambda f: (f / "p.json").write_text("{}"), "is not one of a physgen prior"),
        (lambda f: (f / "p.safetensors").unlink(), "Give the path of a stored prior, or the name of a shipped one"),
    ],
)
def test_damaged_files_are_refused(tmp_path, damage, message):
    save_prior(PPCA.fit(table(), 2), tmp_path / "p", CARD_OF_A_TEST)
    damage(tmp_path)
    with pytest.raises(ValueError, match=message):
        load_prior(tmp_path / "p")


def test_card_must_say_everything(tmp_path):
    prior = PPCA.fit(table(), 2)
    with pytest.raises(ValueError, match=r"Invalid card without licence \(of the data"):
        save_prior(prior, tmp_path / "p", {k: v for k, v in CARD_OF_A_TEST.items() if k != "licence"})
    with pytest.raises(TypeError, match="Invalid card or settings"):
        save_prior(prior, tmp_path / "p", CARD_OF_A_TEST | {"fit": {1.0, 2.0}})
    with pytest.raises(TypeError, match=r"cannot be stored\. Those that can are"):
        save_prior(object(), tmp_path / "p", CARD_OF_A_TEST)
    assert list(tmp_path.iterdir()) == []
