"""Independent components by a critic that looks for dependence, of linear and of post-nonlinear mixtures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..conditions import Takes
from ..progress import Progress
from ..space import Block, Space
from .adversarial_correlation import DensityRatio, orders_of, permuted
from .adversarial_ica_network import Unmixing, root
from .adversarial_training import AdversarialReport, AdversarialTraining, Player, train_players
from .fitting import _split
from .ica import ICA, source_splines
from .prior import Prior
from .rational_spline import RationalSpline
from .samples import read_samples
from .storage import storable

_KNOTS = 33
_HELD_OUT = 0.1
_LAST = 1 << 30
# a rotation that turns faster than the critic learns has been measured to end anywhere
_SETTINGS = AdversarialTraining(learning_rate=3e-3, critic_rate=5e-3, critic_steps=3)


@storable("adversarial-ica")
class AdversarialICA(Prior):
    """x_i = h_i(y_i) with y = mean + A s, and independent sources s_i = spline_i(z_i); made by `AdversarialICA.fit`.

    Of a linear mixture h is the identity, and this is `ICA` found in another way. A post-nonlinear mixture is bent
    afterwards, cause by cause: its sources are fixed, up to order, sign and shift, if every cause mixes several of them
    and at most one is normal (Taleb & Jutten 1999). The paper's autoencoder may have any form, and no density; here
    every part can be inverted, so that there is one.

    Parameters
    ----------
    ica : ICA
        Of y.
    bends : sequence of RationalSpline, optional
        The h_i; the identity by default.
    report : AdversarialReport, optional

    Attributes
    ----------
    report : AdversarialReport or None
        With figures of a tenth of the rows, on which neither side learned: "total_correlation", the critic's estimate
        in nats for the sources found so far, and "critic_accuracy", how often it tells them from sources with permuted
        columns. Both are taken before the first epoch (when the critic knows nothing) and after each; a critic that
        ends near 1/2 finds no dependence.

    References
    ----------
    Brakel & Bengio (2017), Learning independent features with adversarial nets for non-linear ICA, arXiv:1710.05050.
    """

    capabilities = frozenset({"log_prob", "encode"})
    takes = Takes()

    def __init__(
        self, ica: ICA, bends: Sequence[RationalSpline] | None = None, report: AdversarialReport | None = None
    ) -> None:
        self.ica, self.bends, self.report = ica, tuple(bends or ()), report
        self.causes, self.latent_dim = ica.causes, ica.latent_dim

    def __repr__(self) -> str:
        return f"AdversarialICA(causes={list(self.causes.names)}, post_nonlinear={bool(self.bends)})"

    @classmethod
    def fit(
        cls,
        table: Any,
        *,
        post_nonlinear: bool = False,
        causes: Space | Sequence[Block | str] | None = None,
        hidden: Sequence[int] = (64, 64),
        training: AdversarialTraining | None = None,
        seed: int = 0,
        progress: Progress = False,
        checkpoint: str | Path | None = None,
    ) -> AdversarialICA:
        """Unmix samples so that a critic cannot tell the sources from sources with permuted columns.

        Parameters
        ----------
        table : array_like (N, n)
            One row a sample, in the units of the causes.
        post_nonlinear : bool
            Whether each cause is an unknown increasing function of its mixture. The functions start from those that
            make the causes normal, as sums of many sources nearly are (Ziehe et al. 2003), and move after the first
            1,000 steps.
        causes : Space or sequence of Block or str, optional
            What the columns are.
        hidden : sequence of int
            Widths of the critic's hidden layers.
        training : AdversarialTraining, optional
            By default with rates of 0.003 and 0.005, and three steps of the critic for one of the unmixing.
        seed : int
            The fit is a function of it.
        progress : bool or callable
        checkpoint : path, optional
            See `train_players`.

        Raises
        ------
        ValueError
            As `ICA.fit`; and if there is one cause only, or the checkpoint is of another fit.
        """
        x, _, space, _ = read_samples(table, causes, None)
        if x.shape[1] < 2:
            raise ValueError("Too few causes: 1. Independence is a matter of at least two.")
        scores = source_splines(x) if post_nonlinear else []
        u = _each(scores, x, RationalSpline.inverse) if post_nonlinear else (x - x.mean(0)) / x.std(0)
        unmixing = Unmixing(x.shape[1], bend=post_nonlinear, seed=seed)
        report = _play(unmixing, u.float(), hidden, training or _SETTINGS, seed, progress, checkpoint)
        bends = _tabulated(unmixing, scores, u) if post_nonlinear else []
        y = _each(bends, x, RationalSpline.inverse) if post_nonlinear else x
        mean = y.mean(0)
        mixing = root((y - mean).mT) @ unmixing.rotation().double().mT
        sources = (y - mean) @ torch.linalg.inv(mixing).mT
        return cls(ICA(mean, mixing, source_splines(sources), space), bends, report)

    def sources(self, x: Tensor) -> Tensor:
        """s ``(*, n)`` of causes ``(*, n)``."""
        self.causes.check(x)
        return self.ica.sources(_each(self.bends, x, RationalSpline.inverse))

    def decode(self, z: Tensor, /, **conditions: Any) -> Tensor:
        return _each(self.bends, self.ica.decode(z), RationalSpline.__call__)

    def encode(self, x: Tensor, /, **conditions: Any) -> Tensor:
        self.causes.check(x)
        return self.ica.encode(_each(self.bends, x, RationalSpline.inverse))

    def log_prob(self, x: Tensor, /, **conditions: Any) -> Tensor:
        self.causes.check(x)
        y = _each(self.bends, x, RationalSpline.inverse)
        slopes = _each(self.bends, y, RationalSpline.slope) if self.bends else torch.ones_like(y)
        return self.ica.log_prob(y) - slopes.log().sum(-1)

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors and plain values that `from_state` makes the same prior of."""
        tensors, settings = self.ica.state()
        for i, f in enumerate(self.bends):
            tensors |= {f"bend.z.{i}": f.z, f"bend.u.{i}": f.u, f"bend.d.{i}": f.d}
        report = self.report.to_json() if self.report else None
        return tensors, settings | {"bends": len(self.bends), "report": report}

    @classmethod
    def from_state(cls, tensors: Mapping[str, Tensor], settings: Mapping[str, Any]) -> AdversarialICA:
        """The prior of `state`."""
        bends = [RationalSpline(*(tensors[f"bend.{part}.{i}"] for part in "zud")) for i in range(settings["bends"])]
        report = settings["report"]
        return cls(ICA.from_state(tensors, settings), bends, AdversarialReport.from_json(report) if report else None)


def _play(
    unmixing: Unmixing,
    u: Tensor,
    hidden: Sequence[int],
    training: AdversarialTraining,
    seed: int,
    progress: Progress,
    checkpoint: str | Path | None,
) -> AdversarialReport:
    """Unmixing against critic, on rows u ``(N, n)``."""
    critic, turns = DensityRatio(u.shape[1], hidden=tuple(hidden), seed=seed), training.critic_steps
    played, tried = _split([u], _HELD_OUT, seed)

    def dependence(rows: Sequence[Tensor], step: int) -> Tensor:
        return critic(unmixing(rows[0].mT.contiguous(), step))

    def detection(rows: Sequence[Tensor], step: int) -> Tensor:
        with torch.no_grad():
            s = unmixing(rows[0].mT.contiguous(), step // turns)
        return critic.loss(s, orders_of(s, seed=seed, step=step))

    def figures() -> Mapping[str, float]:
        with torch.no_grad():
            s = unmixing(tried[0].mT.contiguous(), _LAST)
            joint, apart = critic(s), critic(permuted(s, orders_of(s, seed=seed, step=0)))
        right = float((joint > 0).double().mean() + (apart <= 0).double().mean()) / 2
        return {"total_correlation": float(joint.mean()), "critic_accuracy": right}

    players = Player(unmixing, dependence), Player(critic, detection)
    more: dict[str, Any] = {"figures": figures, "seed": seed, "progress": progress, "checkpoint": checkpoint}
    return train_players(*players, played, training=training, **more)


def _tabulated(unmixing: Unmixing, scores: Sequence[RationalSpline], u: Tensor) -> list[RationalSpline]:
    """The h_i as splines: from y_i through knots at equal steps of the normal scores u ``(N, n)``, to x_i."""
    ends = float(u.abs().amax())
    knots = torch.linspace(-ends, ends, _KNOTS, dtype=torch.float64).expand(len(scores), -1)
    y = unmixing.double().bent(knots)
    x = torch.stack([f(k) for f, k in zip(scores, knots, strict=True)])
    return [RationalSpline.through(np.asarray(a), np.asarray(b)) for a, b in zip(y, x, strict=True)]


def _each(splines: Sequence[RationalSpline], values: Tensor, method: Any) -> Tensor:
    """A method of the splines on the last axis, one spline for each element; the values themselves without splines."""
    if not splines:
        return values
    return torch.stack([method(f, v) for f, v in zip(splines, values.unbind(-1), strict=True)], -1)
