"""Priors: maps from standard normal latents to causes."""

from .prior import Prior

__all__ = ["Prior"]
