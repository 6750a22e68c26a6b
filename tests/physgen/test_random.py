"""Counter-based random numbers against Philox4x64-10 written out from its paper."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats

from physgen.random import normal, single_stream, uniform

MASK = 2**64 - 1


def philox(counter: list[int], key: list[int]) -> list[int]:
    """Philox4x64-10 (Salmon et al. 2011, section 3.3 and table 2), in plain integers."""
    (a, b, c, d), (k0, k1) = counter, key
    for _ in range(10):
        first, second = 0xD2E7470EE14C6C93 * a, 0xCA5A826395121157 * c
        a, b, c, d = (second >> 64) ^ b ^ k0, second & MASK, (first >> 64) ^ d ^ k1, first & MASK
        k0, k1 = (k0 + 0x9E3779B97F4A7C15) & MASK, (k1 + 0xBB67AE8584CAA73B) & MASK
    return [a, b, c, d]


def test_reference_gives_the_published_vector() -> None:
    # Random123, kat_vectors, philox4x64 10 rounds, counter and key 0
    assert philox([0, 0, 0, 0], [0, 0]) == [
        *(0x16554D9ECA36314C, 0xDB20FE9D672D0FDC, 0xD7E772CEE186176B, 0x7E68B68AEC7BA23B),
    ]


@pytest.mark.parametrize(("seed", "stream", "stage"), [(0, 0, 0), (7, 3, 2), (2**63 + 5, 10**12, 1 << 32), (-1, 1, 1)])
def test_uniform_is_philox(seed: int, stream: int, stage: int) -> None:
    found = uniform((6,), torch.tensor(stream), seed=seed, stage=stage)
    words = [w for block in (1, 2) for w in philox([block, stage, stream, 0], [seed & MASK, 0])][:6]
    wanted = [((w >> 12) + 0.5) / 2**52 for w in words]
    assert found.tolist() == wanted


def test_normal_is_box_muller_of_the_uniforms() -> None:
    u = uniform((3, 2), torch.tensor(4), seed=9)
    found = normal((5,), torch.tensor(4), seed=9)
    polar = [(math.sqrt(-2 * math.log(r)), 2 * math.pi * v) for r, v in u.tolist()]
    wanted = [radius * f(angle) for radius, angle in polar for f in (math.cos, math.sin)]
    np.testing.assert_allclose(found, wanted[:5], rtol=1e-14)


def test_distributions() -> None:
    streams = torch.arange(500)
    assert stats.kstest(uniform((40,), streams, seed=1).flatten().numpy(), "uniform").pvalue > 1e-3
    z = normal((41,), streams, seed=1)
    assert stats.kstest(z.flatten().numpy(), "norm").pvalue > 1e-3
    # neighbouring streams, stages and numbers are uncorrelated: 20,500 products, 4 standard errors
    other = normal((41,), streams, seed=1, stage=1)
    for a, b in ((z[1:], z[:-1]), (z, other), (z[:, 1:], z[:, :-1]), (z[1:].square() - 1, z[:-1].square() - 1)):
        product = (a * b).flatten()
        assert abs(product.mean()) < 4 * product.std() / product.numel() ** 0.5


def test_numbers_do_not_depend_on_the_chunks() -> None:
    streams = torch.arange(12).reshape(3, 4)
    whole = normal((5, 2), streams, seed=3, stage=8)
    assert whole.shape == (3, 4, 5, 2)
    assert torch.equal(whole[1:, 2], normal((5, 2), streams[1:, 2], seed=3, stage=8))
    assert torch.equal(whole[2, 3], normal((5, 2), torch.tensor(11), seed=3, stage=8))


def test_a_longer_shape_begins_with_the_shorter() -> None:
    for make in (uniform, normal):
        long, short = make((9,), single_stream(), seed=5), make((4,), single_stream(), seed=5)
        assert torch.equal(long[:4], short)


def test_seed_stream_and_stage_each_matter() -> None:
    first = uniform((4,), single_stream(), seed=0)
    for other in (
        uniform((4,), single_stream(), seed=1),
        uniform((4,), torch.tensor(1), seed=0),
        uniform((4,), single_stream(), seed=0, stage=1),
    ):
        assert not bool((first == other).any())


def test_float32_sees_the_same_numbers_and_never_1() -> None:
    streams = torch.arange(2000)
    single = uniform((50,), streams, seed=0, dtype=torch.float32)
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), uniform((50,), streams, seed=0), rtol=1e-7, atol=0)
    assert float(single.max()) < 1
    assert float(single.min()) > 0
    assert bool(torch.isfinite(normal((50,), streams, seed=0, dtype=torch.float32)).all())


def test_the_global_state_is_left_alone() -> None:
    before = torch.get_rng_state()
    normal((10,), torch.arange(3), seed=0)
    assert torch.equal(torch.get_rng_state(), before)
