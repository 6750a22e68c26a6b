"""Are the grains of the quartz mylonite log-normal? The fit, the posteriors, and how well each predicts the sections.

    python benchmarks/quartz_sections.py

A posterior predictive p-value: for a draw of the parameters, the ranks of the sections' sizes are uniform if the model
is right, so that the Kolmogorov-Smirnov distance has a known distribution; p is its mean tail probability over the
draws (Gelman, Meng & Stern 1996). The Bayes factor compares the log-normal with a free form, whose prior says only that
the log density of ln(size) is smooth. Leave-one-out compares how well each predicts a profile from all others, for
which the prior of the free form hardly matters.
"""

from __future__ import annotations

import time
from importlib.resources import files

import numpy as np
import torch
import xarray as xr
from scipy import stats

import physgen as pg
from physgen.diagnostics.loo import Loo, compare, loo
from physgen.forward_models.stereology.free_spheres import FreeSpheres
from physgen.forward_models.stereology.section_fit import fit_sections
from physgen.forward_models.stereology.section_noise import SectionSizes
from physgen.forward_models.stereology.spheres_model import Spheres
from physgen.inversions import OptimalEstimation
from physgen.inversions.nested_laplace import NestedLaplace
from physgen.priors.smooth_field import SmoothField
from physgen.problem import Problem
from physgen.result import Result

PLACES = torch.tensor([5.0, 10, 20, 30, 40, 60, 80, 120], dtype=torch.float64)
DRAWS = 100
LOO_DRAWS = 400


def predictive_p(problem: Problem, result: Result, d: torch.Tensor) -> float:
    """The mean tail probability of the Kolmogorov-Smirnov distance over posterior draws."""
    prediction = problem.forward(result.draws[:DRAWS])
    ranks = torch.special.ndtr(problem.noise.standardise(d, prediction)).sort(-1).values.numpy()
    n = ranks.shape[-1]
    distance = np.maximum(np.arange(1, n + 1) / n - ranks, ranks - np.arange(n) / n).max(-1)
    return float(stats.kstwo.sf(distance, n).mean())


def main() -> None:
    """Fit, infer, compare, print."""
    with xr.open_dataset(files("physgen") / "data" / "quartz_sections.nc") as data:  # type: ignore[arg-type]
        d = torch.as_tensor(data.equivalent_diameter.values)
    noise = SectionSizes()
    fit = fit_sections(d, noise, [0.5 * float(d.median()), 1.5])
    m, g = (fit.theta * torch.tensor([2.0, 1.0])).tolist()
    print(f"log-normal, maximum: -log L {-fit.log_prob:.2f} at geometric mean {m:.2f} um, multiplicative sd {g:.3f}")
    prior = pg.Independent(geometric_mean=pg.LogNormal(30.0, 1.0), multiplicative_sd=pg.Uniform(1.02, 4.0))
    model = FreeSpheres(3.0, 250.0, 40)
    smooth = SmoothField(forward=model, amplitude=pg.LogNormal(3.0, 0.7), length=pg.LogNormal(1.0, 0.7))
    runs = {
        "log-normal": (pg.Problem(Spheres(), prior, noise), OptimalEstimation()),
        "free form": (pg.Problem(model, smooth, SectionSizes(**model.noise_settings)), NestedLaplace()),
    }
    evidence: dict[str, float] = {}
    left_out: dict[str, Loo] = {}
    for name, (problem, inversion) in runs.items():
        start = time.process_time()
        result = inversion(problem, d)
        took, k_hat = time.process_time() - start, float(result.stats["k_hat"])
        evidence[name] = float(result.stats["log_evidence"])
        print(
            f"{name}: status {int(result.status)}, k_hat {k_hat:.2f}, log evidence {evidence[name]:.2f}, "
            f"posterior predictive p {predictive_p(problem, result, d):.4f}, {took:.1f} s"
        )
        left_out[name] = one = loo(problem.noise.pointwise(d, problem.forward(result.draws[:LOO_DRAWS])))
        print(
            f"    leave-one-out: elpd {one.elpd:.2f} (se {one.se:.1f}), p_loo {one.p_loo:.2f}, "
            f"largest k_hat {float(one.k_hat.max()):.2f}, {one.unreliable} unreliable of {len(one.k_hat)}"
        )
        if isinstance(problem.forward, FreeSpheres):
            bands = torch.quantile(model.density(result.draws, PLACES), torch.tensor([0.05, 0.5, 0.95]).to(d), dim=0)
            for place, band in zip(PLACES.tolist(), bands.mT.tolist(), strict=True):
                print(f"    {place:5.0f} um   {band[1]:.2e} per um ({band[0]:.1e} to {band[2]:.1e})")
    factor = evidence["free form"] - evidence["log-normal"]
    print(f"ln Bayes factor of the free form against the log-normal: {factor:.2f}")
    difference, error = compare(left_out["free form"], left_out["log-normal"])
    print(f"leave-one-out, free form less log-normal: {difference:+.2f} (se {error:.2f}); from 4 on it would matter")


if __name__ == "__main__":
    main()
