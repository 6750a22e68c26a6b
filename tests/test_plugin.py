"""The shortest use, as the README prints it, from a folder of a user who has folders of his own."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

SHORTEST = """\
import torch, physgen as pg
from physgen.inversions import OptimalEstimation

def beer_lambert(x):                               # (*, 2): optical depth, surface albedo
    return x[..., 1:] * torch.exp(-x[..., :1] / torch.tensor([0.3, 0.6, 0.9]))

prior = pg.Independent(depth=pg.LogNormal(0.3, 0.5), albedo=pg.Uniform(0, 1))
problem = pg.Problem(beer_lambert, prior, pg.GaussianNoise(0.01))
result = OptimalEstimation()(problem, y)           # y: (3,) or (100000, 3)
result.to_netcdf("posterior.nc")
"""
MU = np.array([0.3, 0.6, 0.9])


def simulated(depth: float, albedo: float) -> np.ndarray:
    """A measurement with errors of about one standard deviation, given so that the truth is not the mode."""
    return albedo * np.exp(-depth / MU) + np.array([0.008, -0.011, 0.006])


def on_a_grid(y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of the posterior by summing it over a grid; LogNormal(median, log sd)."""
    log_depth = np.linspace(math.log(0.3) - 3.5, math.log(0.3) + 3.5, 1401)[:, None]
    albedo = np.linspace(0.0005, 0.9995, 1000)[None, :]
    depth = np.exp(log_depth)
    prediction = albedo[..., None] * np.exp(-depth[..., None] / MU)
    log_density = -0.5 * ((log_depth - math.log(0.3)) / 0.5) ** 2 - 0.5 * (((y - prediction) / 0.01) ** 2).sum(-1)
    weight = np.exp(log_density - log_density.max())
    weight /= weight.sum()
    causes = np.stack(np.broadcast_arrays(depth, albedo))
    mean = (weight * causes).sum((1, 2))
    variance = (weight * (causes - mean[:, None, None]) ** 2).sum((1, 2))
    return mean, np.sqrt(variance)


def run_as_user(folder: Path, y: str) -> Path:
    """The script in a folder that holds packages named like folders of physgen."""
    for name in ("forward_models", "inversions", "data"):
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text("raise RuntimeError('the folder of the user was imported')\n")
    script = folder / "script.py"
    script.write_text(f"import torch\ny = {y}\n{SHORTEST}")
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "script.py"], cwd=folder, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return folder / "posterior.nc"


def test_shortest_use_gives_the_posterior(tmp_path: Path) -> None:
    y = simulated(0.4, 0.5)
    path = run_as_user(tmp_path, f"torch.tensor({y.tolist()})")
    mean, sd = on_a_grid(y)
    posterior = xr.open_dataset(path, group="posterior")
    for i, name in enumerate(("depth", "albedo")):
        draws = posterior[name].values
        # at least 200 effective draws: a mean within 4 standard errors, a standard deviation within 20 %
        assert abs(draws.mean() - mean[i]) < 4 * sd[i] / math.sqrt(200)
        assert draws.std() == pytest.approx(sd[i], rel=0.2)


def test_shortest_use_takes_many_observations(tmp_path: Path) -> None:
    truth = torch.tensor([[0.2, 0.3], [0.4, 0.5], [0.3, 0.8], [0.6, 0.4]], dtype=torch.float64)
    y = np.stack([simulated(float(d), float(a)) for d, a in truth])
    path = run_as_user(tmp_path, f"torch.tensor({y.tolist()})")
    posterior = xr.open_dataset(path, group="posterior")
    assert posterior["depth"].shape[2:] == (4,)
    for j in range(len(y)):
        mean, sd = on_a_grid(y[j])
        for i, name in enumerate(("depth", "albedo")):
            assert abs(posterior[name].values[..., j].mean() - mean[i]) < 4 * sd[i] / math.sqrt(200)
