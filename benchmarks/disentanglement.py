"""Mutual information gap and DCI of the autoencoder family on small rendered shapes.

    python benchmarks/disentanglement.py [--seeds 5] [--epochs 30] [--rows 5200]

Ellipses of 16 x 16 pixels, whose horizontal and vertical position, size and rotation are drawn uniformly. Each
objective learns a code of six elements from the pixels alone; scores are those of the encoder's mean against the four
factors, in the median over the seeds (Chen et al. 2018, eq. 6; Eastwood & Williams 2018).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping

import numpy as np
import torch

from physgen.diagnostics.dci import dci
from physgen.diagnostics.disentanglement import mutual_information_gap
from physgen.priors import Decoder, Objective, Training
from physgen.priors.objectives import beta_tcvae, beta_vae, dip_vae, factor_vae

FACTORS = ("x", "y", "size", "rotation")
OBJECTIVES: dict[str, Objective] = {
    "VAE": Objective(),
    "beta-VAE (4)": beta_vae(4.0),
    "beta-TCVAE (6)": beta_tcvae(6.0),
    "DIP-VAE-I (10)": dip_vae("i", 10.0),
    "DIP-VAE-II (10)": dip_vae("ii", 10.0),
    "FactorVAE (10)": factor_vae(10.0),
}


def shapes(rows: int, *, pixels: int = 16, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Pictures ``(rows, pixels**2)`` of ellipses with soft edges, and their factors ``(rows, 4)``.

    The axes are as 2 to 1, and the rotation from 0 to 90 degrees, so that every factor can be seen in the picture.
    """
    rng = np.random.default_rng(seed)
    x, y = rng.uniform(-0.45, 0.45, (2, rows))
    size, rotation = rng.uniform(0.25, 0.5, rows), rng.uniform(0, 0.5 * np.pi, rows)
    axis = (np.arange(pixels) + 0.5) / pixels * 2 - 1
    right, up = np.meshgrid(axis, axis)
    dx, dy = right[None] - x[:, None, None], up[None] - y[:, None, None]
    c, s = np.cos(rotation)[:, None, None], np.sin(rotation)[:, None, None]
    radius = np.hypot((c * dx + s * dy) / size[:, None, None], 2 * (c * dy - s * dx) / size[:, None, None])
    picture = 1 / (1 + np.exp(np.clip((radius - 1) * 8, -30, 30)))
    noise = 0.05 * rng.normal(size=picture.shape)
    return (picture + noise).reshape(rows, -1), np.stack([x, y, size, rotation], 1)


def scores(objective: Objective, rows: int, epochs: int, seed: int) -> tuple[float, float]:
    """MIG and disentanglement of one fit."""
    pictures, factors = shapes(rows, seed=seed)
    training = Training(epochs=epochs, batch=128, learning_rate=2e-3, patience=epochs)
    prior = Decoder.fit(
        pictures, 6, hidden=(96, 48), noise="common", scale="common", objective=objective, training=training, seed=seed
    )
    code, truth = prior.code(torch.from_numpy(pictures))[0], torch.from_numpy(factors)
    return float(mutual_information_gap(code, truth)), float(dci(code, truth).disentanglement)


def table(seeds: int, epochs: int, rows: int, objectives: Mapping[str, Objective]) -> dict[str, np.ndarray]:
    """Scores ``(seeds, 2)`` of every objective, printed as they come."""
    print(f"{'median of ' + str(seeds) + ' seeds':<18}{'MIG':>7} (all){'':<26}{'DCI':>7} (all)", flush=True)
    found = {}
    for name, objective in objectives.items():
        each = np.array([scores(objective, rows, epochs, seed) for seed in range(seeds)])
        found[name] = each
        lists = [" ".join(f"{v:.2f}" for v in column) for column in each.T]
        mig, dis = np.median(each, 0)
        print(f"{name:<18}{mig:7.3f}  {lists[0]:<30}{dis:7.3f}  {lists[1]}", flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--rows", type=int, default=5200)
    given = parser.parse_args()
    torch.set_num_threads(1)
    start = time.process_time()
    table(given.seeds, given.epochs, given.rows, OBJECTIVES)
    print(f"{time.process_time() - start:.0f} s of one core")


if __name__ == "__main__":
    main()
