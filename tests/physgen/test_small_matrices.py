"""Small matrices against torch.linalg, and to the last bit wherever in memory they lie."""

import numpy as np
import pytest
import torch

from physgen.small_matrices import cholesky, eigenvalues, inverse, product, solve, triangular_inverse

SIZES = [1, 2, 3, 7, 8, 9, 14, 16, 17]


def random(*shape, seed=0):
    return torch.from_numpy(np.random.default_rng([seed, *shape]).standard_normal(shape))


def definite(count, k):
    a = random(count, k, k + 2)
    return a @ a.mT + 0.1 * torch.eye(k)


@pytest.mark.parametrize("k", SIZES)
def test_against_torch(k):
    a, b = definite(20, k), random(20, k, 3)
    factor = torch.linalg.cholesky(a)
    close = {"rtol": 1e-11, "atol": 1e-11}
    torch.testing.assert_close(product(random(20, 5, k), b), random(20, 5, k) @ b, **close)
    torch.testing.assert_close(cholesky(a), factor, **close)
    scale = float(torch.linalg.cond(a).max())
    close = {"rtol": 1e-13 * scale, "atol": 1e-13 * scale}
    torch.testing.assert_close(solve(factor, b), torch.linalg.solve(a, b), **close)
    torch.testing.assert_close(inverse(factor), torch.linalg.inv(a), **close)
    torch.testing.assert_close(triangular_inverse(factor), torch.linalg.inv(factor), **close)
    np.testing.assert_allclose(eigenvalues(a), np.linalg.eigvalsh(a.numpy()), rtol=1e-13 * scale)


def test_eigenvalues_of_known_matrices():
    rotation = torch.linalg.qr(random(7, 7)).Q
    values = torch.tensor([0.0, 0.0, 1e-3, 1.0, 1.0, 2.0, 50.0])
    found = eigenvalues((rotation * values) @ rotation.T)
    torch.testing.assert_close(found, values, rtol=0, atol=1e-13)
    assert torch.equal(eigenvalues(torch.zeros(2, 3, 3)), torch.zeros(2, 3))
    assert eigenvalues(definite(6, 5).reshape(2, 3, 5, 5)).shape == (2, 3, 5)
    assert eigenvalues(torch.zeros(0, 3, 3)).shape == (0, 3)
    assert eigenvalues(definite(3, 5).float()).dtype == torch.float32


def test_shapes():
    a, b = random(2, 3, 4, 5), random(2, 3, 5, 1)
    assert product(a, b).shape == (2, 3, 4, 1)
    torch.testing.assert_close(product(a, b), a @ b)
    factor = torch.linalg.cholesky(definite(6, 5)).reshape(2, 3, 5, 5)
    for made in (cholesky(factor @ factor.mT), inverse(factor), triangular_inverse(factor)):
        assert made.shape == (2, 3, 5, 5)
    assert solve(factor, b).shape == (2, 3, 5, 1)
    single = factor[0, 0]
    torch.testing.assert_close(solve(single, b[0, 0]), torch.linalg.solve(single @ single.T, b[0, 0]))
    assert cholesky(torch.zeros(0, 3, 3)).shape == (0, 3, 3)


def test_an_inverse_is_symmetric_to_the_last_bit():
    made = inverse(cholesky(definite(30, 7)))
    assert torch.equal(made, made.mT)


def places(a):
    """The same matrices elsewhere: cut out of the batch, at odd addresses, transposed in memory."""
    n = len(a)
    for start, stop in ((0, 1), (1, 2), (3, 10), (n - 1, n), (2, n)):
        yield slice(start, stop), a[start:stop]
    for offset in (1, 3, 5):
        buffer = torch.empty(a.numel() + offset, dtype=a.dtype)
        moved = buffer[offset:].reshape(a.shape)
        moved.copy_(a)
        yield slice(None), moved
        yield slice(4, 5), moved[4:5]
    yield slice(None), a.mT.contiguous().mT
    yield slice(None, None, 3), a[::3]


FUNCTIONS = {
    "cholesky": (lambda a, b: cholesky(a)),
    "solve": (lambda a, b: solve(torch.linalg.cholesky(a), b)),
    "inverse": (lambda a, b: inverse(a)),
    "eigenvalues": (lambda a, b: eigenvalues(a)),
    "triangular_inverse": (lambda a, b: triangular_inverse(a.tril())),
    "product": (lambda a, b: product(a, b)),
    "product with itself": (lambda a, b: product(b.mT, b)),
}


@pytest.mark.parametrize("k", SIZES)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_an_answer_does_not_depend_on_where_a_matrix_lies(name, k):
    function = FUNCTIONS[name]
    a, b = definite(23, k), random(23, k, 5)
    if name == "inverse":
        a = torch.linalg.cholesky(a)
    if name == "solve":  # torch's own factor must be that of the whole batch
        factor = torch.linalg.cholesky(a)
        whole = solve(factor, b)
        for rows, moved in places(factor):
            assert torch.equal(solve(moved, b[rows]), whole[rows])
        return
    whole = function(a, b)
    for rows, moved in places(a):
        assert torch.equal(function(moved, b[rows]), whole[rows])


@pytest.mark.parametrize("shape", [(200, 5, 14), (200, 14, 126), (500, 2, 18), (40, 1, 1)])
def test_long_products_do_not_depend_on_the_batch(shape):
    n, k, m = shape
    a, b = random(7, n, k), random(7, m, k).mT
    whole = product(a, b)
    for rows in (slice(0, 1), slice(6, 7), slice(2, 5)):
        assert torch.equal(product(a[rows], b[rows]), whole[rows])


def test_a_semi_definite_matrix_is_lifted_and_spoils_no_other():
    a = definite(5, 4)
    v = random(4, 2)
    a[2] = v @ v.T  # rank two
    a[2] -= 1e-16 * torch.eye(4)
    factor = cholesky(a)
    assert bool(torch.isfinite(factor).all())
    torch.testing.assert_close(factor @ factor.mT, a, rtol=0, atol=1e-11)
    good = torch.tensor([0, 1, 3, 4])
    assert torch.equal(factor[good], cholesky(a[good]))


def test_float32_stays_float32():
    a = definite(6, 5).float()
    factor = cholesky(a)
    made = (factor, inverse(factor), solve(factor, a), triangular_inverse(factor), product(a, a))
    assert {m.dtype for m in made} == {torch.float32}
    torch.testing.assert_close(product(a, inverse(factor)), torch.eye(5).expand(6, -1, -1).float(), rtol=0, atol=1e-3)


def test_arguments_are_not_changed():
    a, b = definite(3, 8), random(3, 8, 8)
    factor = torch.linalg.cholesky(a)
    before = a.clone(), b.clone(), factor.clone()
    cholesky(a), solve(factor, b), inverse(factor), triangular_inverse(factor), product(a, b)
    assert all(torch.equal(x, y) for x, y in zip(before, (a, b, factor), strict=True))


def test_gradients_pass():
    a, b = definite(2, 3).requires_grad_(True), random(2, 3, 2).requires_grad_(True)
    assert torch.autograd.gradcheck(lambda a, b: solve(cholesky(a @ a.mT), b), (a, b))
    assert torch.autograd.gradcheck(product, (a, b))


def test_a_matrix_that_has_no_factor_fails_alone():
    good = definite(3, 5)
    a = torch.cat([good, -good[:1], torch.ones(1, 5, 5)])  # indefinite; of rank one
    factor = cholesky(a)
    assert torch.equal(factor[:3], cholesky(good))
    assert bool(torch.isnan(factor[3]).all())
    torch.testing.assert_close(factor[4] @ factor[4].mT, a[4], rtol=0, atol=1e-6)
