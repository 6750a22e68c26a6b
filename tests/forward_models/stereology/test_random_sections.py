"""Isotropic uniform random sections against the laws of integral geometry, and their gradients."""

import math

import numpy as np
import pytest
import torch

from physgen.forward_models.stereology.bodies import StarBody
from physgen.forward_models.stereology.bodies_ct import ct_particles
from physgen.forward_models.stereology.bodies_ellipsoid import Ellipsoid
from physgen.forward_models.stereology.bodies_mesh import Mesh, geodesic_sphere
from physgen.forward_models.stereology.polyhedra import box, convex_polyhedron
from physgen.forward_models.stereology.random_sections import random_sections

F64 = torch.float64
COUNT = 20_000


def tensor(*values):
    return torch.tensor(values, dtype=F64)


def particle(row=1, resolution=12):
    return StarBody(ct_particles("sacci425")[row].to(torch.complex128), resolution)


def octahedron():
    return convex_polyhedron(torch.cat([torch.eye(3, dtype=F64), -torch.eye(3, dtype=F64)]))


def dumbbell():
    """Not convex: many planes cut it in two pieces."""
    u, faces = geodesic_sphere(20)
    return Mesh((0.25 + 1.5 * u[:, 2:] ** 4) * u, faces)


BODIES = {
    "cube": lambda: box(tensor(1.0, 1, 1)),
    "slab": lambda: box(tensor(1.0, 4, 8)),
    "octahedron": octahedron,
    "prolate": lambda: Ellipsoid(tensor(1.0, 1, 2)),
    "oblate": lambda: Ellipsoid(tensor(2.0, 2, 1)),
    "particle": lambda: particle().mesh(),
    "dumbbell": dumbbell,
}


def within(found, expected, errors=4.0):
    """Whether the mean is the expectation, to so many standard errors."""
    error = float(found.double().std()) / math.sqrt(found.numel())
    return abs(float(found.double().mean()) - expected) < errors * error


@pytest.mark.parametrize("name", BODIES)
def test_mean_area_and_perimeter(name):
    body = BODIES[name]()
    found = random_sections(body, COUNT, seed=1)
    h = float(body.mean_caliper())
    assert within(found.area, float(body.volume) / h)
    assert within(found.perimeter, math.pi * float(body.surface) / (4 * h))
    assert bool((found.aspect >= 1).all())
    assert bool((found.area > 0).all())


def test_unit_cube():
    found = random_sections(box(tensor(1.0, 1, 1)), 4 * COUNT, seed=2)
    assert within(found.area, 2 / 3)
    assert within(found.perimeter, math.pi)
    assert within(found.sides, 4.0)
    assert set(found.sides.unique().tolist()) == {3, 4, 5, 6}
    # E[area^2] = V^2 E[1/r] / (2 H), r the distance of two random points of the body
    pairs = np.random.default_rng(0).random((400_000, 2, 3))
    inverse = 1 / np.linalg.norm(pairs[:, 0] - pairs[:, 1], axis=-1)
    second = found.area.square()
    expected = inverse.mean() / (2 * 1.5)
    error = math.hypot(float(second.std()) / math.sqrt(len(second)), inverse.std() / math.sqrt(4e5) / 3)
    assert abs(float(second.mean()) - expected) < 4 * error


def test_sections_of_a_ball_are_wicksells():
    radius = torch.sqrt(random_sections(Ellipsoid(tensor(1.0, 1, 1)), COUNT, seed=3).area / math.pi)
    assert within(radius, math.pi / 4)
    assert within(radius**2, 2 / 3)
    assert within(1 / radius, math.pi / 2, 6)  # of infinite variance: the spread of the sample understates the error


def test_planes_are_invariant():
    # under the invariant measure dp dn a body inside another is hit with the ratio of the mean calipers
    outer, inner = box(tensor(4.0, 3, 2)), Ellipsoid(tensor(0.3, 0.5, 0.9))
    found = random_sections(outer, COUNT, seed=4)
    low, high = inner.extent(found.normal)
    share = float(inner.mean_caliper() / outer.mean_caliper())
    hit = ((found.offset > low) & (found.offset < high)).double()
    assert abs(float(hit.mean()) - share) < 4 * math.sqrt(share * (1 - share) / COUNT)


def test_mesh_cut_tends_to_the_ellipse_with_the_square_of_the_frequency():
    axes = tensor(1.0, 1.5, 2)
    planes = random_sections(Ellipsoid(axes), 300, seed=5)
    wanted = torch.stack([planes.area, planes.perimeter, planes.aspect])
    errors = []
    for frequency in (15, 30):
        u, faces = geodesic_sphere(frequency)
        cut = Mesh(u * axes, faces).cut(planes.normal, planes.offset)
        found = torch.stack([cut.area, cut.perimeter, cut.aspect])
        errors.append((found - wanted)[:, planes.area > 0.2].square().mean(-1).sqrt())
    assert bool((errors[1] < 0.003).all())
    assert bool((errors[0] / errors[1] > 3).all())


def test_known_cuts():
    n, h = torch.eye(3, dtype=F64), tensor(0.25, 0.25, 0.25)
    cut = box(tensor(1.0, 2, 3)).cut(n, h)
    torch.testing.assert_close(cut.area, tensor(6, 3, 2))
    torch.testing.assert_close(cut.perimeter, tensor(10, 8, 6))
    torch.testing.assert_close(cut.aspect, tensor(1.5, 3, 2))
    assert cut.sides.tolist() == [4, 4, 4]
    corner = box(tensor(1.0, 1, 1)).cut(torch.full((1, 3), 3**-0.5, dtype=F64), torch.zeros(1, dtype=F64))
    assert float(corner.area) == pytest.approx(math.sqrt(27) / 4)  # the regular hexagon of side 1 / sqrt(2)
    assert float(corner.aspect) == pytest.approx(1)
    assert corner.sides.tolist() == [6]


def test_pieces_of_one_plane_are_one_section():
    body, n, p = dumbbell(), torch.eye(3, dtype=F64)[:1], torch.zeros(1, dtype=F64)
    along, aside = body.cut(n, p), body.cut(n, p + 0.3)
    assert float(aside.area) > 0.05
    # two equal discs far apart: the second moments know both
    assert float(aside.aspect) > 3 > 1 < float(along.aspect)
    # at 0.3 from the axis the plane meets both ends and nothing between
    waist = body.cut(torch.eye(3, dtype=F64)[2:], p)
    assert float(waist.area) == pytest.approx(math.pi * 0.25**2, rel=0.02)


def test_batch_is_the_bodies_one_by_one():
    a = ct_particles("ma165")[:3].to(torch.complex128)
    batch = random_sections(StarBody(a, 6), 400, seed=7)
    for i in range(3):
        one = random_sections(StarBody(a[i], 6), 400, seed=7, index=i)
        for name in ("area", "perimeter", "aspect", "offset"):
            torch.testing.assert_close(getattr(batch, name)[i], getattr(one, name), rtol=1e-9, atol=1e-9)


def test_draws_are_a_function_of_the_seed_and_a_few_are_the_first_of_many():
    body = particle(resolution=6)
    few, many, other = (random_sections(body, n, seed=s) for n, s in ((50, 1), (5000, 1), (50, 2)))
    torch.testing.assert_close(few.area, many.area[:50], rtol=1e-9, atol=0)
    assert not torch.equal(few.area, other.area)


def test_single_precision_agrees():
    a = ct_particles("ma165")[2]
    one, two = (random_sections(StarBody(c, 10), 2000, seed=1) for c in (a, a.to(torch.complex128)))
    assert one.area.dtype == torch.float32
    error = (one.area.double() / two.area - 1).abs()
    assert float(error.median()) < 1e-5
    assert bool(torch.isfinite(one.aspect).all())


@pytest.mark.parametrize("what", ["area", "perimeter", "aspect"])
def test_gradients_by_the_coefficients(what):
    parts = torch.view_as_real(particle().coefficients[:28]).clone()
    parts = (parts / parts[0, 0]).requires_grad_(True)

    def value(p):
        sections = random_sections(StarBody(torch.view_as_complex(p), 3), 12, seed=3)
        return getattr(sections, what)

    numeric_step = 1e-6
    (gradient,) = torch.autograd.grad(value(parts).sum(), parts)
    with torch.no_grad():
        for place in ((0, 0), (3, 0), (4, 1), (17, 0), (20, 1)):
            step = torch.zeros_like(parts)
            step[place] = numeric_step
            numeric = (value(parts + step).sum() - value(parts - step).sum()) / (2 * numeric_step)
            assert float(gradient[place]) == pytest.approx(float(numeric), rel=1e-5, abs=1e-6)


def test_gradient_of_a_mean_is_that_of_its_expectation():
    axes = tensor(1.0, 1.4, 2).requires_grad_(True)
    body = Ellipsoid(axes)
    (expected,) = torch.autograd.grad(body.volume / body.mean_caliper(), axes)
    found = torch.stack(
        [
            torch.autograd.grad(s.mean(s.area), axes)[0]
            for s in (random_sections(Ellipsoid(axes), 2000, seed=seed) for seed in range(40))
        ]
    )
    error = found.std(0) / math.sqrt(len(found))
    assert bool(((found.mean(0) - expected).abs() < 4 * error).all())
    assert bool((error < 0.02 * expected.abs()).all())


@pytest.mark.parametrize("count", [0, -3, 2.5, True])
def test_count_must_be_a_positive_integer(count):
    with pytest.raises(ValueError, match="Invalid count of sections"):
        random_sections(Ellipsoid(tensor(1.0, 1, 1)), count)


def test_index_must_fit():
    with pytest.raises(ValueError, match="Give one integer for each body"):
        random_sections(Ellipsoid(tensor(1.0, 1, 1)), 3, index=[1, 2])


@pytest.mark.slow
def test_every_particle_set_keeps_the_laws():
    for name in ("cement133", "sacci425", "ma165", "sika-fib"):
        for row in (0, 50, 100):
            mesh = StarBody(ct_particles(name)[row].to(torch.complex128), 16).mesh()
            found, h = random_sections(mesh, COUNT, seed=row), float(mesh.mean_caliper())
            assert within(found.area, float(mesh.volume) / h)
            assert within(found.perimeter, math.pi * float(mesh.surface) / (4 * h))
