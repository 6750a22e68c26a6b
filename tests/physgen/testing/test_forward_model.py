"""`check_forward_model`: silent on models that are right, and naming each fault of models that are wrong."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from physgen.black_box import blackbox
from physgen.random import normal, single_stream
from physgen.space import Block, Space
from physgen.testing import check_forward_model
from physgen.testing.derivatives import central_differences, disagreement, steps

X = torch.tensor([[0.3, 0.5], [0.7, 0.2], [1.1, 0.9]])
MU = (0.3, 0.6, 0.9)


def layer(x: Tensor) -> Tensor:
    return x[..., 1:] * torch.exp(-x[..., :1] / x.new_tensor(MU))


def tilted(x: Tensor, sun: Tensor, view: Tensor | None = None) -> Tensor:
    return layer(x) * torch.cos(torch.deg2rad(sun))[..., None]


class Declared(torch.nn.Module):
    causes = Space(Block("depth", "1", (0, 5)), Block("albedo", "1", (0, 1)))
    conditions = Space(Block("sun", "degree", (0, 90)))
    observables = Space("red", "green", "blue")

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor(MU, dtype=torch.float32))

    def forward(self, x: Tensor, sun: Tensor) -> Tensor:
        return x[..., 1:] * torch.exp(-x[..., :1] / self.weight) * torch.cos(torch.deg2rad(sun))[..., None]


class OwnJacobian:
    def __init__(self, factor: float) -> None:
        self.factor = factor

    def __call__(self, x: Tensor) -> Tensor:
        return x**2

    def jacobian(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x**2, torch.diag_embed(self.factor * x)


@pytest.mark.parametrize(
    ("model", "settings"),
    [
        (layer, {"x": X}),
        (layer, {"x": X.float()}),
        (layer, {"x": X[0]}),
        (tilted, {"x": X, "conditions": {"sun": 30}}),
        (tilted, {"x": X, "conditions": {"sun": torch.tensor([0.0, 30, 60]), "view": 3.0}}),
        (Declared(), {}),
        (OwnJacobian(2.0), {"x": X}),
        (lambda x: torch.relu(x - 0.4), {"x": X}),
        (blackbox(lambda x: x**2), {"x": X}),
        (blackbox(lambda x, sun: x * sun, batched=False), {"x": X, "conditions": {"sun": 2.0}}),
    ],
)
def test_a_model_that_is_right_passes(model, settings) -> None:
    report = check_forward_model(model, **settings)
    assert "batching equals looping" in report.passed
    assert f"{len(report.passed)} checks passed" in str(report)


class Detached(torch.autograd.Function):
    """A gradient that is wrong by a factor."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x**2

    @staticmethod
    def backward(ctx, g: Tensor) -> Tensor:
        return 2.001 * ctx.saved_tensors[0] * g


class FalselyBlack:
    differentiable = False

    def __init__(self, detach: bool) -> None:
        self.detach = detach

    def __call__(self, x: Tensor) -> Tensor:
        return x.detach() * 2 if self.detach else x * 2


def changes_in_place(x: Tensor) -> Tensor:
    with torch.no_grad():
        x *= 1.01
    return x * 1


STATE = iter(range(10_000))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (lambda x: x.numpy() * 2, "not a tensor"),
        (lambda x: torch.from_numpy(np.exp(x.numpy())), "Can't call numpy"),
        (lambda x: x.sum(-1), "must keep every axis but the last"),
        (lambda x: x > 0.5, "dtype torch.bool"),
        (lambda x: x[:, :1] * 2, "A single row"),
        (lambda x: x - x.mean(0), "Every row must be answered by itself"),
        (lambda x: x / x.norm(), "One row at a time and all rows together differ"),
        (lambda x: x * 2 + next(STATE), "gave another prediction the second time"),
        (changes_in_place, "changed in place"),
        (lambda x: torch.log(x - 0.25), "not finite in 2 of 7 rows, first at cause 0 0.7, cause 1 0.2"),
        (lambda x: x.double() * 2, "float64 came from causes of torch.float32"),
        (lambda x: x.float() * 2, "float32 came from causes of torch.float64"),
        (lambda x: torch.exp(300 * x) * 1e-100, "In float32"),
        (lambda x: x.detach() * 2, "carries no gradient"),
        (lambda x: x + x.detach() ** 2, "The gradient with respect to cause 0 is"),
        (lambda x: torch.cat([x[..., :1], x[..., 1:].detach() ** 2], -1), "The gradient with respect to cause 1 is 0"),
        (lambda x: Detached.apply(x), "central differences give"),
        (lambda x: torch.where(x > 0.5, torch.sqrt(x.clamp(min=0.5) - 0.5), 0 * x), "is not finite at"),
        (OwnJacobian(2.01), "where central differences give"),
        (FalselyBlack(True), "does not refuse a gradient"),
        (FalselyBlack(False), "but has a gradient"),
        (blackbox(lambda x: x[:1]), "returned the shape"),
    ],
)
def test_each_fault_of_a_model_is_named(model, message: str, findings) -> None:
    assert message in findings(check_forward_model, model, x=X)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (lambda x, sun: x * sun, "must match the size"),
        (lambda x, sun: x * sun[:, None], "A single row"),
        (lambda x, sun: x * sun.mean(), "Every row must be answered by itself"),
        (lambda x, sun: x * sun.reshape(-1)[0], "Every row must be answered by itself"),
        (lambda x, sun: x * sun.reshape(*x.shape[:-1], 1), "Conditions (R,) under draws"),
    ],
)
def test_each_fault_with_a_condition_is_named(model, message: str, findings) -> None:
    assert message in findings(check_forward_model, model, x=X, conditions={"sun": 30.0})


def test_sizes_that_do_not_fit_the_declared_spaces_are_named(findings) -> None:
    class Short(Declared):
        observables = Space("red", "green")

    assert "declares 2 observables where the last axis holds 3" in findings(check_forward_model, Short())


def test_every_finding_is_listed_at_once(findings) -> None:
    text = findings(check_forward_model, lambda x: (x - x.mean(0)).float(), x=X)
    assert "answered by itself" in text
    assert "came from causes of" in text


def test_what_the_check_itself_needs_is_asked_for() -> None:
    with pytest.raises(ValueError, match="No causes to check"):
        check_forward_model(layer)
    with pytest.raises(ValueError, match="Missing condition 'sun'"):
        check_forward_model(tilted, X)
    with pytest.raises(ValueError, match="Did you mean 'sun'"):
        check_forward_model(tilted, X, conditions={"sum": 3, "sun": 3})


def test_central_differences_of_a_known_function() -> None:
    x = normal((6, 2), single_stream(), seed=0)
    found, error = central_differences(lambda r: torch.stack([r[:, 0].sin(), r.prod(-1).exp()], -1), x, steps(x))
    a, b = x.unbind(-1)
    product = (a * b).exp()
    zero = torch.zeros_like(a)
    wanted = torch.stack([torch.stack([a.cos(), zero], -1), torch.stack([b * product, a * product], -1)], -2)
    torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-9)
    assert not bool(disagreement(wanted, found, error, 1e-9).any())
    assert bool(disagreement(wanted * (1 + 1e-5), found, error, 1e-6).any())


def test_steps_stay_inside_the_support() -> None:
    x = torch.tensor([[1e-9], [0.5], [1 - 1e-9]])
    step = steps(x, torch.zeros(1), torch.ones(1))
    assert bool(((x - 2 * step > 0) & (x + 2 * step < 1) & (step > 0)).all())
