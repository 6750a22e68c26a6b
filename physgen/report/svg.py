"""Pictures as text: elements of SVG, escaped as they are made, scales, and axes with ticks.

Colours are classes: the page's style gives them by light, dark and print. No element carries a style of its own, which
the page's security policy would refuse.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup, escape

WIDTH, HEIGHT = 330, 210
LEFT, RIGHT, TOP, BOTTOM = 52, 10, 10, 42


def tag(name: str, *children: Any, **attributes: Any) -> Markup:
    """An element; attributes with ``_`` for ``-`` (``class_`` is class), None left out, all text escaped."""
    said = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(number(v) if isinstance(v, float) else v)}"'
        for key, v in attributes.items()
        if v is not None
    )
    return Markup(f"<{name}{said}>{''.join(escape(c) for c in children)}</{name}>")


def number(value: float) -> str:
    """A coordinate, to a tenth of a pixel."""
    text = f"{value:.1f}".removesuffix(".0")
    return "0" if text == "-0" else text


def path(x: Iterable[float], y: Iterable[float], closed: bool = False) -> str:
    """The data of a path through points; one that is not finite interrupts it."""
    out, pen = [], "M"
    for a, b in zip(x, y, strict=True):
        if not (math.isfinite(a) and math.isfinite(b)):
            pen = "M"
            continue
        out.append(f"{pen}{number(a)} {number(b)}")
        pen = "L"
    return "".join(out) + ("Z" if closed and out else "")


def band(x: np.ndarray, low: np.ndarray, high: np.ndarray) -> str:
    """The data of a closed path between two curves; gaps are left out."""
    good = np.isfinite(x) & np.isfinite(low) & np.isfinite(high)
    x, low, high = x[good], low[good], high[good]
    return path([*x, *x[::-1]], [*high, *low[::-1]], closed=True)


@dataclass(frozen=True)
class Scale:
    """A linear map from values to pixels.

    Attributes
    ----------
    low, high : float
        Values.
    start, end : float
        Where they lie.
    """

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: Any) -> Any:
        """Pixels of a value or an array."""
        return self.start + (np.asarray(value, dtype=float) - self.low) / (self.high - self.low) * (
            self.end - self.start
        )


def horizontal(low: float, high: float, width: float = WIDTH, left: float = LEFT) -> Scale:
    """A scale of the abscissa, widened where the range is empty."""
    return Scale(*_wide(low, high), left, width - RIGHT)


def vertical(low: float, high: float, height: float = HEIGHT) -> Scale:
    """A scale of the ordinate, upwards."""
    return Scale(*_wide(low, high), height - BOTTOM, TOP)


def _wide(low: float, high: float) -> tuple[float, float]:
    if not (math.isfinite(low) and math.isfinite(high)):
        return 0.0, 1.0
    if high > low:
        return float(low), float(high)
    room = abs(low) * 0.1 or 1.0
    return low - room, high + room


def ticks(low: float, high: float, most: int = 6) -> np.ndarray:
    """Round values within a range, at most `most` of them."""
    low, high = _wide(low, high)
    span = (high - low) / max(most - 1, 1)
    power = 10.0 ** math.floor(math.log10(span))
    step = next(power * s for s in (1, 2, 2.5, 5, 10) if power * s >= span * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    return np.arange(first, math.floor(high / step + 1e-9) + 1) * step


def tick_words(values: np.ndarray) -> list[str]:
    """Labels of ticks with as many digits as tell them apart."""
    if not len(values):
        return []
    step = abs(values[1] - values[0]) if len(values) > 1 else abs(values[0]) or 1.0
    largest = float(np.max(np.abs(values)))
    if largest and (largest >= 1e5 or step < 1e-4):
        return [
            f"{v:.{max(0, math.ceil(math.log10(largest / step)))}e}".replace("e+0", "e").replace("e-0", "e-")
            if v
            else "0"
            for v in values
        ]
    # 2.5 needs a digit more than its power of ten says
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    if abs(step * 10**digits - round(step * 10**digits)) > 1e-6:
        digits += 1
    return [f"{v + 0.0:.{digits}f}".replace("-", "−") for v in values]


def axes(
    x: Scale,
    y: Scale,
    x_label: str,
    y_label: str,
    *,
    x_ticks: Sequence[tuple[float, str]] | None = None,
    y_ticks: Sequence[tuple[float, str]] | None = None,
    height: float = HEIGHT,
) -> Markup:
    """The lower and left axis with ticks, their labels, and what the axes are."""
    xs = _ticks(x, 6) if x_ticks is None else x_ticks
    ys = _ticks(y, 6) if y_ticks is None else y_ticks
    base = height - BOTTOM
    parts = [tag("path", d=f"M{number(x.start)} {TOP}V{number(base)}H{number(x.end)}", class_="axis")]
    for value, words in xs:
        at = float(x(value))
        parts.append(tag("path", d=f"M{number(at)} {number(base)}v4", class_="axis"))
        parts.append(tag("text", words, x=at, y=base + 15.0, class_="tick middle"))
    for value, words in ys:
        at = float(y(value))
        parts.append(tag("path", d=f"M{number(x.start)} {number(at)}H{number(x.end)}", class_="grid"))
        parts.append(tag("text", words, x=x.start - 5, y=at + 3.5, class_="tick end"))
    parts.append(tag("text", x_label, x=(x.start + x.end) / 2, y=height - 8.0, class_="label middle"))
    middle = (TOP + base) / 2
    parts.append(
        tag("text", y_label, x=11.0, y=middle, transform=f"rotate(-90 11 {number(middle)})", class_="label middle")
    )
    return tag("g", *parts, aria_hidden="true")


def _ticks(scale: Scale, most: int) -> list[tuple[float, str]]:
    values = ticks(scale.low, scale.high, most)
    return list(zip(values.tolist(), tick_words(values), strict=True))


def point(
    x: float, y: float, name: str, *, class_: str = "point", radius: float = 3.0, focusable: bool = False
) -> Markup:
    """A dot that tells its name: on hover, and by keyboard where it can be focused."""
    more = {"tabindex": "0", "role": "img", "aria_label": name} if focusable else {}
    return tag("circle", tag("title", name), cx=x, cy=y, r=radius, class_=class_, **more)


def label(name: str, units: str) -> str:
    """Name and units of an axis: "lai (m2 m-2)" with raised exponents."""
    return name if units in ("", "1") else f"{name} ({pretty_units(units)})"


_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def pretty_units(units: str) -> str:
    """CF units as one prints them: "ug cm-2" is µg cm⁻²."""
    words = []
    for word in units.split(" "):
        stem = word.rstrip("0123456789").rstrip("-")
        power = word[len(stem) :]
        raised = power.translate(_RAISED) if stem.isalpha() and power.lstrip("-").isdigit() else power
        words.append(("µ" + stem[1:] if stem in ("ug", "um", "us", "umol") else stem) + raised)
    return " ".join(words)
