"""The methods against each other on real plots, and against the truth on simulated ones; minutes long."""

from importlib.resources import files

import numpy as np
import pytest
import torch
import xarray
from scipy.stats import chisquare

from physgen.forward_models import Canopy, vegetation
from physgen.inversions import Ensemble, Hamiltonian, OptimalEstimation, TemperedSMC
from physgen.noise import CorrelatedGaussianNoise
from physgen.problem import Problem

BANDS = ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12")
ANGLES = ("solar_zenith", "view_zenith", "relative_azimuth")

pytestmark = pytest.mark.slow


def main_job():
    """Ten bands of Sentinel-2 over vegetation, with the noise of the main job."""
    model = Canopy(sensor="sentinel-2a", leaf="D", bands=BANDS)
    wavelengths = model.observables.block("reflectance").coordinates["wavelength"].values
    noise = CorrelatedGaussianNoise(
        0.005, 0.02, discrepancy=0.01, relative_discrepancy=0.05, length=150.0, coordinate=wavelengths
    )
    return Problem(model, vegetation(model), noise)


def plots(count=20):
    """Plots of several species, on all dates from April to October: reflectance (count, 10), conditions (count,)."""
    with xarray.open_dataset(str(files("physgen") / "data" / "forest_plots_2018.nc")) as data:
        data = data.sel(band=list(BANDS)).load()
    where = [(i % data.sizes["time"], 61 * i) for i in range(4 * count)]
    seen = data.reflectance.values
    where = [(t, p) for t, p in where if p < seen.shape[1] and np.isfinite(seen[t, p]).all()][:count]
    time, plot = (torch.tensor(column) for column in zip(*where, strict=True))
    angles = {name: torch.as_tensor(data[name].values)[time] for name in ANGLES}
    return torch.as_tensor(seen)[time, plot], angles


def test_two_methods_agree_on_real_plots():
    problem, (y, angles) = main_job(), plots()
    assert y.shape == (20, 10)
    # Enough draws for the tolerance to be several standard errors of either method's answer. The tail of the leaf angle
    # decides its sd, and few draws go there: one run of 90,000 knows the sd to 5 % at worst.
    rounds = {"round_draws": (2000, 8000, 16000, 64000), "components": 64, "stop_ess": 1e9, "stop_share": 2.0}
    method = OptimalEstimation(draws=10000, chunk=1, defence=0.1, **rounds)
    fast = [method(problem, y.double(), conditions=angles, seed=seed) for seed in (1, 3, 4)]
    # one call of the model costs as much for hundreds of walkers as for a few; an autocorrelation time averaged over
    # so many is well known from chains of six
    chains = {"walkers": 1024, "candidates": 8192, "burn_in": 500, "autocorrelation_times": 6.0, "max_steps": 4000}
    slow = Ensemble(draws=4000, **chains)(problem, y.float(), conditions=angles, seed=2)
    assert all(bool(one.trusted.all()) for one in fast)
    assert bool(slow.trusted.all())

    a, b = torch.cat([one.draws for one in fast]).double(), slow.draws.double()
    shift = (a.mean(0) - b.mean(0)).abs() / b.std(0)
    spread = (a.std(0) / b.std(0) - 1).abs()
    for name, s, r in zip(problem.prior.causes.names, shift.amax(0), spread.amax(0), strict=True):
        print(f"{name:8s} mean within {float(s):.3f} sd, sd within {100 * float(r):.1f} %")
    print(f"k_hat up to {max(float(one.stats['k_hat'].max()) for one in fast):.2f}, ", end="")
    least = min(float(one.stats["ess"].min()) for one in fast)
    print(f"ess {least:.0f} of each run, {float(slow.stats['ess'].min()):.0f} at least; ", end="")
    print(f"steps {int(slow.stats['steps'].min())} to {int(slow.stats['steps'].max())}")
    assert float(shift.max()) < 0.1
    assert float(spread.max()) < 0.1


@pytest.mark.parametrize("method", [Hamiltonian(), TemperedSMC()], ids=lambda m: type(m).__name__)
def test_default_settings_are_trusted_on_real_plots_and_agree_with_importance_sampling(method):
    problem, (y, angles) = main_job(), plots(4)
    rounds = {"round_draws": (5000, 10000, 20000, 40000), "stop_ess": 10000.0, "accept_ess": 5000.0}
    reference = OptimalEstimation(draws=10000, **rounds)(problem, y.double(), conditions=angles, seed=2)
    found = method(problem, y.double(), conditions=angles, seed=1)
    assert bool(reference.trusted.all())
    assert bool(found.trusted.all())
    off = (found.draws.mean(0) - reference.draws.mean(0)) / reference.draws.std(0)
    error = (1 / found.stats["ess"] + 1 / reference.stats["ess"] + 1e-4).sqrt()[:, None]  # 10,000 of the draws are kept
    print(f"{type(method).__name__}: {float((off / error).abs().max()):.2f} errors, {float(off.abs().max()):.3f} sd")
    assert float((off / error).abs().max()) < 4.5


def test_canopies_drawn_from_the_prior_are_recovered_with_calibrated_uncertainty():
    problem, count, draws = main_job(), 4096, 199
    conditions = dict(zip(ANGLES, (40.0, 5.0, 100.0), strict=True))
    torch.set_default_dtype(torch.float32)  # what the main job runs in
    x, y = problem.simulate(count, seed=11, **conditions)
    result = OptimalEstimation(draws=draws)(problem, y, conditions=conditions, seed=3)

    rank = ((result.draws < x).sum(0).double() + 0.5) / (draws + 1)
    answered = torch.isfinite(result.draws).all(0).all(-1)
    inside = ((rank > 0.05) & (rank < 0.95)).double()
    trusted, names = result.trusted, problem.prior.causes.names
    n = int(trusted.sum())
    error = (0.9 * 0.1 / n) ** 0.5
    pvalues = [chisquare(np.histogram(column, 20, (0, 1))[0]).pvalue for column in rank[trusted].T.numpy()]
    print(f"trusted {n / count:.4f} of {count}")
    for j, name in enumerate(names):
        z = (float(inside[trusted, j].mean()) - 0.9) / error
        print(
            f"{name:8s} coverage {float(inside[trusted, j].mean()):.4f} ({z:+.1f} standard errors), "
            f"over all {float(inside[answered, j].mean()):.4f}, uniform ranks p = {pvalues[j]:.4f}"
        )
    assert n >= 0.8 * count
    assert float((inside[trusted].mean(0) - 0.9).abs().max()) < 3 * error
    assert min(pvalues) > 0.05 / len(names)
