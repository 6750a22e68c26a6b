"""Units as the pictures write them."""

from __future__ import annotations

import re


def raised(units: str) -> str:
    """Units such as "ug cm-2" with raised exponents and the sign of micro, for matplotlib."""
    return re.sub(r"\bu(?=[gm])", "µ", re.sub(r"(?<=[A-Za-z])(-?\d+)", r"$^{\1}$", units))


def raised_label(label: str) -> str:
    """A label such as "density (um-1)" whose units, in the last parentheses, have raised exponents."""
    return re.sub(r"\(([^()]*)\)$", lambda found: f"({raised(found[1])})", label)
