"""Recipes: what they build, and what each mistake in one is answered with."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

from physgen.compilation import Compiled
from physgen.recipe import RecipeError, load_recipe

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"

BEER_LAMBERT = """
import torch
from physgen.space import Block, Coordinate, Space

class BeerLambert:
    causes = Space("depth", Block("albedo", "percent", long_name="how bright"))
    conditions = Space(Block("sun", "degree", (0, 90)))

    def __init__(self, channels: list[str], gain: float = 1.0):
        self.gain = gain
        wavelength = Coordinate("channel", (450.0, 550.0, 650.0), "nm")
        labels = Coordinate("channel", tuple(channels))
        self.observables = Space(Block("radiance", "1", (-0.5, 1.5), shape=(3,), dims=("channel",),
                                       coordinates={"channel": labels, "wavelength": wavelength}))

    def __call__(self, x, sun):
        mu = torch.tensor([0.3, 0.6, 0.9], dtype=x.dtype) * torch.cos(torch.deg2rad(sun))[..., None]
        return self.gain * x[..., 1:] * torch.exp(-x[..., :1] / mu)

def plain(x):
    return torch.cat([x, x], -1)

def make(gain=2.0):
    return lambda x: gain * x
"""

RECIPE = """
note = "why"
seed = 7
[forward]
model = "my_beer:BeerLambert"
channels = ["blue", "green", "red"]
[prior]
model = "independent"
[prior.causes]
depth = { distribution = "LogNormal", median = 0.3, sigma = 0.5, units = "m" }
albedo = { distribution = "Uniform", low = 0.0, high = 1.0 }
[noise]
model = "gaussian"
absolute = 0.01
[inversion]
method = "optimal-estimation"
draws = 50
[observations]
file = "observed.nc"
[observations.conditions]
sun = 30.0
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "my_beer.py").write_text(BEER_LAMBERT)
    (tmp_path / "forward_models").mkdir()
    (tmp_path / "data").mkdir()
    values = np.array([[0.30, 0.10, 0.20], [0.31, 0.11, 0.21]])
    coords = {"channel": ["red", "blue", "green"], "plot": [5, 6]}
    xr.Dataset({"radiance": (("plot", "channel"), values)}, coords).to_netcdf(tmp_path / "observed.nc")
    return tmp_path


def written(folder: Path, *changes: tuple[str, str]) -> Path:
    text = RECIPE
    for old, new in changes:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    path = folder / "recipe.toml"
    path.write_text(text)
    return path


def test_build_makes_every_part(folder: Path) -> None:
    job = load_recipe(written(folder)).build()
    assert job.problem.prior.causes.names == ("depth", "albedo")
    assert job.problem.prior.causes.block("depth").units == "m"
    assert job.problem.prior.causes.block("albedo").units == "percent"
    assert (job.inversion.draws, job.seed) == (50, 7)
    # the order is the forward model's, by name
    np.testing.assert_array_equal(job.observations.y, [[0.10, 0.20, 0.30], [0.11, 0.21, 0.31]])
    # the median of the prior, worked by hand: albedo 0.5, depth 0.3, sun 30 degrees
    prediction = job.problem.forward(torch.tensor([0.3, 0.5]), sun=torch.tensor(30.0))
    expected = [0.5 * math.exp(-0.3 / (mu * math.cos(math.pi / 6))) for mu in (0.3, 0.6, 0.9)]
    torch.testing.assert_close(prediction, torch.tensor(expected))


def test_inversion_of_the_job_equals_the_library(folder: Path) -> None:
    from physgen.inversions import OptimalEstimation

    job = load_recipe(written(folder)).build(seed=3)
    assert job.seed == 3
    got = job.inversion(job.problem, job.observations.y, conditions=job.observations.conditions, seed=3)
    want = OptimalEstimation(draws=50)(job.problem, job.observations.y, conditions={"sun": 30.0}, seed=3)
    torch.testing.assert_close(got.samples, want.samples, rtol=0, atol=0)


def test_inputs_are_the_observations_and_the_users_modules(folder: Path) -> None:
    from physgen.job import inputs

    recipe = load_recipe(written(folder))
    job = recipe.build()
    assert {p.name for p in inputs(recipe, job.observations)} == {"observed.nc", "my_beer.py"}


def test_plain_function_and_factory(folder: Path) -> None:
    for name, factor in (("plain", 1.0), ("make", 2.0)):
        path = written(
            folder, ('model = "my_beer:BeerLambert"\nchannels = ["blue", "green", "red"]', f'model = "my_beer:{name}"')
        )
        forward = load_recipe(path).problem().forward
        assert float(forward(torch.ones(2))[0]) == factor


def test_prior_may_ask_for_the_forward_model(folder: Path) -> None:
    with (folder / "my_beer.py").open("a") as file:
        file.write("import physgen as pg\ndef prior(forward, sd=2.0):\n")
        file.write("    return pg.Independent({n: pg.Normal(0.0, sd) for n in forward.causes.names})\n")
    text = RECIPE[: RECIPE.index("[prior]")] + '[prior]\nmodel = "my_beer:prior"\nsd = 3.0\n'
    (folder / "recipe.toml").write_text(text + RECIPE[RECIPE.index("[noise]") :])
    prior = load_recipe(folder / "recipe.toml").problem().prior
    assert prior.causes.names == ("depth", "albedo")
    assert prior.decode(torch.ones(2)).tolist() == [3.0, 3.0]


def test_noise_by_label_and_coordinate_by_name(folder: Path) -> None:
    noise = """model = "correlated-gaussian"
absolute = { red = 0.3, blue = 0.1, green = 0.2 }
discrepancy = 0.01
length = 50.0
coordinate = "wavelength"
"""
    path = written(folder, ('model = "gaussian"\nabsolute = 0.01', noise))
    made = load_recipe(path).problem().noise
    assert torch.as_tensor(made.absolute).tolist() == [0.1, 0.2, 0.3]
    assert torch.as_tensor(made.coordinate).tolist() == [450.0, 550.0, 650.0]


INVERSIONS = [p for p in sorted(EXAMPLES.rglob("*.toml")) if not p.stem.startswith("fit_")]


@pytest.mark.parametrize("path", INVERSIONS, ids=lambda path: path.stem)
def test_examples_build(path: Path) -> None:
    job = load_recipe(path).build()
    if job.problem.observables is not None:  # a list of sizes has any length
        assert job.observations.y.shape[-1] == job.problem.observables.size
    assert np.isfinite(job.observations.y).any(-1).all()


def test_every_example_that_is_named_is_there() -> None:
    root = EXAMPLES.parent
    named = {}
    for page in (root / "README.md", root / "Makefile", *(root / "docs").glob("*.md"), *EXAMPLES.rglob("*.toml")):
        named |= dict.fromkeys(re.findall(r"examples/[\w/]+\.(?:toml|py|csv|png)", page.read_text()), page.name)
    assert "examples/canopy/forest_plots.toml" in named
    assert not {name: page for name, page in named.items() if not (root / name).is_file()}


MISTAKES = {
    "top key": ('note = "why"', 'nota = "why"', r"recipe\.toml: Unknown key 'nota'\. Did you mean 'note'\?"),
    "table": ("[noise]", "[noize]", r"recipe\.toml: Unknown key 'noize'\. Did you mean 'noise'\?"),
    "key of a table": (
        'file = "observed.nc"',
        'fiel = "observed.nc"',
        r"\[observations\]: Unknown key 'fiel'\. Did you mean 'file'\?",
    ),
    "missing key": (
        'model = "gaussian"\n',
        "",
        r"\[noise\]: Missing key 'model'\. Every recipe needs it in \[noise\]\.",
    ),
    "wrong type": ("seed = 7", 'seed = "7"', r"recipe\.toml: Invalid seed '7'\. It must be a whole number\."),
    "negative": ("seed = 7", "seed = -7", r"Invalid seed -7\. It must be greater than or equal to 0\."),
    "boolean number": ("sun = 30.0", "sun = true", r"Sun must be a number, or the name of a variable"),
    "not TOML": ("seed = 7", "seed 7", r"recipe\.toml: Invalid TOML \(.*line 3.*\)\. Correct that line\."),
    "model": (
        '"my_beer:BeerLambert"',
        '"canopi"',
        r"\[forward\]: Unknown forward model 'canopi'\. Did you mean 'canopy'\?",
    ),
    "attribute": ("my_beer:BeerLambert", "my_beer:BeerLambda", r"has no 'BeerLambda'\. Did you mean 'BeerLambert'\?"),
    "module": ("my_beer:BeerLambert", "my_bear:BeerLambert", r"\[forward\]: Cannot import 'my_bear'"),
    "setting of the model": (
        "channels = [",
        "gian = 2.0\nchannels = [",
        r"\[forward\]: Unknown key 'gian'\. Did you mean 'gain'\?",
    ),
    "missing setting": (
        'channels = ["blue", "green", "red"]',
        "",
        r"\[forward\]: Missing key 'channels'\. The forward model 'my_beer:BeerLambert' needs it\.",
    ),
    "type of a setting": (
        "draws = 50",
        'draws = "many"',
        r"\[inversion\]: Invalid draws 'many'\. It must be a valid integer\.",
    ),
    "setting out of range": ("draws = 50", "draws = 0", r"\[inversion\]: Invalid draws 0\. Must be at least 1\."),
    "setting of the noise": (
        "absolute = 0.01",
        "absolut = 0.01",
        r"\[noise\]: Unknown key 'absolut'\. Did you mean 'absolute'\?",
    ),
    "setting of the inversion": (
        "draws = 50",
        "draw = 50",
        r"\[inversion\]: Unknown key 'draw'\. Did you mean 'draws'\?",
    ),
    "inversion": ("optimal-estimation", "optimal_estimation", r"Did you mean 'optimal-estimation'\?"),
    "distribution": (
        '"LogNormal"',
        '"LogNorm"',
        r"\[prior\.causes\] depth: Unknown distribution 'LogNorm'\. Did you mean 'LogNormal'\?",
    ),
    "setting of a distribution": ("sigma = 0.5", "sgma = 0.5", r"Unknown key 'sgma'\. Did you mean 'sigma'\?"),
    "value of a distribution": ("sigma = 0.5", "sigma = -0.5", r"\[prior\.causes\] depth: .*sigma"),
    "no distribution": ('distribution = "Uniform", ', "", r"\[prior\.causes\] albedo: Missing key 'distribution'"),
    "table of causes": ("[prior.causes]", "[prior.cause]", r"\[prior\]: Unknown key 'cause'\. Did you mean 'causes'\?"),
    "cause": ("albedo = {", "albedoo = {", r"needs the causes depth, albedo\. The prior has depth, albedoo"),
    "condition": ("sun = 30.0", "son = 30.0", r"\[observations\]: Unknown condition 'son'\. Did you mean 'sun'\?"),
    "no condition": ("sun = 30.0", "", r"\[observations\]: Missing condition 'sun'\."),
    "condition out of range": (
        "sun = 30.0",
        "sun = 95.0",
        r"Invalid condition sun 95 degree\. Must lie within 0 to 90\.",
    ),
    "selection": (
        'file = "observed.nc"',
        'file = "observed.nc"\nselect = { plot = { form = 5 } }',
        r"a table with from and to\.",
    ),
}


@pytest.mark.parametrize(("old", "new", "words"), MISTAKES.values(), ids=MISTAKES)
def test_mistake_is_answered_in_two_sentences(folder: Path, old: str, new: str, words: str) -> None:
    with pytest.raises(RecipeError, match=words) as caught:
        load_recipe(written(folder, (old, new))).build()
    text = str(caught.value)
    assert text.endswith((".", "?"))
    assert text.startswith("recipe.toml")
    assert "\n" not in text


def test_settings_of_a_plain_function_are_refused(folder: Path) -> None:
    path = written(folder, ("my_beer:BeerLambert", "my_beer:plain"))
    with pytest.raises(RecipeError, match=r"Unknown key 'channels', since 'my_beer:plain' is a forward model already"):
        load_recipe(path).problem()


def test_parts_that_do_not_fit_are_found_before_any_work(folder: Path) -> None:
    path = written(
        folder,
        ('model = "my_beer:BeerLambert"\nchannels = ["blue", "green", "red"]', 'model = "my_beer:plain"'),
        ('file = "observed.nc"', 'file = "observed.nc"\nvariable = "radiance"\ndimension = "channel"'),
        ("sun = 30.0", ""),
    )
    with pytest.raises(RecipeError, match=r"\[observations\]: .*3"):  # two causes, twice: four values, not three
        load_recipe(path).build()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda p: None, r"^No recipe at .*recipe\.tml\. Did you mean 'recipe\.toml'\?$"),
        (lambda p: p.mkdir(), r"^No recipe at "),
        (lambda p: p.write_bytes(b"\xff\xfe\x00"), r"not text in UTF-8\. Give a TOML file\.$"),
        (lambda p: p.touch(), r"Missing table \[forward\]\. Every recipe needs it\.$"),
    ],
    ids=["missing", "folder", "binary", "empty"],
)
def test_file_that_is_no_recipe(folder: Path, make: object, words: str) -> None:
    written(folder)
    path = folder / "recipe.tml"
    make(path)  # type: ignore[operator]
    with pytest.raises(RecipeError, match=words):
        load_recipe(path)


def test_a_compiled_forward_model(folder: Path) -> None:
    compiled = ("channels =", "compiled = true\nchannels =")
    forward = load_recipe(written(folder, compiled)).problem().forward
    assert isinstance(forward, Compiled)
    assert forward.causes.names == ("depth", "albedo")
