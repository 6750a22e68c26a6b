"""Sections of spheroids against plane geometry, quadrature, known calipers and simulation; unfolding; forward model."""

import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.stats import chi2

import physgen as pg
from physgen.forward_models.stereology.spheroids import (
    SHAPES,
    aspect_density,
    aspect_integral,
    check_shape,
    mean_height,
    section_axes,
    size_density,
)
from physgen.forward_models.stereology.spheroids_model import SpheroidSections
from physgen.forward_models.stereology.spheroids_unfolding import aspect_matrix, size_matrix, unfold_spheroids
from physgen.inversions import OptimalEstimation
from physgen.noise import PoissonNoise
from physgen.testing import check_forward_model

SIZES = (2.0, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0)
ASPECTS = (0.2, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
PRIOR = {
    "number": pg.LogNormal(1e-4, 1.0),
    "size": pg.LogNormal(8.0, 0.5),
    "size_sd": pg.Uniform(1.05, 2.5),
    "aspect": pg.Uniform(0.2, 0.95),
    "aspect_sd": pg.LogNormal(0.5, 0.5),
}


def f64(*values):
    return torch.tensor(values, dtype=torch.float64)


def cut(half_axes, u, p):
    """Semi-axes, ascending, of the ellipses in which planes u . x = p cut ellipsoids: by linear algebra.

    In the plane x = p u + B y the ellipsoid x' A x = 1 is a quadratic form in y about another centre.
    """
    A = np.zeros((len(p), 3, 3))
    A[:, [0, 1, 2], [0, 1, 2]] = half_axes**-2.0
    first = np.cross(u, np.where(np.abs(u[:, :1]) < 0.5, [[1.0, 0, 0]], [[0, 1.0, 0]]))
    first /= np.linalg.norm(first, axis=1, keepdims=True)
    B = np.stack([first, np.cross(u, first)], -1)
    M = np.einsum("nia,nij,njb->nab", B, A, B)
    b = np.einsum("nia,nij,nj->na", B, A, u) * p[:, None]
    rest = (
        1
        - p**2 * np.einsum("ni,nij,nj->n", u, A, u)
        + np.einsum("na,na->n", b, np.linalg.solve(M, b[..., None])[..., 0])
    )
    return np.sqrt(rest[:, None] / np.linalg.eigvalsh(M))[:, ::-1]


def axes_of(w, q, shape):
    """Semi-axes (n, 3), the third along the axis of rotation."""
    c = w / q if shape == "prolate" else w * q
    return np.stack([w, w, c], -1)


def isotropic(n, rng):
    u = rng.normal(size=(n, 3))
    return u / np.linalg.norm(u, axis=1, keepdims=True)


def random_sections(w, q, shape, number, area, rng):
    """Size and aspect of the profiles in a field: planes at random heights, which keep those that they meet.

    w, q are those of the spheroids per volume; a slab of half-height the longest semi-axis holds all that can be met.
    """
    longest = axes_of(w, q, shape).max(1)
    n = rng.poisson(number * area * 2 * longest.mean())
    at = rng.choice(len(w), n, p=longest / longest.sum())
    u, axes = isotropic(n, rng), axes_of(w[at], q[at], shape)
    p = rng.uniform(-1, 1, n) * longest[at]
    met = np.abs(p) < np.sqrt(((axes * u) ** 2).sum(1))
    found = cut(axes[met], u[met], p[met])
    return found[:, 0 if shape == "prolate" else 1], found[:, 0] / found[:, 1]


@pytest.mark.parametrize("shape", SHAPES)
def test_the_axes_of_a_section_are_those_of_plane_geometry(shape):
    rng = np.random.default_rng(0)
    w, q, u = rng.uniform(0.5, 3, 200), rng.uniform(0.1, 0.98, 200), isotropic(200, rng)
    axes, t = axes_of(w, q, shape), rng.uniform(0, 0.99, 200)
    found = cut(axes, u, t * np.sqrt(((axes * u) ** 2).sum(1)))
    m, s = section_axes(*(torch.from_numpy(a) for a in (w, q, np.abs(u[:, 2]), t)), shape)
    np.testing.assert_allclose(m, found[:, 0 if shape == "prolate" else 1], rtol=1e-9)
    np.testing.assert_allclose(s, found[:, 0] / found[:, 1], rtol=1e-9)


@pytest.mark.parametrize(("shape", "w", "H"), [("prolate", 1.0, 2.7603460), ("oblate", 2.0, 3.4183992)])
def test_known_mean_calipers(shape, w, H):
    assert 2 * w * float(mean_height(f64(0.5), shape)) == pytest.approx(H, abs=5e-8)
    # a sphere in the limit
    assert float(mean_height(f64(1 - 1e-9), shape)) == pytest.approx(1, abs=2e-9)


@pytest.mark.parametrize("shape", SHAPES)
def test_densities_integrate_to_their_integrals(shape):
    for q in (0.1, 0.5, 0.9, 0.999):
        for s in (0.2, 0.6, 0.95, 1.0):
            exact = 0.0
            if s > q:  # s' = q + v^2 takes out the root

                def one(v, q=q):
                    return 2 * v * float(aspect_density(f64(q + v * v), f64(q), shape))

                exact = quad(one, 0, math.sqrt(s - q), limit=200)[0]
            assert float(aspect_integral(f64(s), f64(q), shape)) == pytest.approx(exact, rel=1e-8, abs=1e-12)
    assert quad(lambda v: 2 * v * float(size_density(f64(3 - v * v), f64(3.0))), 0, math.sqrt(3))[0] == pytest.approx(3)


@pytest.mark.parametrize("shape", SHAPES)
def test_simulated_sections_have_the_joint_distribution(shape):
    rng = np.random.default_rng(7)
    w, q, number, area = np.array([5.0]), np.array([0.45]), 1e-3, 4e6
    m, s = random_sections(w, q, shape, number, area, rng)
    of_size, of_aspect = f64(0, 1, 2, 3, 4, 4.6, 5), f64(0.45, 0.5, 0.55, 0.6, 0.7, 0.8, 0.9, 1)
    seen = np.histogram2d(m, s, [of_size.numpy(), of_aspect.numpy()])[0]
    by_size = 2 * (25 - of_size.square()).clamp(min=0).sqrt().diff().neg()
    by_aspect = aspect_integral(of_aspect, f64(0.45), shape).diff()
    expected = (number * area * by_size[:, None] * by_aspect).numpy()
    statistic = ((seen - expected) ** 2 / expected).sum()
    assert 1e-3 < chi2.sf(statistic, expected.size) < 1 - 1e-3


@pytest.mark.parametrize("shape", SHAPES)
def test_the_matrix_of_a_class_is_the_mean_over_its_aspects(shape):
    e = f64(0.2, 0.35, 0.5, 0.8, 1.0)
    Q = aspect_matrix(e, e, shape)
    for j in range(4):
        for k in range(4):
            low, high = float(e[k]), float(e[k + 1])

            def one(q, j=j):
                return float(aspect_integral(e[j + 1], f64(q), shape) - aspect_integral(e[j], f64(q), shape))

            breaks = [x for x in e.tolist() if low <= x <= high]
            exact = quad(one, low, high, points=breaks, limit=400, epsabs=1e-9)[0] / (high - low)
            assert float(Q[j, k]) == pytest.approx(exact, abs=2e-7)


@pytest.mark.parametrize("within", ["uniform", "limit"])
@pytest.mark.parametrize("method", ["inverse", "em"])
@pytest.mark.parametrize("shape", SHAPES)
def test_expected_counts_give_back_the_spheroids(shape, method, within):
    of_size, of_aspect = f64(0, 3, 6, 10), f64(0.3, 0.5, 0.7, 0.85, 1.0)
    truth = f64(*range(1, 13)).reshape(3, 4)
    P, Q = size_matrix(of_size, of_size, within), aspect_matrix(of_aspect, of_aspect, shape, within)
    expected = P @ truth @ Q.T
    sizes, aspects = torch.meshgrid(f64(1, 4, 9), f64(0.4, 0.6, 0.8, 0.9), indexing="ij")
    found = unfold_spheroids(
        sizes.flatten(),
        aspects.flatten(),
        of_size,
        of_aspect,
        shape=shape,
        area=1.0,
        weights=expected.flatten(),
        method=method,
        within=within,
    )
    if method == "inverse":
        torch.testing.assert_close(found.number, truth, rtol=1e-10, atol=0)
    else:
        assert bool(found.fit.converged)
        assert float((P @ found.number @ Q.T - expected).abs().max()) < 0.02 * float(expected.max())


@pytest.mark.parametrize("shape", SHAPES)
def test_unfolding_simulated_spheroids_with_correlated_size_and_aspect(shape):
    """Uniform within two blocks of classes: small and flat, large and round."""
    rng = np.random.default_rng(11)
    flat = rng.uniform(size=400000) < 0.6
    w = np.where(flat, rng.uniform(2, 4, 400000), rng.uniform(6, 8, 400000))
    q = np.where(flat, rng.uniform(0.4, 0.55, 400000), rng.uniform(0.7, 0.85, 400000))
    m, s = random_sections(w, q, shape, 1e-3, 4e6, rng)
    of_size, of_aspect = f64(0, 2, 4, 6, 8), f64(0.4, 0.55, 0.7, 0.85, 1.0)
    found = unfold_spheroids(m, s, of_size, of_aspect, shape=shape, area=4e6)
    truth = torch.zeros(4, 4).double()
    truth[1, 0], truth[3, 2] = 6e-4, 4e-4
    # no section of the large ones is flat, so that some of the first classes are 0 without an error
    z = (found.number - truth) / found.standard_error.clamp(min=1e-9)
    some = found.sections.cumsum(1) > 0
    assert bool((found.number[~some].abs() < 3e-6).all())
    assert float(z[truth > 0].abs().max()) < 3
    assert float(z[0].abs().max()) < 3
    em = unfold_spheroids(m, s, of_size, of_aspect, shape=shape, area=4e6, method="em")
    assert bool((em.number >= 0).all())
    assert float((em.number - truth).abs().sum()) < 0.03 * 1e-3


@pytest.mark.parametrize("shape", SHAPES)
def test_the_forward_model_keeps_the_contract(shape):
    check_forward_model(SpheroidSections(SIZES, ASPECTS, shape), prior=pg.Independent(PRIOR), conditions={"area": 1e6})


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("x", [(1e-4, 8.0, 1.3, 0.6, 0.5), (2e-4, 5.0, 1.8, 0.8, 1.2), (1e-4, 8.0, 1.02, 0.55, 0.05)])
def test_the_forward_model_expects_what_simulation_counts(shape, x):
    rng = np.random.default_rng(5)
    number, size, size_sd, aspect, aspect_sd = x
    z = rng.normal(size=(2, 400000))
    w = size * size_sd ** z[0]
    q = 1 / (1 + np.exp(-(math.log(aspect / (1 - aspect)) + aspect_sd * z[1])))
    area = 5e4 / (number * 2 * size)
    m, s = random_sections(w, q, shape, number, area, rng)
    seen = np.histogram2d(m, s, [SIZES, ASPECTS])[0].ravel()
    expected = SpheroidSections(SIZES, ASPECTS, shape)(f64(*x), area=f64(area)[0]).numpy()
    use = expected > 5
    statistic = ((seen - expected)[use] ** 2 / expected[use]).sum()
    assert 1e-3 < chi2.sf(statistic, use.sum()) < 1 - 1e-3


def test_every_class_together_is_the_mean_caliper():
    for shape in SHAPES:
        model = SpheroidSections((0.0, 50.0, 1e4), (1e-6, 0.5, 1.0), shape)
        x = f64(1e-4, 8.0, 1.4, 0.6, 1e-4)
        total = float(model(x, area=f64(1e6)[0]).sum())
        mean_w = 8 * math.exp(0.5 * math.log(1.4) ** 2)
        assert total == pytest.approx(1e-4 * 1e6 * 2 * mean_w * float(mean_height(f64(0.6), shape)), rel=1e-7)


def test_float32_and_extremes_stay_positive_and_finite():
    model = SpheroidSections(SIZES, ASPECTS, "prolate")
    for dtype in (torch.float32, torch.float64):
        x = torch.tensor(
            [[1e-4, 8, 1.0001, 0.5, 1e-3], [1e-4, 1e-3, 1.1, 0.999, 3], [1e-4, 1e4, 5, 0.01, 0.01]], dtype=dtype
        ).requires_grad_()
        y = model(x, area=torch.tensor(1e6, dtype=dtype))
        assert bool((torch.isfinite(y) & (y > 0)).all())
        (slope,) = torch.autograd.grad(y.sum(), x)
        assert bool(torch.isfinite(slope).all())


def posterior(count, seed):
    """True causes, their draws and which posteriors are trusted, for fields of some hundred oblate spheroids."""
    problem = pg.Problem(SpheroidSections(SIZES, ASPECTS, "oblate"), pg.Independent(PRIOR), PoissonNoise())
    x, y = problem.simulate(count, seed=seed, area=3e5)
    result = OptimalEstimation()(problem, y, conditions={"area": 3e5}, seed=4)
    return x, result.draws, result.status == 0


def test_a_posterior_is_near_what_made_the_counts():
    x, draws, trusted = posterior(2, 8)
    assert bool(trusted.all())
    z = (draws.log().mean(0) - x.log()) / draws.log().std(0)
    assert float(z.abs().max()) < 3.5


@pytest.mark.slow
def test_posteriors_cover_what_made_the_counts():
    x, draws, trusted = posterior(120, 3)
    low, high = draws.quantile(torch.tensor([0.05, 0.95]).to(x), 0)
    inside = ((low < x) & (x < high))[trusted].double().mean(0)
    assert float(trusted.double().mean()) > 0.7
    # some 100 intervals for each cause
    assert bool(((inside > 0.81) & (inside < 0.985)).all())


@pytest.mark.parametrize("shape", ["mixed", "both"])
def test_a_mixed_population_is_refused_with_the_reason(shape):
    calls = (
        lambda: check_shape(shape),
        lambda: SpheroidSections(SIZES, ASPECTS, shape),
        lambda: unfold_spheroids([1.0] * 12, [0.5] * 12, [0, 2.0], [0.1, 1.0], shape=shape),
    )
    for call in calls:
        with pytest.raises(ValueError, match="mixed population cannot be identified") as error:
            call()
        assert str(error.value).count(". ") == 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"shape": "round"}, "shape 'round'"),
        ({"aspects": [0.5] * 11 + [1.2]}, "aspect 1.2 in row 11"),
        ({"aspects": [0.5] * 11}, "aspects of shape"),
        ({"sizes": [1.0] * 11 + [-1.0]}, "diameter -1 in row 11"),
        ({"size_classes": [0.0, 0.5]}, "end below the largest"),
        ({"aspect_classes": [0.6, 1.0]}, "above the flattest"),
        ({"aspect_classes": [0.2, 0.9]}, "from 0.2 to 0.9"),
        ({"method": "guess"}, "method 'guess'"),
        ({"within": "middle"}, "within 'middle'"),
        ({"area": 0.0}, "area 0"),
    ],
)
def test_bad_input_stops_in_two_sentences(change, words):
    given = {
        "sizes": [1.0] * 12,
        "aspects": [0.5] * 12,
        "size_classes": [0, 2.0],
        "aspect_classes": [0.1, 1.0],
        "shape": "oblate",
        **change,
    }
    with pytest.raises(ValueError, match=words) as error:
        unfold_spheroids(**given)
    assert str(error.value).count(". ") == 1


def test_bad_classes_of_the_forward_model():
    for sizes, aspects in (((2.0, 1.0), ASPECTS), (SIZES, (0.0, 0.5)), (SIZES, (0.5, 1.1))):
        with pytest.raises(ValueError, match="classes"):
            SpheroidSections(sizes, aspects, "prolate")
