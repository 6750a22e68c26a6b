"""The network of a causal flow: one mechanism for each cause, which sees that cause's parents and nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from .causal_graph import CausalGraph
from .flow_network import Perceptron
from .flow_spline import bent, parameter_count, spline


class CausalNetwork(nn.Module):
    """w_i = mu_i + sigma_i spline_i(z_i), where a network makes mu, sigma and the spline of the parents of cause i.

    As a cause's mechanism is given nothing but its parents, the Jacobian dz/dw has exact zeros where there is no edge,
    and dw/dz where there is no path (Javaloy et al. 2023, eqs 6 to 8: one abductive layer, which needs no more depth).

    Parameters
    ----------
    graph : CausalGraph
    bins : int
        Of each spline.
    hidden : sequence of int
        Widths of the hidden layers of each mechanism.
    seed : int
        Of the weights.
    """

    def __init__(self, graph: CausalGraph, *, bins: int, hidden: Sequence[int], seed: int = 0) -> None:
        super().__init__()
        self.graph, self.bins, self.hidden = graph, bins, tuple(hidden)
        mechanisms = []
        for i, (parents, outside) in enumerate(zip(graph.parents, graph.outside, strict=True)):
            sizes = [len(parents) + len(outside), *hidden, parameter_count(bins) + 2]
            mechanisms.append(Perceptron(sizes, seed=seed, stage=1000 * i))
        self.mechanisms = nn.ModuleList(mechanisms)

    def forward(self, z: Tensor, context: Tensor, fixed: Mapping[int, float] | None = None) -> tuple[Tensor, Tensor]:
        """Causes ``(n, R)`` of latents ``(n, R)``, and the log slope of each mechanism ``(n, R)``.

        `fixed` holds the (standardised) values of causes that are set by intervention.
        """
        w: dict[int, Tensor] = {}
        slopes: dict[int, Tensor] = {}
        for i in self.graph.order:
            if fixed and i in fixed:
                w[i], slopes[i] = torch.full_like(z[i], fixed[i]), torch.zeros_like(z[i])
                continue
            mean, log_scale, phi = self._mechanism(i, w, context)
            value, slope = spline(z[i], phi)
            w[i], slopes[i] = mean + log_scale.exp() * value, slope + log_scale
        return torch.stack([w[i] for i in range(len(z))]), torch.stack([slopes[i] for i in range(len(z))])

    def inverse(self, w: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Latents ``(n, R)`` of causes ``(n, R)``, and the log slope dz_i/dw_i of each ``(n, R)``."""
        known = dict(enumerate(w.unbind(0)))
        z, slopes = [], []
        for i in range(len(w)):
            mean, log_scale, phi = self._mechanism(i, known, context)
            value, slope = spline((w[i] - mean) * (-log_scale).exp(), phi, inverse=True)
            z.append(value)
            slopes.append(slope - log_scale)
        return torch.stack(z), torch.stack(slopes)

    def _mechanism(self, i: int, w: Mapping[int, Tensor], context: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Mean, log scale and spline of cause i, given its parents."""
        parents = [w[p] for p in self.graph.parents[i]] + [context[c] for c in self.graph.outside[i]]
        inputs = torch.stack(parents) if parents else context[:0]
        made = self.mechanisms[i](inputs)
        return made[0], bent(made[1], 1), made[2:]
