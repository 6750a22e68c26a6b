"""The picture of a single observation: its panels hold what they say, and it is drawn whole or not at all."""

import matplotlib.image
import pytest
import torch

from physgen.forward_models import SectionSizes, Spheres
from physgen.inversions import OptimalEstimation
from physgen.noise import GaussianNoise
from physgen.observation_picture import has_picture, observation_picture, panels_of
from physgen.priors import Gaussian, Independent, LogNormal, Uniform
from physgen.problem import Problem
from physgen.space import Block, Coordinate, Space

GRID = tuple(0.5 * i for i in range(6))


class Line:
    """A field along a coordinate, twice itself."""

    causes = Space(Block("field", "K", shape=(6,), dims=("x",), coordinates={"x": Coordinate("x", GRID, "m")}))
    observables = Space(Block("seen", "K", shape=(6,), dims=("x",), coordinates={"x": Coordinate("x", GRID, "m")}))

    def __call__(self, x):
        return 2 * x


def field():
    problem = Problem(Line(), Gaussian(torch.zeros(6), torch.eye(6), causes=Line.causes), GaussianNoise(0.1))
    return problem, OptimalEstimation()(problem, torch.arange(6.0), seed=1)


def spheres():
    prior = Independent(geometric_mean=LogNormal(30, 1, units="um"), multiplicative_sd=Uniform(1.2, 1.6))
    problem = Problem(Spheres(), prior, SectionSizes())
    _, y = problem.simulate(1, seed=2)
    return problem, OptimalEstimation()(problem, y[0], seed=1)


def test_a_field_and_what_it_shows():
    problem, result = field()
    cause, seen = panels_of(result, problem)
    assert cause.x.tolist() == list(GRID)
    assert cause.y_label == "field (K)"
    assert torch.equal(seen.draws, 2 * cause.draws)
    assert seen.observed.tolist() == list(range(6))


def test_spheres_and_their_profiles():
    problem, result = spheres()
    sizes, profiles = panels_of(result, problem)
    area = torch.trapezoid(sizes.draws, sizes.x)
    assert float((area - 1).abs().max()) < 0.02
    width = profiles.x.diff()
    assert profiles.classes
    assert float((profiles.observed * width).sum()) == pytest.approx(1, abs=1e-6)
    low, high = profiles.draws.quantile(torch.tensor([0.005, 0.995], dtype=profiles.draws.dtype), 0)
    assert float(((profiles.observed >= low) & (profiles.observed <= high)).double().mean()) > 0.85


@pytest.mark.parametrize("make", [field, spheres])
def test_the_picture_is_drawn(make, tmp_path):
    problem, result = make()
    assert has_picture(problem, 1)
    assert not has_picture(problem, 7)
    out = observation_picture(result, problem, tmp_path / "one.png")
    pixels = matplotlib.image.imread(out)
    assert pixels.shape[1] > 1000
    assert pixels[..., :3].std() > 0.05


def test_conditions_of_a_single_observation(tmp_path):
    problem, _ = spheres()
    _, y = problem.simulate(1, seed=2, smallest=8.0)
    result = OptimalEstimation()(problem, y[0], conditions={"smallest": 8.0}, seed=1)
    assert bool((panels_of(result, problem)[1].draws[:, 0] < 0.02).all())  # nothing below the limit
    assert observation_picture(result, problem, tmp_path / "one.png").exists()


def test_a_few_observations_stand_below_each_other(tmp_path):
    problem, _ = field()
    y = torch.arange(18.0).reshape(3, 6)
    result = OptimalEstimation()(problem, y, seed=1).labelled("height", height=[1.5, 2.5, 3.5])
    assert panels_of(result, problem, 2)[1].observed.tolist() == y[2].tolist()
    one, few = (tmp_path / name for name in ("one.png", "few.png"))
    observation_picture(field()[1], problem, one)
    observation_picture(result, problem, few)
    assert matplotlib.image.imread(few).shape[0] > 2 * matplotlib.image.imread(one).shape[0]


def test_a_picture_of_many_is_refused(tmp_path):
    problem, _ = field()
    result = OptimalEstimation()(problem, torch.zeros(7, 6), seed=1)
    with pytest.raises(ValueError, match="7 observations"):
        observation_picture(result, problem, tmp_path / "one.png")
    assert not list(tmp_path.iterdir())
