"""Classical unfolding against published coefficients, exact expectations, and simulated spheres."""

import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad

from physgen.forward_models.stereology.classical import (
    class_kernel,
    saltykov,
    saltykov_coefficients,
    scheil,
    schwartz_saltykov,
    schwartz_saltykov_coefficients,
)

METHODS = (saltykov, schwartz_saltykov, scheil)


def expected_counts(edges, diameters, numbers):
    """Profiles per area in each class, summed over single spheres."""
    reach = np.sqrt(np.clip(diameters[None] ** 2 - edges[:, None] ** 2, 0, None))
    return ((reach[:-1] - reach[1:]) * numbers).sum(1)


def profiles(diameter, number, area, rng):
    """Diameters of the profiles in one field: each kind of sphere is hit Poisson(N_V D area) times."""
    hits = rng.poisson(number * diameter * area)
    D = np.repeat(diameter, hits)
    return D * np.sqrt(1 - rng.uniform(size=len(D)) ** 2)


def test_saltykov_coefficients_are_the_published_ones():
    c = saltykov_coefficients(12)
    exact = torch.tensor([1.646121, -0.456123, -0.116190, -0.041495])
    torch.testing.assert_close(c[:4], exact.to(c), rtol=0, atol=5e-7)
    # each takes off what the larger classes leave: with p_n the share of profiles n classes below their sphere
    p = torch.sqrt(1 - 10 ** (-0.2 * torch.arange(13, dtype=torch.float64))).diff()
    for n in range(12):
        assert float((c[: n + 1] * p[: n + 1].flip(0)).sum()) == pytest.approx(float(n == 0), abs=1e-12)


def test_schwartz_saltykov_coefficients_are_the_published_ones():
    alpha = schwartz_saltykov_coefficients(15)
    diagonal = torch.tensor([1, 0.57735, 0.44721, 0.37796, 0.33333])
    torch.testing.assert_close(alpha.diagonal()[:5], diagonal.to(alpha), rtol=0, atol=5e-6)
    torch.testing.assert_close(alpha.diagonal(), 1 / torch.sqrt(2 * torch.arange(15).to(alpha) + 1))
    assert float(alpha[0, 1]) == pytest.approx(-0.1547, abs=5e-5)
    assert not alpha.tril(-1).any()


@pytest.mark.parametrize("method", METHODS)
def test_expected_counts_give_back_the_spheres(method):
    """One profile in the middle of each class, weighted by what is expected there: no noise, so no error."""
    empty = method(torch.linspace(1, 40.0, 30, dtype=torch.float64), 12)
    edges = empty.edges.numpy()
    truth = np.random.default_rng(1).uniform(0.5, 2, 12) * 1e-4
    expected = expected_counts(edges, edges[1:], truth)
    middles = 0.5 * (edges[1:] + edges[:-1])
    found = method(middles, 12, area=50.0, largest=float(edges[-1]), weights=expected * 50)
    np.testing.assert_allclose(found.number, truth, rtol=1e-11)
    relative = method(middles, 12, largest=float(edges[-1]), weights=expected)
    np.testing.assert_allclose(relative.number, truth / truth.sum(), rtol=1e-11)
    assert float(relative.mean_diameter) == pytest.approx((truth * edges[1:]).sum() / truth.sum())


def test_successive_subtraction_is_the_inverse_matrix():
    d = profiles(np.linspace(5, 60, 50), np.full(50, 0.02), 1.0, np.random.default_rng(2))
    one, other = scheil(d, 9, area=2.0), schwartz_saltykov(d, 9, area=2.0)
    for name in ("edges", "diameter", "sections", "number", "standard_error"):
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), rtol=1e-10, atol=1e-16)


@pytest.mark.parametrize("within", ["upper", "middle", "uniform"])
def test_the_kernel_is_wicksells_averaged_over_a_class(within):
    sections = torch.tensor([0.0, 1.0, 2.5, 3.0, 7.0], dtype=torch.float64)
    spheres = torch.tensor([0.5, 1.0, 2.75, 6.0], dtype=torch.float64)
    K = class_kernel(sections, spheres, within)
    for i in range(4):
        for j in range(3):
            low, high = float(spheres[j]), float(spheres[j + 1])

            def one(D, i=i):
                return expected_counts(sections[i : i + 2].numpy(), np.array([D]), 1.0)[0]

            if within == "uniform":
                breaks = [x for x in sections.tolist() if low < x < high]
                exact = quad(one, low, high, points=breaks or None, limit=200)[0] / (high - low)
            else:
                exact = one(high if within == "upper" else 0.5 * (low + high))
            assert float(K[i, j]) == pytest.approx(exact, rel=1e-6, abs=1e-9)


def test_scheil_takes_any_classes_and_spheres():
    edges = np.array([0, 2.0, 5.0, 11.0, 20.0])
    truth = np.array([3.0, 1.0, 2.0, 0.5])
    expected = expected_counts(edges, 0.5 * (edges[1:] + edges[:-1]), truth)
    d = np.repeat([1.0, 3.0, 9.0, 15.0], 4)
    found = scheil(d, edges, area=1.0, weights=np.repeat(expected / 4, 4), spheres="middle")
    np.testing.assert_allclose(found.number, truth, rtol=1e-12)
    assert found.below == 0
    cut = scheil(d, edges[1:], area=1.0)
    assert cut.below == 4


def test_simulated_spheres_and_their_standard_errors():
    rng = np.random.default_rng(3)
    diameter, number = 5.0 * np.arange(1, 9), np.array([2, 0, 4, 8, 6, 3, 0, 1]) * 1e-3
    found = [schwartz_saltykov(profiles(diameter, number, 2e4, rng), 8, area=2e4, largest=40.0) for _ in range(200)]
    numbers = torch.stack([f.number for f in found]).numpy()
    errors = torch.stack([f.standard_error for f in found]).numpy()
    z = (numbers.mean(0) - number) / (numbers.std(0) / math.sqrt(200))
    assert np.abs(z).max() < 3.5
    # a standard deviation of 200 values is known to 5 %
    ratio = np.sqrt((errors**2).mean(0)) / numbers.std(0)
    assert np.abs(ratio - 1).max() < 0.18


def test_negative_classes_are_reported_and_hidden_only_on_request():
    # no small profile at all, which no spheres can do
    d = np.linspace(8, 10, 40)
    found = schwartz_saltykov(d, 10)
    assert bool(found.negative.any())
    assert float(found.number.sum()) == pytest.approx(1)
    clipped = found.clipped()
    assert not bool(clipped.negative.any())
    assert float(clipped.number.sum()) == pytest.approx(1)
    assert torch.equal(clipped.number > 0, found.number > 0)


def test_dtype_follows_the_diameters():
    d = torch.linspace(1, 9, 30, dtype=torch.float32)
    for method in METHODS:
        assert method(d, area=3.0).number.dtype == torch.float32
        np.testing.assert_allclose(method(d).number, method(d.double()).number, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("d", "kwargs", "kind", "words"),
    [
        ([1.0] * 12 + [-2.0], {}, ValueError, "diameter -2 in row 12"),
        ([1.0] * 5 + [0.0] * 7, {}, ValueError, "diameter 0 in row 5"),
        ([1.0] * 11 + [math.nan], {}, ValueError, "diameter nan in row 11"),
        (["a"] * 12, {}, TypeError, "diameters of type list"),
        ([[1.0] * 12], {}, ValueError, "shape"),
        ([1.0] * 9, {}, ValueError, "profiles, 9"),
        ([1.0] * 12, {"classes": 0}, ValueError, "classes 0"),
        ([1.0] * 12, {"area": -1.0}, ValueError, "area -1"),
        ([1.0] * 12, {"largest": 0.5}, ValueError, "largest diameter 0.5"),
        ([1.0] * 12, {"weights": [1.0] * 11}, ValueError, "weights, 11"),
        ([1.0] * 12, {"weights": [1.0] * 11 + [-1.0]}, ValueError, "weight -1 in row 11"),
        ([1.0] * 12, {"weights": [0.0] * 12}, ValueError, "all 0"),
    ],
)
@pytest.mark.parametrize("method", METHODS)
def test_bad_input_stops_in_two_sentences(method, d, kwargs, kind, words):
    with pytest.raises(kind, match=words) as error:
        method(d, **kwargs)
    assert str(error.value).endswith(".")
    assert str(error.value).count(". ") == 1


def test_bad_classes():
    d = np.linspace(1, 5, 20)
    for classes in ([0, 2, 1, 9.0], [-1, 2, 9.0], [9.0]):
        with pytest.raises(ValueError, match="classes"):
            scheil(d, classes)
    with pytest.raises(ValueError, match="hold no profile"):
        scheil(d, [6.0, 7.0, 9.0])
    with pytest.raises(ValueError, match="spheres 'largest'"):
        scheil(d, 5, spheres="largest")
