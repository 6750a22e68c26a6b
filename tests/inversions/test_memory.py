"""What would not fit into memory is refused before computing; what fits in parts is cut."""

import math
import re

import pytest
import torch

from physgen.inversions import Hamiltonian, LookupTable, Variational, memory
from physgen.inversions.memory import Part, available, fitting_chunk
from physgen.noise import GaussianNoise
from physgen.problem import Problem

from .test_contract import METHODS, PROBLEM, Model, Selected, assert_same, simulate

CPU = torch.device("cpu")
GIB = 2**30
USUAL = {"gain": 1.0, "limit": 100.0, "edge": -100.0}
OWN_FRAME = {"optimal-estimation"}  # methods that do not estimate yet


@pytest.fixture
def free(monkeypatch):
    """A function that sets how many bytes are free."""
    return lambda count: monkeypatch.setattr(memory, "available", lambda device: float(count))


def test_this_machine_says_what_is_free():
    assert 1e6 < available(CPU) < 1e15


def test_without_meminfo_the_system_is_asked(monkeypatch, tmp_path):
    monkeypatch.setattr(memory, "_MEMINFO", tmp_path / "missing")
    assert available(CPU) > 1e6
    (tmp_path / "odd").write_text("MemAvailable: much\n")
    monkeypatch.setattr(memory, "_MEMINFO", tmp_path / "odd")
    assert available(CPU) > 1e6
    monkeypatch.delattr(memory.os, "sysconf")
    assert available(CPU) == math.inf
    (tmp_path / "even").write_text("MemTotal: 9 kB\nMemAvailable:    2048 kB\n")
    monkeypatch.setattr(memory, "_MEMINFO", tmp_path / "even")
    assert available(CPU) == 2048 * 1024


def test_as_many_observations_at_once_as_fit(free):
    free(10 * GIB)
    held = {"itemsize": 8, "device": CPU}
    whole, each = [Part("draws", GIB / 8)], [Part("a matrix", 2 * GIB / 8)]
    assert fitting_chunk("M", whole, each, 64, **held) == 4  # 1 + 4 * 2 = 9 = 0.9 * 10
    assert fitting_chunk("M", whole, each, 3, **held) == 3
    assert fitting_chunk("M", whole, [], 64, **held) == 64
    free(math.inf)
    assert fitting_chunk("M", whole, each, 64, **held) == 64
    free(3.2 * GIB)
    message = r"^M would hold 3 GiB, most of it a matrix \(2 GiB\), and 2.88 GiB are free\."
    with pytest.raises(ValueError, match=message):
        fitting_chunk("M", whole, each, 64, **held)


@pytest.mark.parametrize("name", [name for name in METHODS if name not in OWN_FRAME | {"amortised", "auto"}])
def test_every_method_refuses_before_computing(name, free):
    class Counted(Model):
        calls = 0

        def __call__(self, x, /, gain, limit):
            Counted.calls += 1
            return super().__call__(x, gain, limit)

    problem, y = Problem(Counted(), Selected(), GaussianNoise(0.4)), simulate(3)
    free(2000)
    Counted.calls = 0
    with pytest.raises(ValueError, match="would hold") as caught:
        METHODS[name](problem, y, conditions=USUAL)
    assert re.fullmatch(r"(?s)[A-Z].+[.?] .+[.?]", str(caught.value))
    assert str(caught.value).startswith(type(METHODS[name]).__name__)
    assert Counted.calls == 0


def test_a_large_covariance_is_named(free):
    from physgen.priors import Gaussian  # of 3000 latents, small enough to make here

    k = 3000
    problem = Problem(lambda x: x[..., :2], Gaussian(torch.zeros(k), torch.eye(k)), GaussianNoise(1.0))
    free(GIB / 2)
    with pytest.raises(ValueError, match=f"matrices of {k} x {k}"):
        Hamiltonian(draws=64)(problem, torch.zeros(2))
    with pytest.raises(ValueError, match=f"a {k} x {k} covariance for each of 100 observations"):
        LookupTable(size=200)(problem, torch.zeros(100, 2))
    with pytest.raises(ValueError, match=f"200 draws of {k} causes for each of 1000 observations"):
        Variational()(problem, torch.zeros(1000, 2))


def test_an_answer_does_not_depend_on_what_is_free(free):
    y = simulate(5)
    method = METHODS["hamiltonian"]
    whole = method(PROBLEM, y, conditions=USUAL, seed=3)
    seen = []
    free(24_000)  # the answers, and two observations at once
    cut = method(PROBLEM, y, conditions=USUAL, seed=3, progress=lambda done, total: seen.append(done))
    assert len(seen) > 1  # one chunk after the other
    assert_same(cut, whole)
