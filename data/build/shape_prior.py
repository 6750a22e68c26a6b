"""Build particle_shape.safetensors and .json: a generative prior over the shape of real particles.

Cement, two sands and an aggregate (3,195 particles whose radius is positive) are brought to unit volume and to the
attitude of their principal axes; every fifth particle of each set is held out; the others, each in eight mirrored
attitudes, are fitted by probabilistic principal component analysis (see forward_models/stereology/shape_prior.py).
What is stored was learned from the four fifths, so that the figures of the card are those of the stored prior.

    python data/build/shape_prior.py data/ct_particle_shapes.nc data/particle_shape.safetensors
"""

from __future__ import annotations

import math

import numpy as np
import torch
import xarray as xr
from torch import Tensor
from write import arguments, digest

from physgen.forward_models.stereology.bodies import StarBody
from physgen.forward_models.stereology.shape_prior import canonical, fit_shape_prior, positive, unit_volume
from physgen.priors.ppca import PPCA
from physgen.priors.storage import save_prior

SETS = ("cement133", "sacci425", "ma165", "sika-fib")
K, HELD_OUT, DRAWS = 64, 5, 20_000


def coefficients(data: xr.Dataset, name: str) -> Tensor:
    """Real coefficients (N, 289) of one set, canonical."""
    number = [str(n) for n in data["set_name"].values].index(name)
    chosen = ((data["set"] == number) & (data["least_radius"] > 0)).values
    a = data["coefficient_re"].values[chosen] + 1j * data["coefficient_im"].values[chosen].astype(np.complex128)
    return torch.cat([canonical(part) for part in torch.from_numpy(a).split(200)])


def shape_figures(c: Tensor) -> Tensor:
    """Surface over the equal sphere's (N,), and elongation (N,): the middle over the longest principal axis."""
    parts = []
    for part in unit_volume(c).split(200):
        body = StarBody.from_real(part)
        lengths = torch.linalg.eigvalsh(body.second_moment).sqrt()
        parts.append(torch.stack([body.surface / (4 * math.pi), lengths[:, 1] / lengths[:, 2]]))
    return torch.cat(parts, -1)


def rounded(value: Tensor | float, digits: int = 4) -> float:
    """A plain number for the card."""
    return round(float(value), digits)


def spread(values: Tensor) -> list[float]:
    """Mean and standard deviation."""
    return [rounded(values.mean()), rounded(values.std())]


def figures(prior: PPCA, train: Tensor, held: Tensor) -> dict[str, object]:
    """How well the prior fits what it has not seen."""
    error = ((prior.reconstruct(held) - held).square().sum(-1) / (4 * math.pi)).sqrt()
    drawn = prior.sample(DRAWS, seed=1, dtype=torch.float64)
    body = positive(drawn)
    normal = torch.distributions.Normal(train.mean(0), train.std(0))
    found = {"held-out particles": shape_figures(held), "draws": shape_figures(drawn[body][:2000])}
    return {
        "training_particles": len(train),
        "held_out_particles": len(held),
        "log_likelihood_training": rounded(prior.log_prob(train).mean(), 2),
        "log_likelihood_held_out": rounded(prior.log_prob(held).mean(), 2),
        "log_likelihood_held_out_of_independent_normals": rounded(normal.log_prob(held).sum(-1).mean(), 2),
        "log_likelihood_is": "mean over particles, nats, density of all 289 coefficients",
        "reconstruction_error_of_the_code_held_out": {
            "median": rounded(error.median()),
            "90 %": rounded(error.quantile(0.9)),
            "is": "root mean square over directions of the radial error, over the radius of the equal sphere",
        },
        "draws_with_positive_radius": rounded(body.double().mean(), 5),
        "draws": DRAWS,
        "relative_surface_mean_and_sd": {n: spread(f[0]) for n, f in found.items()},
        "middle_over_long_axis_mean_and_sd": {n: spread(f[1]) for n, f in found.items()},
        "choice": "length of the code and scaling were chosen among some twenty on the same held-out particles",
    }


def main() -> None:
    """Canonicalise, split, fit, measure, store."""
    a = arguments(__doc__, "shapes")
    with xr.open_dataset(a.shapes) as data:
        sets = [coefficients(data, name) for name in SETS]
        licence = data.attrs["licence"]
    held = torch.cat([c[::HELD_OUT] for c in sets])
    train = torch.cat([c[torch.arange(len(c)) % HELD_OUT != 0] for c in sets])
    prior = fit_shape_prior(train, K)
    fit = figures(prior, train, held)
    for name, value in fit.items():
        print(f"{name}: {value}")
    degrees = {f"degree {n}": rounded(train[:, n * n : (n + 1) ** 2].square().mean().sqrt()) for n in range(17)}
    card = {
        "title": "Shape of cement, sand and aggregate particles: probabilistic principal components of r(theta, phi)",
        "learned_from": f"{len(train)} of {len(train) + len(held)} tomographed particles ({', '.join(SETS)}), "
        f"each in eight mirrored attitudes; built by data/build/shape_prior.py from {digest(a.shapes)}",
        "source": "jwbullard/THAMES, particle shape set; Garboczi 2002, Cem. Concr. Res. 32:1621",
        "units": "1: real spherical-harmonic coefficients of the radius over that of the sphere of equal volume",
        "range": {"root mean square of the coefficients": degrees},
        "intended_use": "prior over the shape of crushed or ground mineral particles, for random sections and their "
        "inversion; sizes are given separately",
        "not_for": "fibres, flakes, rounded grains, cells, pores; bodies with overhangs or holes; roughness finer than "
        "degree 16; differences of roughness between particles, of which a Gaussian holds half (see fit); differences "
        "between materials, which are pooled; absolute sizes or attitudes",
        "fit": fit,
        "licence": f"{licence} (the particles); Apache-2.0 (this fit)",
    }
    print(save_prior(prior, a.output, card))


if __name__ == "__main__":
    main()
