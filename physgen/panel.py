"""A panel: a curve that draws of the posterior spread into bands, beside what was observed. Numbers only."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, eq=False)
class Panel:
    """One panel of the picture of a single observation.

    A forward model or a noise may have a method ``panels`` that returns a list of them: of the causes,
    ``panels(x, **conditions)`` with draws x ``(S, n)``; of the observables, ``panels(prediction, y, **conditions)``
    with predictions ``(S, m')``.

    Attributes
    ----------
    title, x_label, y_label : str
    x : Tensor (n,) or (n + 1,)
        Where the curve is known; or the edges of classes, one more than there are heights.
    draws : Tensor (S, n)
        The curve, or the heights in the classes, of every draw.
    observed : Tensor (n,), optional
        The same as it was observed.
    """

    title: str
    x_label: str
    y_label: str
    x: Tensor
    draws: Tensor
    observed: Tensor | None = None

    @property
    def classes(self) -> bool:
        """Whether x holds the edges of classes."""
        return len(self.x) == self.draws.shape[-1] + 1
