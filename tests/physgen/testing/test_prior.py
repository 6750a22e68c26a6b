"""`check_prior`: silent on priors that are right, and naming each fault of priors that are wrong."""

from __future__ import annotations

import math

import pytest
import torch

from physgen.priors import Prior
from physgen.space import Block, Space
from physgen.testing import check_prior


class LogNormals(Prior):
    """x = exp(m + L z), right in everything; subclasses break one thing."""

    causes = Space(Block("a", "1", (0, math.inf)), Block("b", "1", (0, math.inf)))
    latent_dim = 2
    capabilities = frozenset({"encode", "log_prob", "score"})
    lower = ((0.5, 0.0), (0.2, 0.4))

    def decode(self, z, /, height):
        return torch.exp(height[..., None] + z @ z.new_tensor(self.lower).T)

    def encode(self, x, /, height):
        return (x.log() - height[..., None]) @ x.new_tensor(self.lower).inverse().T

    def log_prob(self, x, /, height):
        inside = (x > 0).all(-1)
        x = torch.where(inside[..., None], x, 1)
        z = self.encode(x, height)
        log_det = math.log(0.5 * 0.4) + x.log().sum(-1)
        value = -0.5 * z.square().sum(-1) - math.log(2 * math.pi) - log_det
        return torch.where(inside, value, -torch.inf)

    def score(self, x, /, height):
        z = self.encode(x, height)
        return -(z @ x.new_tensor(self.lower).inverse() + 1) / x


class Fixed(LogNormals):
    """After an intervention."""

    capabilities = frozenset({"do"})

    def __init__(self, **values: float) -> None:
        self.values = values

    def encode(self, x, /, height):
        raise self._lacks("encode")

    def log_prob(self, x, /, height):
        raise self._lacks("log_prob")

    def score(self, x, /, height):
        raise self._lacks("score")

    def do(self, **values):
        return type(self)(**values)

    def decode(self, z, /, height):
        x = super().decode(z, height)
        return torch.stack([x[..., 0] * 0 + self.values.get("a", x[..., 0]), x[..., 1]], -1)


class Above(LogNormals):
    """Weighted: a > 0.5."""

    capabilities = frozenset({"encode", "log_factor", "log_prob"})

    def score(self, x, /, height):
        raise self._lacks("score")

    def log_factor(self, x, /, height):
        return torch.where(x[..., 0] > 0.5, 0.0, -torch.inf).to(x)

    def log_prob(self, x, /, height):
        return super().log_prob(x, height) + self.log_factor(x, height) + 1.7


@pytest.mark.parametrize("make", [LogNormals, Fixed, Above])
def test_a_prior_that_is_right_passes(make) -> None:
    report = check_prior(make(), {"height": 0.3})
    for capability in make.capabilities:
        assert f"capability {capability!r}" in report.passed


def broken(**members) -> Prior:
    return type("Broken", (LogNormals,), members)()


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"causes": Space()}, "has no causes"),
        ({"latent_dim": 2.0}, "must be a positive integer"),
        ({"capabilities": frozenset({"densities"})}, "Unknown capabilities ['densities']"),
        ({"causes": Space("a", "b", "c")}, "decode returned 2 causes and the prior declares 3"),
        ({"causes": Space(Block("a", support=(0, 0.5)), "b")}, "Its declared support is 0 to 0.5"),
        ({"decode": lambda self, z, /, height: torch.exp(z - z.mean(0))}, "answered by itself"),
        ({"decode": lambda self, z, /, height: torch.exp(z.double())}, "came from latents of"),
        ({"encode": lambda self, x, /, height: x.log()}, "decode(encode(x)) and x differ"),
        ({"encode": Prior.encode}, "it raised TypeError"),
        ({"log_prob": lambda self, x, /, height: x.sum(-1) * 0}, "must be -inf outside"),
        (
            {"log_prob": lambda self, x, /, height: LogNormals.log_prob(self, x, height) + 0.001},
            "It must be log N(z) - log |det dx/dz|",
        ),
        ({"log_prob": lambda self, x, /, height: x}, "log_prob returned the shape"),
        ({"score": lambda self, x, /, height: -x}, "score(x) and the gradient of log_prob differ"),
        ({"capabilities": frozenset({"encode", "score"})}, "It answers log_prob and does not state so"),
        ({"capabilities": LogNormals.capabilities | {"do"}}, "Capability 'do': it raised TypeError"),
        ({"sample": lambda self, shape, **kw: torch.rand(2)}, "sample(5) gave (2,)"),
        (
            {"sample": lambda self, shape, **kw: LogNormals.sample(self, shape, **{**kw, "seed": 0})},
            "the same draws for two seeds",
        ),
        (
            {"sample": lambda self, shape, **kw: 1.1 * LogNormals.sample(self, shape, **kw)},
            "Draws of a do not follow the latents",
        ),
    ],
)
def test_each_fault_of_a_prior_is_named(members, message: str, findings) -> None:
    assert message in findings(check_prior, broken(**members), {"height": 0.3})


def test_faults_of_weights_and_interventions_are_named(findings) -> None:
    bold = type("Bold", (Above,), {"log_factor": lambda self, x, /, height: x[..., 0]})
    assert "Its upper bound must be 0" in findings(check_prior, bold(), {"height": 0.3})
    wrong = type("Wrong", (Fixed,), {"do": lambda self, **values: Fixed()})
    assert "An intervention sets the cause" in findings(check_prior, wrong(), {"height": 0.3})
    dense = type("Dense", (Fixed,), {"do": lambda self, **values: LogNormals()})
    assert "A fixed cause has no density" in findings(check_prior, dense(), {"height": 0.3})


def test_no_prior(findings) -> None:
    assert "Derive it from" in findings(check_prior, 3)
