"""The critic's total correlation against the closed form of a linear-Gaussian encoder, and FactorVAE."""

import numpy as np
import pytest
import torch

from physgen.priors.adversarial_correlation import DensityRatio, orders_of, permuted
from physgen.priors.autoencoder_terms import Step, adversarial_correlation, total_correlation
from physgen.priors.decoder import Decoder
from physgen.priors.fitting import Training, train
from physgen.priors.objectives import Objective, factor_vae
from physgen.priors.vae_network import draw_codes

A = torch.tensor([[1.2, 0.5, 0.0], [1.0, -0.2, 0.3], [0.8, 0.6, 0.5]], dtype=torch.float64)  # code means are A x
SD = torch.tensor([[0.5], [0.6], [0.4]], dtype=torch.float64)


def codes(x, eps):
    """Draws of q(z | x) = N(A x, diag s^2)."""
    return (A @ x.double() + SD * eps.double()).float()


def drawn(rows, seed):
    """Codes of x ~ N(0, I)."""
    return codes(*torch.randn(2, 3, rows, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)))


def exact():
    c = A @ A.mT + torch.diag(SD[:, 0] ** 2)
    return 0.5 * float(c.diagonal().log().sum() - torch.logdet(c))


def trained(x, epochs, seed):
    """A critic of the codes of samples x ``(N, 3)``, which are drawn anew in every step."""
    critic = DensityRatio(3, seed=seed)

    def loss(rows, stage):
        z = codes(rows[0].mT, draw_codes(3, len(rows[0]), seed=seed, stage=stage))
        return critic.loss(z, orders_of(z, seed=seed, step=stage))

    train(critic, loss, [x], training=Training(epochs=epochs, learning_rate=1e-2, batch=500), seed=seed)
    return critic


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.slow), pytest.param(3, marks=pytest.mark.slow)])
def test_closed_form(seed):
    x = torch.randn(30_000, 3, generator=torch.Generator().manual_seed(seed))
    critic, z = trained(x, 15, seed), drawn(200_000, 7)
    found = float(critic(z).mean())
    print(f"total correlation {found:.4f} nat, closed form {exact():.4f}: {100 * (found / exact() - 1):+.1f} %")
    assert found == pytest.approx(exact(), rel=0.05)
    assert abs(float(critic(permuted(z, orders_of(z, seed=0, step=0))).exp().mean()) - 1) < 0.1  # E of a ratio is 1


def test_gradient_reaches_the_codes_and_not_the_critic():
    critic, z = DensityRatio(3), drawn(50, 1).requires_grad_()
    with torch.no_grad():
        critic.logit.weights[-1].fill_(0.1)
    ratio = critic.held(z)
    torch.testing.assert_close(ratio, critic(z))
    ratio.sum().backward()
    assert float(z.grad.abs().sum()) > 0
    assert all(p.grad is None for p in critic.parameters())
    z.grad = None
    critic.loss(z, orders_of(z, seed=0, step=0)).sum().backward()
    assert z.grad is None
    assert all(p.grad is not None for p in critic.parameters())


def test_permutation_keeps_the_elements_and_not_what_they_know_of_each_other():
    z = drawn(20_000, 3)
    apart = permuted(z, orders_of(z, seed=0, step=0))
    assert torch.equal(apart.sort(1).values, z.sort(1).values)
    off = torch.corrcoef(apart) - torch.eye(3)
    assert float(off.abs().max()) < 0.03


def table():
    """Two correlated factors seen through five functions."""
    rng = np.random.default_rng(0)
    code = rng.normal(size=(1600, 2)) @ np.array([[1.0, 0.7], [0.0, 0.7]])
    return np.concatenate([code, np.sin(code), code[:, :1] * code[:, 1:]], 1) + 0.2 * rng.normal(size=(1600, 5))


def measured(prior):
    """Total correlation by the stratified estimator, which knows no critic."""
    x = torch.from_numpy(table())
    w, c, _ = prior.frame.spread(x, {})
    eps = torch.randn(2, len(x), dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return float(total_correlation(prior._casts(x).step(prior.frame.encode(w, c)[0], c, eps, samples=len(x))))


def test_term_takes_the_total_correlation_out():
    loose = {"reconstruction": 1.0, "kl": 0.1}
    settings = {"hidden": (16,), "training": Training(epochs=30, batch=250, learning_rate=0.01, patience=30), "seed": 1}
    goals = Objective(loose), Objective(loose | {"adversarial_correlation": 5.0})
    plain, factor = (measured(Decoder.fit(table(), 2, objective=goal, **settings)) for goal in goals)
    print(f"total correlation: without the term {plain:.3f}, with it {factor:.3f} nat")
    assert factor < 0.3 * plain
    assert factor_vae(7.0).weights == {"reconstruction": 1.0, "kl": 1.0, "adversarial_correlation": 7.0}


def test_resumes_to_the_bit(tmp_path):
    def stop(done, total):
        if done >= 2:
            raise KeyboardInterrupt

    settings = {"hidden": (8,), "objective": factor_vae(), "training": Training(epochs=4), "seed": 2}
    whole, path = Decoder.fit(table(), 2, **settings), tmp_path / "fit.safetensors"
    with pytest.raises(KeyboardInterrupt):
        Decoder.fit(table(), 2, checkpoint=path, progress=stop, **settings)
    resumed = Decoder.fit(table(), 2, checkpoint=path, **settings)
    assert resumed.report.held_out == whole.report.held_out
    assert torch.equal(resumed.sample(5, seed=1), whole.sample(5, seed=1))


def test_term_without_a_critic_is_refused():
    z = drawn(20, 0)
    with pytest.raises(ValueError, match=r"needs a critic\. Only the fit of a decoder brings one"):
        adversarial_correlation(Step(z[0], z, z, z, 20))
