"""Images of particles and of fields: what is drawn has the two-point statistics of what was learned, and is no copy."""

import math

import pytest
import torch

from physgen.diagnostics.memorisation import memorisation
from physgen.diagnostics.two_point import compare_two_point
from physgen.priors.diffusion import Diffusion
from physgen.priors.fitting import Training
from physgen.priors.flow_matching import FlowMatching
from physgen.space import Block, Space

SIDE, HELD, DRAWN = 16, 2048, 512
# the gate sees the chance of the training set too: of 3,000 particles the mean area is off by 1 %, so 10,000 are taken


def fields(rows, seed, length=2.0):
    """Periodic log-Gaussian fields ``(rows, 256)``; that of their logarithm is 0.25 exp(-r^2 / (2 length^2))."""
    noise = torch.randn(rows, SIDE, SIDE, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    k = 2 * math.pi * torch.fft.fftfreq(SIDE, dtype=torch.float64)
    power = torch.exp(-(k[:, None] ** 2 + k**2) * length**2 / 2)
    made = torch.fft.ifft2(torch.fft.fft2(noise) * (power / power.mean()).sqrt()).real
    return (0.5 * made).exp().flatten(1)


def particles(rows, seed, largest=5.5):
    """Images ``(rows, 256)`` of ellipses of any size, elongation, orientation and place, with soft edges."""
    u = torch.rand(rows, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    a = 3 + (largest - 3) * u[:, 0]
    b, turn = a * (0.45 + 0.5 * u[:, 1]), math.pi * u[:, 2, None, None]
    at = torch.arange(SIDE, dtype=torch.float64)
    centre = (SIDE - 1) / 2 + 3 * (u[:, 3:] - 0.5)
    dy, dx = at[:, None] - centre[:, 0, None, None], at - centre[:, 1, None, None]
    along, across = turn.cos() * dx + turn.sin() * dy, turn.cos() * dy - turn.sin() * dx
    radius = ((along / a[:, None, None]) ** 2 + (across / b[:, None, None]) ** 2).sqrt()
    return torch.sigmoid((1 - radius) * (a * b).sqrt()[:, None, None] / 0.4).flatten(1)


CASES = {
    "fields": (fields, (0.0, math.inf), True, {"length": 2.6}, 3000, 14),
    "particles": (particles, (-math.inf, math.inf), False, {"largest": 6.2}, 10_000, 10),
}


def grid(x):
    return x.double().reshape(-1, SIDE, SIDE)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "name"), [(Diffusion, "fields"), (Diffusion, "particles"), (FlowMatching, "particles")]
)
def test_samples_pass_the_two_point_gate(kind, name):
    """And one of another length or size does not; none is a copy, while the empirical denoiser draws nothing else."""
    make, support, periodic, other, rows, epochs = CASES[name]
    causes = Space(Block("image", "1", support, shape=(SIDE, SIDE)))
    x, held = make(rows, 0), make(HELD, 1)
    prior = kind.fit(x, causes=causes, periodic=periodic, training=Training(epochs=epochs, batch=32))
    drawn = prior.sample(DRAWN, seed=0, dtype=torch.float32)
    # on whole lines, where the fields are normal: their exponential hides its correlation behind its mean
    drawn, copies, foil, x, held = (
        prior.frame.support.encode(t.double().mT).mT
        for t in (drawn, Diffusion.empirical(x, causes=causes).sample(64, seed=0), make(DRAWN, 2, **other), x, held)
    )
    gate, refused = (compare_two_point(grid(held), grid(t), periodic=periodic) for t in (drawn, foil))
    own, copied = (memorisation(t, x, held) for t in (drawn, copies))
    print(
        f"\n{kind.__name__} of {name}: two-point p {gate.p_value:.3f}, error {gate.error:.3f} "
        f"(foil p {refused.p_value:.3f}, error {refused.error:.3f}); nearer {own.nearer:.3f}, copies {own.copies:.3f} "
        f"(empirical: {copied.nearer:.3f}, {copied.copies:.3f}); step error {prior.step_error(rows=32):.1e}, "
        f"fit {prior.report.seconds:.0f} s, loss {prior.report.baseline:.3f} to {prior.report.best:.3f}"
    )
    assert gate.p_value > 0.05
    assert gate.error < 0.06
    assert refused.p_value < 0.01
    assert own.p_value > 0.01
    assert copied.nearer > 0.95
    assert copied.copies > 0.9
