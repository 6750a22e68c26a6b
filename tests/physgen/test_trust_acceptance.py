"""A mixture of pixels under the noise of the forest plots: who is flagged. Prints the figures (``pytest -s``)."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
import torch

from physgen.diagnostics.c2st import c2st
from physgen.diagnostics.observation_embedding import lent
from physgen.diagnostics.trust import Trust
from physgen.diagnostics.trust_assessment import learn_judge
from physgen.forward_models import Canopy
from physgen.forward_models.canopy.vegetation_prior import vegetation
from physgen.inversions import OptimalEstimation
from physgen.random import single_stream, uniform
from physgen.recipe import load_recipe

RECIPE = Path(__file__).resolve().parents[2] / "examples" / "canopy" / "forest_plots.toml"
MODEL, FOREIGN = 300, 100


def from_law(problem, conditions, n, seed, lidf=None):
    """Causes and pixels of canopies whose leaf angles follow Verhoef's law, not Campbell's; `lidf` its extremes."""
    forward = Canopy(sensor="sentinel-2a", leaf="D", bands=problem.forward.bands, leaf_angles="verhoef")
    prior = vegetation(forward)
    x, names = prior.sample(n, seed=seed), forward.causes.names
    if lidf is not None:
        x[:, names.index("lidfa")], x[:, names.index("lidfb")] = lidf
    y = problem.noise.sample(forward(x, **conditions), seed=seed)
    return x[:, names.index("lai")], y


def mixture(problem, conditions):
    """Pixels of every kind: (y, conditions, true leaf area or None)."""

    def own(n, seed):
        return lent(problem, conditions, n, seed)

    lai, found = problem.prior.causes.names.index("lai"), {}
    for kind, seed in (("model", 101), ("cloud", 102)):
        c = own(MODEL if kind == "model" else FOREIGN, seed)
        x, y = problem.simulate(len(next(iter(c.values()))), seed=seed, **c)
        found[kind] = (y, c, x[:, lai])
    y, c, _ = found["cloud"]
    u = uniform((FOREIGN, 2), single_stream(), seed=103).to(y)
    share, bright = 0.2 + 0.8 * u[:, :1], 0.5 + 0.4 * u[:, 1:]
    found["cloud"] = ((1 - share) * y + share * bright, c, None)
    found["noise"] = (uniform((FOREIGN, y.shape[1]), single_stream(), seed=104).to(y), own(FOREIGN, 105), None)
    for kind, seed, lidf in (("other law", 106, None), ("planophile", 107, (0.98, 0.0))):
        c = own(FOREIGN, seed)
        x, y = from_law(problem, c, FOREIGN, seed, lidf)
        found[kind] = (y, c, x)
    return found


def report(kind, codes, k):
    words = ", ".join(f"{int((codes == t).sum())} {t.words}" for t in Trust if (codes == t).any())
    return f"{kind:12s} {len(codes):4d} pixels, flagged {100 * k:5.1f} %: {words}"


@pytest.mark.slow
def test_clouds_and_noise_are_flagged_and_another_leaf_angle_law_cannot_be_told():
    torch.set_default_dtype(torch.float32)
    job = load_recipe(RECIPE).build()
    problem, lai = job.problem, job.problem.prior.causes.names.index("lai")
    conditions = {k: torch.as_tensor(np.asarray(v)).reshape(-1) for k, v in job.observations.conditions.items()}
    start = time.process_time()
    judge = learn_judge(problem, conditions=conditions, seed=1)
    print(f"\nlearned in {time.process_time() - start:.1f} s of processor time")
    flagged, cover, pixels = {}, {}, mixture(problem, conditions)
    for kind, (y, c, truth) in pixels.items():
        result = OptimalEstimation()(problem, y, conditions=c, seed=5)
        start = time.process_time()
        codes = judge.figures(result)["trust"]
        took = 1e3 * (time.process_time() - start) / len(y)
        flagged[kind] = float((codes != Trust.TRUSTED).double().mean())
        print(report(kind, codes, flagged[kind]), f"({took:.2f} ms a pixel)")
        if truth is not None:
            low, high = result.draws[..., lai].quantile(torch.tensor([0.05, 0.95]), dim=0)
            cover[kind] = float(((truth > low) & (truth < high)).double().mean())
            print(f"             90 % intervals of leaf area cover {100 * cover[kind]:.0f} %")
    model_c = lent(problem, conditions, 2000, 201)
    model_y = problem.simulate(2000, seed=201, **model_c)[1]
    for kind, lidf in (("other law", None), ("planophile", (0.98, 0.0))):
        _, other = from_law(problem, model_c, 2000, 202, lidf)
        told = 100 * float(c2st(model_y, other, classifier="logistic").accuracy)
        print(f"a classifier tells '{kind}' from the model in {told:.0f} % of pixels")
    assert flagged["cloud"] >= 0.99
    assert flagged["noise"] >= 0.99
    assert flagged["model"] <= 0.05
    # Campbell's law with other causes makes the same pixels within this noise, so that nothing is there to be flagged
    assert cover["other law"] == pytest.approx(0.9, abs=0.07)
