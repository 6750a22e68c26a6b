"""Where the code of a labelled autoencoder begins: the linear mixture of sources whose variances follow the label."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..random import normal, single_stream
from .base_conditional import ConditionalMap, to_bent
from .flow_network import WEIGHTS_STAGE, Perceptron
from .vae_network import AutoencoderNetwork

_STAGE = 6000  # of the rotations that the search begins with, beside the weights of an autoencoder's networks
_STARTS, _ITERATIONS, _RIDGE = 4, 200, 1e-3
_SMALL = 0.05  # of the networks' first outputs, beside those of the linear parts
_LEAST_NOISE = 0.1


def begin_with_segments(network: AutoencoderNetwork, w: Tensor, context: Tensor, *, seed: int) -> None:
    """Let codes, base and decoder begin with the best linear unmixing, if the network has linear parts.

    Parameters
    ----------
    network : AutoencoderNetwork
        Changed in place. Nothing is done where the code is longer than w.
    w : Tensor (N, n)
    context : Tensor (N, 1)
        Standardised labels.
    seed : int
    """
    base, mean = network.base, network.mean
    if network.linear is None or not isinstance(base, ConditionalMap) or not isinstance(mean, Perceptron):
        return
    if network.code > w.shape[1]:
        return
    level = base.level_of(context[:, 0])
    w = w.double()
    unmix = unmixing(w, level, network.code, seed=seed)
    unmix = unmix / (w @ unmix.mT).std(0)[:, None]
    code = w @ unmix.mT
    mix = torch.linalg.lstsq(code, w).solution.mT
    rest = (w - code @ mix.mT).square().mean(0).sqrt().clamp(min=_LEAST_NOISE).log()[:, None]
    with torch.no_grad():
        network.linear["mix"].copy_(mix)
        network.linear["unmix"].copy_(unmix)
        for perceptron in (mean, network.encoder):
            perceptron.weights[-1].mul_(_SMALL)
            perceptron.biases[-1].mul_(_SMALL)
        network.encoder.biases[-1][network.code :] = -1.5
        if isinstance(network.log_sd, nn.Parameter):
            network.log_sd.copy_(to_bent(rest if len(network.log_sd) > 1 else rest.mean(0, keepdim=True)))
        base.begin(code, level)


def unmixing(w: Tensor, level: Tensor, code: int, *, seed: int) -> Tensor:
    """V ``(k, n)`` of sources V w ``(k,)`` that are uncorrelated under every label, as far as that can be.

    Pham & Cardoso (2001), *IEEE Trans. Signal Processing* 49, eq. 11: the least of the mean over the labels of
    (log det diag C - log det C) / 2, C the covariance of the sources; here after a projection on the k principal
    components, from several rotations.

    Parameters
    ----------
    w : Tensor (N, n), float64
    level : integer Tensor (N,)
        The label of each row, from 0.
    code : int
        k, at most n.
    seed : int
    """
    values, vectors = torch.linalg.eigh(torch.cov(w.mT).reshape(w.shape[1], -1))
    white = (vectors[:, -code:] * values[-code:].clamp(min=1e-12).rsqrt()).mT
    y = (w - w.mean(0)) @ white.mT
    groups = [y[level == i] for i in range(int(level.max()) + 1)]
    c = torch.stack([torch.cov(g.mT, correction=0).reshape(code, code) for g in groups if len(g) > 1])
    c = c + _RIDGE * torch.eye(code, dtype=c.dtype)
    found = [
        _descend(c, normal((code, code), single_stream(), seed=seed, stage=WEIGHTS_STAGE + _STAGE + i))
        for i in range(_STARTS)
    ]
    return min(found, key=lambda pair: pair[0])[1] @ white


def _descend(c: Tensor, start: Tensor) -> tuple[float, Tensor]:
    v = nn.Parameter(torch.linalg.qr(start.to(c)).Q.contiguous())
    optimiser = torch.optim.LBFGS([v], max_iter=_ITERATIONS, line_search_fn="strong_wolfe")

    def misfit() -> Tensor:
        optimiser.zero_grad()
        diagonal = torch.einsum("ij,ujk,ik->ui", v, c, v)
        value = 0.5 * diagonal.log().sum(1).mean() - torch.linalg.slogdet(v).logabsdet
        value.backward()
        return value

    optimiser.step(misfit)  # type: ignore[no-untyped-call]
    return float(misfit().detach()), v.detach()
