"""Independent component analysis: a linear mixture of independent sources, each with a learned distribution."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ..conditions import Takes
from ..space import Block, Space
from .empirical import Empirical
from .fast_ica import rotation, whiten
from .gaussian import _unbounded
from .prior import Prior
from .rational_spline import RationalSpline
from .samples import read_samples
from .standard_normal import log_density
from .storage import space_from_json, space_to_json, storable


@storable("ica")
class ICA(Prior):
    """x = mean + A s with independent sources s_i = spline_i(z_i), made by `ICA.fit`.

    Where at most one source is normal, the sources are those that mixed the samples, up to order and sign (Comon 1994);
    their variance is 1.

    Parameters
    ----------
    mean : Tensor (n,)
        In the units of the causes.
    mixing : Tensor (n, n)
        A.
    splines : sequence of RationalSpline
        One for each source.
    causes : Space
        Supports are dropped: a mixture takes every value.

    References
    ----------
    Hyvarinen (1999), Fast and robust fixed-point algorithms for independent component analysis, *IEEE Trans. Neural
    Networks* 10, 626-634.
    """

    capabilities = frozenset({"log_prob", "encode"})
    takes = Takes()

    def __init__(self, mean: Tensor, mixing: Tensor, splines: Sequence[RationalSpline], causes: Space) -> None:
        self.mean, self.mixing, self.splines = mean, mixing, tuple(splines)
        self.causes, self.latent_dim = _unbounded(causes), causes.size
        self._unmixing = torch.linalg.inv(mixing)

    def __repr__(self) -> str:
        return f"ICA(causes={list(self.causes.names)})"

    @classmethod
    def fit(cls, table: Any, *, causes: Space | Sequence[Block | str] | None = None, seed: int = 0) -> ICA:
        """Unmix samples by FastICA, and learn the distribution of each source.

        Parameters
        ----------
        table : array_like (N, n)
            One row a sample, in the units of the causes.
        causes : Space or sequence of Block or str, optional
            What the columns are.
        seed : int
            Of the rotation that the iteration starts from.

        Raises
        ------
        ValueError
            If there are too few samples, or a column is constant, has missing values or is a combination of others.
        RuntimeError
            If the iteration does not converge.
        """
        x, _, space, _ = read_samples(table, causes, None)
        mean, to_white, from_white = whiten(x)
        white = (x - mean) @ to_white.mT
        b = rotation(white, seed=seed)
        sources = white @ b.mT
        return cls(mean, from_white @ b.mT, source_splines(sources), space)

    def sources(self, x: Tensor) -> Tensor:
        """s ``(*, n)`` of causes ``(*, n)``."""
        self.causes.check(x)
        return (x - self.mean.to(x)) @ self._unmixing.to(x).mT

    def decode(self, z: Tensor, /, **conditions: Any) -> Tensor:
        self.causes.check(z)
        s = torch.stack([f(v) for f, v in zip(self.splines, z.unbind(-1), strict=True)], -1)
        return self.mean.to(z) + s @ self.mixing.to(z).mT

    def encode(self, x: Tensor, /, **conditions: Any) -> Tensor:
        s = self.sources(x)
        return torch.stack([f.inverse(v) for f, v in zip(self.splines, s.unbind(-1), strict=True)], -1)

    def log_prob(self, x: Tensor, /, **conditions: Any) -> Tensor:
        z = self.encode(x)
        slopes = torch.stack([f.slope(v) for f, v in zip(self.splines, z.unbind(-1), strict=True)], -1)
        return (log_density(z) - slopes.log()).sum(-1) - float(torch.linalg.slogdet(self.mixing).logabsdet)

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors and plain values that `from_state` makes the same prior of."""
        tensors = {"mean": self.mean, "mixing": self.mixing}
        for i, f in enumerate(self.splines):
            tensors |= {f"z.{i}": f.z, f"u.{i}": f.u, f"d.{i}": f.d}
        return tensors, {"causes": space_to_json(self.causes)}

    @classmethod
    def from_state(cls, tensors: Mapping[str, Tensor], settings: Mapping[str, Any]) -> ICA:
        """The prior of `state`."""
        causes = space_from_json(settings["causes"])
        splines = [RationalSpline(*(tensors[f"{part}.{i}"] for part in "zud")) for i in range(causes.size)]
        return cls(tensors["mean"], tensors["mixing"], splines, causes)


def source_splines(columns: Tensor) -> list[RationalSpline]:
    """The increasing functions that make N(0, 1) the distribution of each column of ``(N, n)``."""
    return [Empirical(s.numpy())._spline for s in columns.unbind(1)]
