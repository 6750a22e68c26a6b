"""A damped pendulum of which only the frictionless one is known: how far beyond the samples does each model hold?

Pendulums of unknown frequency, friction and first angle are seen for 3 s, and predicted for 12 s. Five priors learn
from the first 3 s of 300 of them, and infer each new pendulum from its first 3 s:

- physics and network: the frictionless equation with a learned correction inside, regularised so that the equation
  explains what it can (Takeishi & Kalousis 2021, *NeurIPS* 34; the data are of their kind, their forcing left out);
- without regularisers: the same model, learned by reconstruction and Kullback-Leibler divergence alone;
- physics only: the frictionless equation;
- network in Newton's law: an unknown acceleration, released from rest; it knows half of the physics;
- network only: an unknown curve of time.

Here the correction helps, and the regularisers change nothing that three seeds could tell: friction is small, and the
frictionless equation with its frequency is the easiest explanation by itself.

Run: python examples/damped_pendulum.py [damped_pendulum.png [seeds]]     (some 80 s on one free core for each seed)
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import torch
from torch import Tensor

from physgen.priors import Independent, Objective, Prior, Training, Uniform
from physgen.priors.discrepancy import Correction, Discrepancy
from physgen.priors.physics import REGULARISED, Physics
from physgen.random import normal, single_stream, uniform

STEP, SUBSTEPS = 0.25, 2  # s between records; steps of the models between two
SEEN, ALL = 12, 48  # records
FREQUENCY, ANGLE, FRICTION, NOISE = (0.785, 3.14), (-1.57, 1.57), 0.2, 0.01
COLOURS = {"physics and network": "#0072b2", "without regularisers": "#56b4e9", "physics only": "#d55e00"}
COLOURS |= {"network in Newton's law": "#009e73", "network only": "#cc79a7"}
PLAIN = {"reconstruction": 1.0, "kl": 1.0}
LONGER = {"network only": 3}  # times the epochs: the first hundred it learns nothing, not having anything to begin with

Acceleration = Callable[[Tensor], Tensor]


def solve(acceleration: Acceleration, angle: Tensor, records: int, substeps: int = SUBSTEPS) -> Tensor:
    """Angles ``(R, records)`` from rest at `angle` ``(R,)``, by the velocity Verlet method.

    The acceleration ``(R,)`` is one of states ``(R, 2)``: angle and angular velocity.
    """
    h, velocity, path = STEP / substeps, torch.zeros_like(angle), [angle]
    a = acceleration(torch.stack([angle, velocity], -1))
    for i in range((records - 1) * substeps):
        half = velocity + h / 2 * a
        angle = angle + h * half
        a = acceleration(torch.stack([angle, half + h / 2 * a], -1))
        velocity = half + h / 2 * a
        if (i + 1) % substeps == 0:
            path.append(angle)
    return torch.stack(path, -1)


@dataclass(frozen=True)
class Pendulum:
    """The known map: frictionless, theta = (frequency in rad/s, first angle in rad)."""

    records: int = SEEN

    def __call__(self, theta: Tensor, correction: Correction) -> Tensor:
        frequency, angle = theta.unbind(-1)
        return solve(lambda y: -(frequency**2) * y[..., 0].sin() + correction(y)[..., 0], angle, self.records)


@dataclass(frozen=True)
class AnyAcceleration:
    """Newton's law with an unknown force, theta = (first angle)."""

    records: int = SEEN

    def __call__(self, theta: Tensor, correction: Correction) -> Tensor:
        return solve(lambda y: correction(y)[..., 0], theta[..., 0], self.records)


@dataclass(frozen=True)
class AnyCurve:
    """An unknown function of time, theta = (first angle)."""

    records: int = SEEN

    def __call__(self, theta: Tensor, correction: Correction) -> Tensor:
        t = 2 * torch.arange(self.records).to(theta) / (SEEN - 1) - 1
        inputs = torch.broadcast_tensors(t, theta[..., :1])
        return correction(torch.stack(inputs, -1))[..., 0]


def pendulums(count: int, records: int, seed: int, friction: float = FRICTION) -> tuple[Tensor, Tensor, Tensor]:
    """Angles ``(N, records)`` without noise, frequencies and frictions ``(N,)``, solved with steps of 2.5 ms."""
    u = uniform((3, count), single_stream(), seed=seed)
    frequency = FREQUENCY[0] + (FREQUENCY[1] - FREQUENCY[0]) * u[0]
    xi, angle = friction * u[1], ANGLE[0] + (ANGLE[1] - ANGLE[0]) * u[2]
    x = solve(lambda y: -(frequency**2) * y[..., 0].sin() - xi * y[..., 1], angle, records, 100)
    return x, frequency, xi


def measured(x: Tensor, seed: int) -> Tensor:
    """With the error of measurement."""
    return x + NOISE * normal(tuple(x.shape), single_stream(), seed=seed, stage=1)


def models() -> dict[str, tuple[type, Prior, Discrepancy | None, Objective | None]]:
    """Known map, prior of its parameters, correction and objective of each model."""
    both = Independent(frequency=Uniform(*FREQUENCY), angle=Uniform(*ANGLE))
    angle = Independent(angle=Uniform(*ANGLE))
    return {
        "physics and network": (Pendulum, both, Discrepancy(2, code=1), Objective(REGULARISED)),
        "without regularisers": (Pendulum, both, Discrepancy(2, code=1), Objective(PLAIN)),
        "physics only": (Pendulum, both, None, None),
        "network in Newton's law": (AnyAcceleration, angle, Discrepancy(2, code=2), Objective()),
        "network only": (AnyCurve, angle, Discrepancy(2, code=3), Objective()),
    }


def fit(name: str, x: Tensor, *, epochs: int = 200, seed: int = 0) -> Physics:
    """One of the models, learned from the first records of some pendulums."""
    known, parameters, discrepancy, objective = models()[name]
    epochs *= LONGER.get(name, 1)
    training = Training(epochs=epochs, batch=75, learning_rate=6e-3, patience=epochs)  # a standstill is not the end
    settings = {"noise": "common", "scale": "common", "objective": objective, "training": training, "seed": seed}
    return Physics.fit(x, known(x.shape[1]), parameters, discrepancy, **settings)


def predict(name: str, prior: Physics, seen: Tensor, records: int) -> Tensor:
    """Angles ``(N, records)`` of pendulums of which the first ones were seen."""
    code, _ = prior.code(seen)
    return prior.predict(code, physics=models()[name][0](records))


def compare(seed: int) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    """Fit, predict and print the errors: predictions of every model, the truth and what is seen of it."""
    x = measured(pendulums(300, SEEN, seed=4 * seed + 1)[0], seed=4 * seed + 2)
    truth, frequency, _ = pendulums(300, ALL, seed=4 * seed + 3)
    seen, made = measured(truth[:, :SEEN], seed=4 * seed + 4), {}
    for name in models():
        prior = fit(name, x, seed=seed)
        made[name] = predict(name, prior, seen, ALL)
        error, found = (made[name] - truth).abs(), ""
        if "frequency" in prior.parameters.causes:
            found = f", frequency {(prior.theta(seen)[:, 0] - frequency).abs().mean():.3f} rad/s"
        words = f"{error[:, :SEEN].mean():.3f} within 3 s, {error[:, SEEN:].mean():.3f} beyond{found}"
        print(f"seed {seed}: {name:24s} mean error {words}", flush=True)
    return made, truth, seen


def main() -> None:
    """Compare, once for every seed, and save the picture of the first."""
    out = Path(sys.argv[1] if len(sys.argv) > 1 else "damped_pendulum.png")
    for seed in range(int(sys.argv[2]) if len(sys.argv) > 2 else 1):
        made, truth, seen = compare(seed)
        if not seed:
            draw(truth, seen, made, out)
    print(out)


def draw(truth: Tensor, seen: Tensor, made: dict[str, Tensor], out: Path) -> None:
    """Two pendulums with every prediction, and the mean error over time."""
    t = STEP * torch.arange(ALL)
    figure, axes = plt.subplots(1, 3, figsize=(13, 3.4))
    for column, i in enumerate((3, 8)):
        axes[column].plot(t, truth[i], color="black", linewidth=2.5, alpha=0.35, label="truth")
        axes[column].plot(t[:SEEN], seen[i], ".", color="black", label="seen")
        axes[column].set(ylabel="angle (rad)", ylim=(-2.2, 2.2))
    for name, values in made.items():
        for column, i in enumerate((3, 8)):
            axes[column].plot(t, values[i], color=COLOURS[name], linewidth=1.2, label=name)
        axes[2].plot(t, (values - truth).abs().mean(0), color=COLOURS[name], linewidth=1.5, label=name)
    axes[2].set(ylabel="mean absolute error (rad)", ylim=(0, 1))
    for a in axes:
        a.axvspan(0, STEP * (SEEN - 1), color="0.93", zorder=0)
        a.set(xlabel="time (s)", xlim=(0, float(t[-1])))
        a.spines[["top", "right"]].set_visible(False)
    axes[2].legend(frameon=False, fontsize=8, loc="upper left")
    figure.tight_layout()
    figure.savefig(out, dpi=90)


if __name__ == "__main__":
    main()
