"""Conjugate gradients against a direct solution."""

import torch

from physgen.inversions.conjugate_gradients import conjugate_gradients


def system(k=60, rank=30, scale=30.0):
    generator = torch.Generator().manual_seed(0)
    A = scale * torch.randn(rank, k, generator=generator, dtype=torch.float64) / k**0.5
    return torch.eye(k, dtype=torch.float64) + A.mT @ A, torch.randn(4, k, generator=generator, dtype=torch.float64)


def test_the_solution_of_every_row():
    M, b = system()
    x, solved, count = conjugate_gradients(lambda v: v @ M, b, tolerance=1e-9, most=1000)
    assert bool(solved.all())
    assert count < 200
    assert torch.allclose(x, torch.linalg.solve(M, b.mT).mT, atol=1e-9)


def test_the_error_is_in_standard_deviations():
    M, b = system()
    exact = torch.linalg.solve(M, b.mT).mT
    for tolerance in (0.3, 0.03):
        x, solved, _ = conjugate_gradients(lambda v: v @ M, b, tolerance=tolerance, most=1000)
        error = ((x - exact) * ((x - exact) @ M)).sum(-1).sqrt()
        assert bool(solved.all())
        assert bool((error <= tolerance).all())


def test_a_row_does_not_depend_on_how_long_others_take():
    M, b = system()
    b[1] *= 1e-3
    together = conjugate_gradients(lambda v: v @ M, b, tolerance=1e-4, most=1000)[0]
    alone = conjugate_gradients(lambda v: v @ M, b[1:2], tolerance=1e-4, most=1000)[0]
    assert torch.allclose(together[1:2], alone, rtol=0, atol=1e-14)


def test_a_good_neighbour_of_the_inverse_saves_products():
    M, b = system()
    near = torch.linalg.inv(M + 0.1 * torch.eye(60, dtype=torch.float64))
    plain = conjugate_gradients(lambda v: v @ M, b, tolerance=1e-6, most=1000)[2]
    x, solved, count = conjugate_gradients(lambda v: v @ M, b, tolerance=1e-6, most=1000, near=lambda v: v @ near)
    assert bool(solved.all())
    assert count < 0.5 * plain
    assert torch.allclose(x, torch.linalg.solve(M, b.mT).mT, atol=1e-6)


def test_what_is_not_solved_says_so():
    M, b = system()
    assert not bool(conjugate_gradients(lambda v: v @ M, b, tolerance=1e-9, most=3)[1].any())
    _, solved, count = conjugate_gradients(lambda v: torch.full_like(v, torch.nan), b, tolerance=1e-9, most=50)
    assert not bool(solved.any())
    assert count == 1
