"""What `suggest` says of a problem, that the methods themselves agree, and how `Auto` goes on from one to the next."""

import re

import pytest
import torch

import physgen.inversions as inversions
from physgen.black_box import blackbox
from physgen.inversions import Auto, suggest
from physgen.inversions.escalation import CODES, answered_by
from physgen.inversions.suggestion import NEEDS, Facts, method_class
from physgen.noise import GaussianNoise, Noise
from physgen.priors import Gaussian, Independent, Normal, SmoothField, where
from physgen.problem import Problem
from physgen.status import Status

from .known_posteriors import KNOWN


class Laplace(Noise):
    """Of which nobody has said how to whiten it."""

    def log_prob(self, y, prediction):
        return -torch.nan_to_num(y - prediction).abs().sum(-1)

    def sample(self, prediction, *, seed=0, like=None):
        return prediction


def same(x):
    return x * 1.0


def normal(k):
    return Gaussian(torch.zeros(k), torch.eye(k))


SMOOTH = GaussianNoise(0.5)
PROBLEMS = {
    "smooth": Problem(same, normal(2), SMOOTH),
    "black box": Problem(blackbox(same), normal(2), SMOOTH),
    "no whiten": Problem(same, normal(2), Laplace()),
    "many latents": Problem(same, normal(5), SMOOTH),
    "a selection": Problem(same, where(Independent(a=Normal(0, 1), b=Normal(0, 1)), lambda x: x[..., 0] > 0), SMOOTH),
}
KNOWN_METHODS = [name for name in NEEDS if method_class(name)]


def test_every_method_of_the_package_has_its_needs_and_its_number():
    methods = {name for name in inversions.__all__ if name not in ("Inversion", "Auto", "suggest")}
    assert methods - set(CODES) == set()
    assert methods - set(NEEDS) == set()


@pytest.mark.parametrize("lacking", PROBLEMS)
@pytest.mark.parametrize("name", KNOWN_METHODS)
def test_what_is_refused_by_name(name, lacking):
    problem = PROBLEMS[lacking]
    y = torch.zeros(problem.prior.latent_dim)
    refused = suggest(problem, y).refused
    if name not in refused:
        return
    with pytest.raises((TypeError, ValueError)) as caught:
        method_class(name)()(problem, y)
    able = [other for other in KNOWN_METHODS if other not in refused]
    assert any(re.search(rf"\b{other}\b", str(caught.value)) for other in able), str(caught.value)
    assert re.fullmatch(r"(?s)[A-Z].+[.?] .+[.?]", str(caught.value))


def test_a_black_box_and_a_noise_name_every_method_that_does_without():
    def able(name):
        here = Facts.of(PROBLEMS[name])
        return {method for method in KNOWN_METHODS if not NEEDS[method].lacks(here)}

    x = torch.zeros(1, 2, requires_grad=True)
    with pytest.raises(TypeError) as caught:
        PROBLEMS["black box"].forward(x).sum().backward()
    assert {name for name in KNOWN_METHODS if re.search(rf"\b{name}\b", str(caught.value))} == able("black box")
    with pytest.raises(TypeError) as caught:
        Laplace().whiten(x, x)
    assert {name for name in KNOWN_METHODS if re.search(rf"\b{name}\b", str(caught.value))} == able("no whiten")


def test_variational_works_without_whiten():
    problem = Problem(same, normal(2), Laplace())
    result = Auto(draws=500, methods=("Variational",))(problem, torch.tensor([0.4, 0.0]), seed=1)
    assert answered_by(result) == ["Variational"]
    # N(z) exp(-|y - z|), by quadrature
    z = torch.linspace(-8, 8, 20001)
    weight = torch.softmax(-0.5 * z * z - (0.4 - z).abs(), 0)
    mean = float((weight * z).sum())
    sd = float((weight * (z - mean) ** 2).sum().sqrt())
    assert bool(result.trusted)
    assert abs(float(result.draws[:, 0].mean()) - mean) < 4 * sd / float(result.stats["ess"].clamp(max=500)) ** 0.5


def test_the_table_of_what_is_refused():
    def refused(name):
        return set(suggest(PROBLEMS[name]).refused)

    slopes = {
        "OptimalEstimation",
        "NestedLaplace",
        "Pathfinder",
        "Hamiltonian",
        "NUTS",
        "Microcanonical",
        "Variational",
    }
    here = set(KNOWN_METHODS)
    assert refused("smooth") == {"NestedLaplace", "GuidedDiffusion"} & here
    assert refused("black box") == (slopes | {"GuidedDiffusion"}) & here
    assert refused("no whiten") == {"OptimalEstimation", "NestedLaplace", "GuidedDiffusion"} & here
    assert refused("many latents") == {"NestedLaplace", "Grid", "GuidedDiffusion"} & here
    assert refused("a selection") == {"NestedLaplace", "GuidedDiffusion"} & here


@pytest.mark.parametrize(
    ("problem", "first"),
    [
        (PROBLEMS["smooth"], "OptimalEstimation"),
        (PROBLEMS["black box"], "SliceSampler"),
        (PROBLEMS["no whiten"], "Pathfinder"),
        (Problem(same, normal(60), Laplace()), "Hamiltonian"),
        (Problem(same, normal(60), SMOOTH), "Hamiltonian"),
        (Problem(same, SmoothField([0.0, 1.0, 2.0, 3.0]), SMOOTH), "NestedLaplace"),
        (Problem(blackbox(same), normal(60), SMOOTH), "SliceSampler"),
    ],
)
def test_what_is_taken_first(problem, first):
    found = suggest(problem)
    assert found.take[0] == first
    assert not set(found.take) & set(found.refused)
    assert not set(found.take) & set(found.allowed)
    assert set(found.take) | set(found.allowed) | set(found.refused) == set(KNOWN_METHODS)


def test_it_prints_as_a_table():
    printed = str(suggest(PROBLEMS["black box"], torch.zeros(7, 2)))
    print("\n" + printed)
    first, *lines = printed.splitlines()
    assert first == (
        "The problem has 2 latents, 2 observables, 7 observations, no gradient (a black box), a noise with whiten."
    )
    assert re.match(r"  take +SliceSampler +\S", lines[0])
    assert re.search(r"(?m)^  not +Hamiltonian +needs the gradient", printed)
    assert re.search(r"(?m)^  or +Grid +", printed)


def test_auto_says_who_answered():
    known = KNOWN["linear-2"]()
    result = Auto(draws=500)(known.problem, known.y.expand(3, -1))
    assert answered_by(result) == ["OptimalEstimation"] * 3
    assert bool(result.trusted.all())
    assert result.samples.shape == (1, 500, 3, 2)
    assert float(((result.draws.mean(0) - known.mean) / known.sd).abs().max()) < 0.25
    assert bool(torch.isnan(result.stats["rhat"]).all())
    assert bool(torch.isfinite(result.stats["k_hat"]).all())


def test_auto_keeps_enough_draws_for_moments():
    known = KNOWN["linear-2"]()
    result = Auto()(known.problem, known.y)
    error = (2 / 10_000) ** 0.5  # importance sampling stops at 10,000 effective draws, and as many are resampled
    assert result.samples.shape == (1, 10_000, 2)
    assert float(((result.draws.mean(0) - known.mean) / known.sd).abs().max()) < 4 * error
    for name, draws, least in (
        ("OptimalEstimation", 10_000, 5000),
        ("OptimalEstimation", 200, 100),
        ("Pathfinder", 1500, 1000),
    ):
        (method,) = Auto(methods=(name,))._made(known.problem, draws)
        assert (method.draws, method.accept_ess) == (draws, least)


def test_auto_goes_on_where_the_first_is_not_trusted():
    # the table never is: so all observations but the one without data go on to the grid
    known = KNOWN["poisson-gamma"]()
    y = known.y.expand(3, -1).clone()
    y[1] = torch.nan
    result = Auto(draws=2000, methods=("LookupTable", "Grid"))(known.problem, y)
    assert answered_by(result) == ["Grid", "none", "Grid"]
    assert result.status.tolist() == [Status.TRUSTED, Status.NO_DATA, Status.TRUSTED]
    assert float((result.draws[:, 0].mean(0) - known.mean).abs() / known.sd) < 4 / 2000**0.5
    alone = Auto(draws=2000, methods=("LookupTable",))(known.problem, y)
    assert answered_by(alone) == ["LookupTable", "none", "LookupTable"]
    assert alone.status.tolist() == [Status.APPROXIMATE, Status.NO_DATA, Status.APPROXIMATE]


def test_a_model_that_is_undefined_is_not_passed_on():
    problem = Problem(lambda x: torch.where(x > 0, torch.nan, x), normal(1), SMOOTH)
    result = Auto(methods=("Grid", "LookupTable"))(problem, torch.tensor([[0.3]]))
    assert answered_by(result) == ["Grid"]
    assert int(result.status[0]) == Status.MODEL_UNDEFINED


def test_auto_takes_black_boxes():
    known = KNOWN["truncated"](black_box=True)
    result = Auto()(known.problem, known.y)
    assert answered_by(result) == ["SliceSampler"]
    assert bool(result.trusted)
    assert float(result.stats["rhat"]) < 1.01


def test_auto_refuses_what_a_named_method_cannot_do():
    with pytest.raises(TypeError, match="SliceSampler"):
        Auto(methods=("Hamiltonian",))(PROBLEMS["black box"], torch.zeros(2))
    for setting in ({"draws": 0}, {"chunk": 0}, {"methods": ("Newton",)}, {"methods": ()}):
        with pytest.raises(ValueError, match=next(iter(setting))):
            Auto(**setting)
