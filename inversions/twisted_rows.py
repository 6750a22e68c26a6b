"""Draws of many observations, evaluated in blocks of rows that fit the memory."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from physgen.problem import VALUE_ROWS, Posterior

from .guided_diffusion_steps import Guide

_NUMBERS = 1 << 20  # of one evaluation, at most: values in a network's layers are many times as many

Rowwise = Callable[..., tuple[Tensor, ...]]


def rowwise(posterior: Posterior, function: Rowwise, *given: Tensor) -> tuple[Tensor, ...]:
    """What a function makes of P rows of each of B observations, a block of rows at a time.

    A block is some whole observations, or a part of one.

    Parameters
    ----------
    posterior : Posterior
        Of B observations on one axis.
    function : callable
        ``function(guide, some, *parts)``: the parts are ``(b, p, *)`` of `some` ``(b,)`` of the observations, the guide
        is that of their b p rows on one axis; it returns tensors ``(b, p, *)``.
    *given : Tensor (B, P, *)

    Returns
    -------
    tuple of Tensor (B, P, *)
    """
    batch, rows, n = *given[0].shape[:2], posterior.problem.prior.causes.size
    size = max(8, min(VALUE_ROWS, _NUMBERS // n))
    every = torch.arange(batch, device=given[0].device)
    whole = []
    for some in every.split(max(1, size // rows)):
        parts = []
        for cut in torch.arange(rows, device=every.device).split(min(size, rows)):
            guide = Guide(posterior.select(some.repeat_interleave(len(cut))))
            parts.append(function(guide, some, *(g[some][:, cut] for g in given)))
        whole.append([torch.cat(each, 1) for each in zip(*parts, strict=True)])
    return tuple(torch.cat(each) for each in zip(*whole, strict=True))
