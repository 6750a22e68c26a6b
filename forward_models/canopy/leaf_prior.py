"""The leaf prior: which leaves nature makes, and by how much their dry matter may differ from the tables.

Wide enough for the leaves on which PROSPECT was calibrated and validated (Féret et al. 2008, 2017):
chlorophyll 0 to 110 ug cm-2, carotenoids 0 to 30 ug cm-2, water 0.001 to 0.07 cm, dry matter 0.0005 to 0.035 g cm-2,
structure 1 to 3.5, and for senescent and red ones.

References
----------
Féret et al. (2008), Remote Sens. Environ. 112:3030 (measured leaves). Féret et al. (2017), 193:204 (anthocyanins,
carotenoids). Féret et al. (2019), 231:110959 (dry matter from spectra: why it is less certain than its fit).
Féret et al. (2021), 252:112173 (dry matter as proteins and the rest).
Merzlyak et al. (1999), Physiol. Plant. 106:135 (carotenoids stay longer than chlorophyll in senescent leaves).
Poorter et al. (2009), New Phytol. 182:565 (leaf mass per area).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from physgen.priors import Chain, Conditional, Distribution, Exponential, LogNormal, TruncatedNormal
from physgen.space import Block, Space

from .leaf_model import Leaf

FACTOR = "matter_absorption"
FACTOR_SPREAD = 0.4  # this and the next: fitted with the noise, see `leaf_noise`
CAROTENOID_SPREAD = 0.3
CAROTENOIDS, CAROTENOIDS_LEFT = 0.16, 3.0  # per chlorophyll, and what is there without it, ug cm-2


@dataclass(frozen=True, eq=False)
class VariableLeaf:
    """A leaf whose dry matter absorbs `matter_absorption` times what the tables say.

    Dry matter is cellulose, lignin, starch, proteins, in proportions that differ from leaf to leaf, and PROSPECT has
    one specific absorption for all of it. So a spectrum tells the product of content and specific absorption; of the
    content it says only as much as is known about the latter. In PROSPECT-PRO the factor is that of the carbon-based
    constituents.

    Parameters
    ----------
    leaf : Leaf

    Raises
    ------
    TypeError
        If `leaf` is not a `Leaf`.

    Examples
    --------
    >>> model = VariableLeaf(Leaf("D", wavelengths=range(400, 2501, 10)))
    >>> model.causes.names
    ('n', 'cab', 'car', 'ant', 'cbrown', 'cw', 'cm', 'matter_absorption')
    """

    leaf: Leaf = field(default_factory=Leaf)

    def __post_init__(self) -> None:
        if not isinstance(self.leaf, Leaf):
            raise TypeError(f"Invalid leaf of type {type(self.leaf).__name__}. Give a Leaf.")

    @property
    def causes(self) -> Space:
        """Those of the leaf, and the factor."""
        factor = Block(FACTOR, "1", (0.0, float("inf")), "specific absorption of dry matter, relative to the tables")
        return Space(*self.leaf.causes, factor)

    @property
    def observables(self) -> Space:
        """Reflectance and transmittance, each (w,)."""
        return self.leaf.observables

    def __call__(self, x: Tensor, /) -> Tensor:
        """Reflectance, then transmittance, ``(*, 2 w)`` of causes ``(*, n)``."""
        contents = list(x.unbind(-1))
        factor = contents.pop()
        names = self.leaf.causes.names
        matter = names.index("cbc" if "cbc" in names else "cm")
        contents[matter] = contents[matter] * factor
        return self.leaf(torch.stack(contents, dim=-1))


def leaves(
    forward: Leaf | VariableLeaf | None = None,
    *,
    factor_spread: float = FACTOR_SPREAD,
    carotenoid_spread: float = CAROTENOID_SPREAD,
) -> Chain:
    """The prior of the causes of a leaf model.

    Parameters
    ----------
    forward : Leaf or VariableLeaf, optional
        Whose causes to describe; `Leaf()` by default.
    factor_spread : float
        Standard deviation of the logarithm of `matter_absorption`, where there is one.
    carotenoid_spread : float
        Standard deviation of the logarithm of carotenoids in green leaves of given chlorophyll.

    Returns
    -------
    Chain
        Causes in the order of the model's.

    Raises
    ------
    TypeError
        If the forward model is neither.
    """
    if forward is not None and not isinstance(forward, Leaf | VariableLeaf):
        raise TypeError(f"Invalid forward model of type {type(forward).__name__}. `leaves` describes a leaf.")
    space = (forward or Leaf()).causes
    entries: dict[str, Distribution | Conditional] = {
        "n": TruncatedNormal(1.5, 0.7, 1.0, 4.0),
        "cab": TruncatedNormal(40.0, 30.0, 0.0, 130.0),
        "car": _carotenoids(carotenoid_spread),
        "ant": Exponential(3.0),
        "cbrown": LogNormal(0.1, 1.3),
        "cw": LogNormal(0.010, 0.9),
        "cm": LogNormal(0.006, 0.7),
        "prot": LogNormal(0.0007, 0.6),
        "cbc": LogNormal(0.005, 0.7),
        FACTOR: LogNormal(1.0, factor_spread),
    }
    return Chain({b.name: replace(entries[b.name], units=b.units, long_name=b.long_name) for b in space})


def _carotenoids(spread: float) -> Conditional:
    """In proportion to chlorophyll in green leaves; in pale ones little is known."""

    def given(cab: Tensor) -> Distribution:
        pale = torch.exp(-cab / 10.0)
        return LogNormal(CAROTENOIDS_LEFT + CAROTENOIDS * cab, spread + 0.4 * pale)

    return Conditional(given, support=(0.0, float("inf")))
