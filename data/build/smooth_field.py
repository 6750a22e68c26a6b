"""Build smooth_field.safetensors and .json: a log-Gaussian process on a grid from 0 to 1, with its card.

Nothing is learned: the settings were chosen. What the card says under `fit` is how often the bands of `NestedLaplace`
hold fields of these settings, as the slow tests of tests/forward_models/projection/test_abel_posterior.py print it.

    python data/build/smooth_field.py data/smooth_field.safetensors
"""

from __future__ import annotations

import torch
from write import arguments

from physgen.priors import LogNormal, SmoothField
from physgen.priors.storage import prior_card, save_prior

POINTS = 51
CARD = {
    "title": "Smooth positive curves along a line: the exponential of a Gaussian process, its strength and length "
    "scale inferred with it (log-Gaussian process)",
    "learned_from": "nothing: form and settings were chosen, not fitted, and no measurement is in it; built by "
    "data/build/smooth_field.py",
    "source": "Rasmussen & Williams 2006, Gaussian Processes for Machine Learning, eqs 2.29 and 4.16; Matern 5/2",
    "units": {
        "field": "1: of its median, which is 1 here; SmoothField(units=...) or a forward model states others",
        "field_grid": "1: from one end (0) to the other (1)",
        "amplitude": "1: standard deviation of the field's logarithm about its level",
        "length": "1: length scale, in the grid's unit",
        "level_sd": "1: standard deviation of the level's logarithm",
    },
    "intended_use": "prior over profiles, spectra, distributions of sizes and other positive curves that are smooth "
    "and no more is known of, with NestedLaplace, which integrates over amplitude and length. For another grid, median "
    'or scale, make your own: SmoothField(grid, log=True, ...), or model = "smooth-field" with settings in a recipe',
    "not_for": "curves that fall to zero over much of the grid: its bands hold too rarely there (see fit), and the "
    "process without the exponential (log=False) is honest; what may be negative; jumps, edges, and peaks narrower "
    "than the shortest length; surfaces and volumes; a joint mode of field, amplitude and length, which is far "
    "too sure",
    "fit": {
        "learned": "nothing, so that there is no held-out figure; what follows are simulations",
        "measurement": "an axisymmetric profile (257 radii, even, 65 knots, median 0.3) projected along the line of "
        "sight, noise 1 % of the largest, inverted by NestedLaplace",
        "share_held_by_90_percent_bands": {
            "400 profiles drawn from it": 0.892,
            "where 8 measurements of a narrow peak have next to nothing": 0.20,
            "400 profiles drawn from the process itself (log=False)": 0.894,
            "where 12 measurements of that peak have next to nothing, log=False": 0.96,
        },
        "share_trusted": {"drawn from it": 0.99, "drawn from the process itself": 1.0},
    },
    "licence": "no data; Apache-2.0 (these settings)",
}


def made() -> SmoothField:
    """The prior to store."""
    grid = torch.linspace(0, 1, POINTS, dtype=torch.float64)
    return SmoothField(grid, log=True, level_sd=1.0, amplitude=LogNormal(1.0, 0.5), length=LogNormal(0.2, 0.7))


def ends(prior: SmoothField) -> dict[str, list[float]]:
    """The middle 90 % of the hyper-parameters, and of the field at one point, of 20,000 draws."""
    found = prior.hyper(torch.tensor([[-1.6449] * 2, [1.6449] * 2], dtype=torch.float64))
    x = prior.sample(20000, seed=1, dtype=torch.float64)[:, POINTS // 2]
    found["field"] = torch.quantile(x, torch.tensor([0.05, 0.95], dtype=x.dtype))
    return {f"{name}, 5 and 95 %": [round(v, 2) for v in pair.tolist()] for name, pair in found.items()}


def main() -> None:
    """Store, and print what the stored card says."""
    output, prior = arguments(__doc__).output, made()
    save_prior(prior, output, CARD | {"range": ends(prior)})
    for key in ("range", "fit"):
        print(f"{key}: {prior_card(output)[key]}")


if __name__ == "__main__":
    main()
