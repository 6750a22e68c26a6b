"""Results made up for the report's tests: of any size, with any names, without an inversion."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from physgen.result import Result
from physgen.space import Block, Coordinate, Space

RECIPE = """note = "Ünïcode and <b>markup</b>"
seed = 3

[forward]
model = "abel-projection"
radii = 12

[prior]
model = "smooth-field"
amplitude = { distribution = "LogNormal", median = 1.0, sigma = 0.5 }
length = { distribution = "LogNormal", median = 1.0, sigma = 0.5 }

[noise]
model = "gaussian"
absolute = 0.1
"""


def made_up(
    batch: tuple[int, ...] = (5,),
    draws: int = 40,
    *,
    causes: Space | None = None,
    stats: dict[str, Any] | None = None,
    provenance: dict[str, Any] | None = None,
    **more: Any,
) -> Result:
    """A result of two causes by default; the second half of the observations lies higher than the first."""
    rng = np.random.default_rng(0)
    causes = causes or Space(Block("lai", "m2 m-2", (0, 15), "leaf area index"), Block("angle", "degree"))
    count = int(np.prod(batch))
    centre = 3 + np.arange(count).reshape(*batch, 1) / max(count, 1) + rng.normal(size=(*batch, causes.size)) * 0.3
    samples = centre + 0.2 * rng.normal(size=(1, draws, *batch, causes.size))
    status = torch.zeros(batch, dtype=torch.int64)
    if count > 3:
        status.view(-1)[3] = 2
    own = {"chi2": torch.as_tensor(rng.chisquare(4, batch)), "measured": torch.full(batch, 4)}
    return Result(
        samples=torch.as_tensor(samples),
        status=status,
        stats={**own, "k_hat": torch.as_tensor(rng.uniform(0, 0.9, batch)), **(stats or {})},
        causes=causes,
        y=torch.as_tensor(rng.normal(size=(*batch, 4))),
        settings={"method": "made up"},
        provenance=provenance or {},
        **more,
    )


def written(folder: Path, result: Result, name: str = "posterior.nc") -> Path:
    """The result's file."""
    return result.to_netcdf(folder / name)


NASTY = (
    "</script><script>document.title='broken'</script>",
    '"><img src=x onerror="document.title=\'broken\'">',
    "'><svg onload=alert(1)>",
    "</title></style><b id=injected>",
    "{{ 7 * 7 }}{% raw %}",
)
"""Text that would run, or leave its element, if it were not escaped."""


def nasty() -> Result:
    """A result whose every text is hostile."""
    script, image, svg, title, template = NASTY
    causes = Space(
        Block(f"x{image}", script, (0, 15), svg),  # a name in netCDF begins with a letter, and has no slash
        Block(
            f"profile {svg}",
            image,
            long_name=title,
            shape=(6,),
            dims=("radius",),
            coordinates={"radius": Coordinate("radius", (1.0, 2.0, 3.0, 4.0, 5.0, 6.0), script, image)},
        ),
    )
    observables = Space(
        Block(
            "signal",
            image,
            long_name=script,
            shape=(4,),
            dims=("band",),
            coordinates={"band": Coordinate("band", NASTY[:4])},
        )
    )
    sites = ("observation", np.array([script, image, svg, title, template]))
    return made_up(
        causes=causes,
        observables=observables,
        coords={"site": sites},
        provenance={
            "note": script + image,
            "recipe": f"# {script}\nnote = 1 {image}\n",
            "method": svg,
            "host": title,
            "seed": 1,
            "inputs": [{"path": image, "bytes": 1, "sha256": script}],
            "versions": {image: script},
        },
    )
