"""`physgen fit`: what it writes and can be used for, how it resumes, and what each mistake is answered with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from safetensors.torch import load_file
from typer.testing import CliRunner, Result

import physgen as pg
from physgen.cli import app
from physgen.fit_job import build_fit
from physgen.fit_recipe import load_fit_recipe
from physgen.priors.storage import CARD, prior_card
from physgen.provenance import sha256
from physgen.recipe import RecipeError, load_recipe

RECIPE = """
note = "How tall and how heavy are they?"
seed = 3
[prior]
kind = "gaussian"
[samples]
file = "people.csv"
[causes]
height = { column = "height_cm", units = "cm", long_name = "height" }
weight = { units = "kg" }
[card]
licence = "CC0"
[output]
file = "people"
"""
FLOW = (
    ('kind = "gaussian"', 'kind = "flow"\ntransforms = 2\nhidden = [8]'),
    ('units = "kg" }', 'units = "kg", support = [0, inf] }\n[conditions]\nage = "years"\n[training]\nepochs = 4'),
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    random = np.random.default_rng(0)
    age = random.uniform(20, 70, 400)
    height = random.normal(170, 8, 400)
    weight = np.exp(np.log(70) + 0.01 * (height - 170) + 0.002 * (age - 45) + random.normal(0, 0.1, 400))
    rows = np.stack([height, weight, age, np.repeat(np.arange(40), 10)], 1)
    text = "\n".join(",".join(f"{v:.6g}" for v in row) for row in rows)
    (tmp_path / "people.csv").write_text("height_cm,weight,years,family\n" + text + "\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def written(folder: Path, *changes: tuple[str, str]) -> Path:
    text = RECIPE
    for old, new in changes:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    (folder / "fit.toml").write_text(text)
    return folder / "fit.toml"


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments])


def table(folder: Path) -> np.ndarray:
    return np.loadtxt(folder / "people.csv", delimiter=",", skiprows=1)


def test_a_closed_form_fit_is_that_of_the_library_on_the_rows_not_held_out(folder: Path) -> None:
    path = written(folder, ('file = "people"\n', 'file = "people"\npicture = "people.png"\n'))
    done = call("fit", path, "--out", "out")
    assert done.exit_code == 0, done.output
    assert (folder / "out" / "people.png").read_bytes()[:4] == b"\x89PNG"
    assert sorted(p.name for p in (folder / "out").iterdir()) == ["people.json", "people.png", "people.safetensors"]
    prior = pg.load_prior(folder / "out" / "people")
    assert [(b.name, b.units, b.long_name) for b in prior.causes] == [("height", "cm", "height"), ("weight", "kg", "")]
    job = build_fit(load_fit_recipe(folder / "fit.toml"))
    assert (len(job.fitted.x), len(job.held.x)) == (320, 80)
    together = np.concatenate([job.fitted.x, job.held.x])
    np.testing.assert_array_equal(np.sort(together, 0), np.sort(table(folder)[:, :2], 0))  # every row once
    np.testing.assert_allclose(prior.mean, job.fitted.x.mean(0), rtol=1e-12)
    # correlations are shrunk by a few per cent, variances are not
    np.testing.assert_allclose(np.diag(prior.covariance), job.fitted.x.var(0, ddof=1), rtol=1e-12)
    assert 0.9 < prior.covariance[0, 1] / np.cov(job.fitted.x.T)[0, 1] < 1


def test_the_card_says_what_was_learned_how_well_and_by_whom(folder: Path) -> None:
    assert call("fit", written(folder), "--seed", 4).exit_code == 0
    card = prior_card(folder / "people")
    assert all(card[key] for key in CARD)
    assert card["learned_from"].startswith("320 of 400 samples of people.csv")
    assert (card["title"], card["licence"]) == ("How tall and how heavy are they?", "CC0")
    assert card["units"] == {"height": "cm", "weight": "kg"}
    made = card["provenance"]
    assert made["recipe"] == (folder / "fit.toml").read_text()
    assert (made["seed"], made["inputs"][0]["sha256"]) == (4, sha256(folder / "people.csv"))
    assert {"physgen_version", "versions", "python", "started", "ended", "fitter"} <= made.keys()
    fit = card["fit"]["on samples held out"]
    # the report's likelihood is that of the stored prior on the rows held out
    job = build_fit(load_fit_recipe(folder / "fit.toml"), 4)
    held = torch.as_tensor(job.held.x)
    prior = pg.load_prior(folder / "people")
    assert fit["log_likelihood"] == pytest.approx(float(prior.log_prob(held).mean()), abs=1e-9)
    exact = torch.distributions.MultivariateNormal(
        torch.as_tensor(job.fitted.x.mean(0)), torch.as_tensor(np.cov(job.fitted.x.T, ddof=0))
    )
    assert fit["gaussian_log_likelihood"] == pytest.approx(float(exact.log_prob(held).mean()), abs=1e-9)
    assert 0.35 < fit["c2st"]["accuracy"] < 0.65
    assert fit["pqmass"]["freedom"] > 0


def test_a_flow_takes_conditions_and_keeps_supports(folder: Path) -> None:
    done = call("fit", written(folder, *FLOW))
    assert done.exit_code == 0, done.output
    for words in ("held out", "C2ST", "PQMass", "Wrote people.safetensors", "Wrote people.json"):
        assert words in done.output, done.output
    prior = pg.load_prior("people")
    assert prior.takes.required == {"age"}
    assert prior.report.epochs == 4
    assert bool((prior.sample(500, age=30.0)[:, 1] > 0).all())
    assert "learning" in prior_card("people")["fit"]


def test_a_group_is_held_out_whole(folder: Path) -> None:
    path = written(folder, ("[card]", '[report]\nheld_out = 0.3\ngroup = "family"\n[card]'))
    job = build_fit(load_fit_recipe(path))
    assert len(job.held.x) == 120
    assert not set(job.held.group) & set(job.fitted.group)  # type: ignore[arg-type]


def test_an_interrupted_fit_resumes_to_the_bit_by_the_same_command(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(folder, *FLOW)
    assert call("fit", path, "--out", "whole").exit_code == 0
    from physgen.priors import fitting

    real = fitting._Run.one_epoch

    def tired(self: Any, state: Any) -> None:
        if state.epoch == 2:
            raise KeyboardInterrupt
        real(self, state)

    monkeypatch.setattr(fitting._Run, "one_epoch", tired)
    stopped = call("fit", path, "--out", "cut")
    assert stopped.exit_code == 130
    assert "Run the same command again to resume the work." in stopped.stderr
    assert [p.name for p in (folder / "cut").iterdir()] == ["people.partial"]
    epochs = []
    monkeypatch.setattr(fitting._Run, "one_epoch", lambda self, state: (epochs.append(state.epoch), real(self, state)))
    assert call("fit", path, "--out", "cut").exit_code == 0
    assert epochs == [2, 3]
    first, second = (load_file(folder / f / "people.safetensors") for f in ("whole", "cut"))
    assert all(torch.equal(first[n], second[n]) for n in first)
    assert not (folder / "cut" / "people.partial").exists()


def test_curves_of_a_netcdf_file_become_a_block_with_labels(folder: Path) -> None:
    random = np.random.default_rng(1)
    curve = random.normal(size=(300, 2)) @ random.normal(size=(2, 5)) + 0.1 * random.normal(size=(300, 5))
    curve[7, 2] = np.nan
    data = xr.Dataset({"r": (("sample", "band"), curve)}, {"band": [400.0, 500.0, 600.0, 700.0, 800.0]})
    data.to_netcdf(folder / "curves.nc")
    (folder / "fit.toml").write_text(
        '[prior]\nkind = "ppca"\nk = 2\n[samples]\nfile = "curves.nc"\nincomplete = "drop"\n'
        '[causes]\nspectrum = { column = "r", dimension = "band" }\n'
    )
    done = call("fit", "fit.toml")
    assert done.exit_code == 0, done.output
    block = pg.load_prior("prior").causes.block("spectrum")
    assert (block.shape, block.coordinates["band"].values) == ((5,), ("400", "500", "600", "700", "800"))
    assert "1 incomplete rows left out" in prior_card("prior")["learned_from"]


INVERT = """
seed = 1
[forward]
model = "scale:weigh"
[prior]
load = "people"
[noise]
model = "gaussian"
absolute = 1.0
[inversion]
method = "optimal-estimation"
draws = 300
[observations]
file = "seen.csv"
columns = ["kg"]
[output]
file = "out.nc"
"""


def test_a_fitted_prior_serves_an_inversion(folder: Path) -> None:
    assert call("fit", written(folder)).exit_code == 0
    (folder / "scale.py").write_text("def weigh(x):\n    return x[..., 1:]\n")
    (folder / "seen.csv").write_text("kg\n85\n")
    (folder / "invert.toml").write_text(INVERT)
    done = call("invert", "invert.toml")
    assert done.exit_code == 0, done.output
    prior = pg.load_prior("people")
    # closed form: the height of someone of 85 kg
    gain = prior.covariance[0, 1] / (prior.covariance[1, 1] + 1)
    expected = float(prior.mean[0] + gain * (85 - prior.mean[1]))
    sd = float(prior.covariance[0, 0] - gain * prior.covariance[0, 1]) ** 0.5
    with xr.open_datatree(folder / "out.nc") as tree:
        height = tree["posterior"]["height"]
        assert height.attrs["units"] == "cm"
        assert abs(float(height.mean()) - expected) < 5 * sd / 300**0.5
        inputs = json.loads(tree.attrs["inputs"]) if isinstance(tree.attrs.get("inputs"), str) else None
    assert inputs is None or {Path(i["path"]).name for i in inputs} >= {"people.json", "people.safetensors"}


def _changed(folder: Path) -> None:
    path = folder / "people.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def _later(folder: Path) -> None:
    head = json.loads((folder / "people.json").read_text())
    (folder / "people.json").write_text(json.dumps(head | {"version": 99}))


LOADING = {
    "a changed byte": (_changed, INVERT, r"The tensors of .*people are not those of its card\. Fetch both files again"),
    "a later version": (_later, INVERT, r"is of version 99, and this physgen reads up to 1\. Install a newer physgen"),
    "no such file": (None, INVERT.replace('"people"', '"poeple"'), r"\[prior\]: Cannot read .*poeple\.json"),
    "both keys": (None, INVERT.replace("load", 'model = "soil"\nload'), "It needs one of the keys model and load"),
    "no key": (None, INVERT.replace('load = "people"', ""), "It needs one of the keys model and load"),
    "a setting": (None, INVERT.replace("load", "mean = 3\nload"), "A stored prior takes no 'mean'"),
    "a condition": (
        None,
        INVERT.replace('"people"', '"people"\ngiven = { day = 3 }'),
        "Unknown condition 'day' of Gaussian",
    ),
    "other causes": (
        None,
        INVERT.replace("scale:weigh", "canopy"),
        r"The forward model needs the causes n, .* The prior has height, weight",
    ),
}


@pytest.mark.parametrize(("spoil", "text", "words"), LOADING.values(), ids=LOADING)
def test_a_prior_that_cannot_be_loaded_is_explained(folder: Path, spoil: Any, text: str, words: str) -> None:
    assert call("fit", written(folder)).exit_code == 0
    (folder / "scale.py").write_text("def weigh(x):\n    return x[..., 1:]\n")
    (folder / "invert.toml").write_text(text)
    if spoil:
        spoil(folder)
    with pytest.raises(RecipeError, match=words):
        load_recipe(folder / "invert.toml").problem()


def test_models_lists_the_fitters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    text = " ".join(call("models").output.split())
    for words in ("causal-flow", "fitter", "decoder", "ppca", "transforms = 6"):
        assert words in text


CAUSAL = ('kind = "gaussian"', 'kind = "causal-flow"\ngraph = { height = ["weight"], weight = ["height"] }')
RECIPE_MISTAKES = {
    "unknown kind": (('"gaussian"', '"gausian"'), "[prior]: Unknown fitter 'gausian'. Did you mean 'gaussian'?"),
    "unknown setting": (('"gaussian"', '"flow"\ntransform = 3'), "Unknown key 'transform'. Did you mean 'transforms'?"),
    "wrong type": (('"gaussian"', '"flow"\ntransforms = "3"'), "[prior]: Invalid transforms '3'. It must be a valid"),
    "missing setting": (('"gaussian"', '"ppca"'), "Missing key 'k'. The fitter 'ppca' needs it."),
    "key with a table": (('"gaussian"', '"flow"\nseed = 3'), "Invalid key 'seed'. It has a table of its own"),
    "unknown table": (("[card]", "[crad]"), "Unknown key 'crad'. Did you mean 'card'?"),
    "unknown key of a cause": (("long_name", "longname"), "[causes.height]: Unknown key 'longname'. Did you mean 'lon"),
    "no causes": (("[causes]", "[cause]"), "Unknown key 'cause'. Did you mean 'causes'?"),
    "empty support": (('units = "kg"', "support = [2, 1]"), "It must be [low, high] with low < high."),
    "unknown column": (("height_cm", "heigth_cm"), "people.csv has no column 'heigth_cm'. Did you mean 'height_cm'?"),
    "a column twice": (("height_cm", "weight"), "The column 'weight' is that of 'height' too. Name another one."),
    "missing file": (("people.csv", "poeple.csv"), "Did you mean 'people.csv'?"),
    "cyclic graph": (CAUSAL, "The causes act on themselves: 'height' <- 'weight'"),
    "outside the support": (
        ('units = "kg"', "support = [0.0, 60.0]"),
        "rows. Must lie within 0 to 60, both excluded.",
    ),
    "support not kept": (('units = "kg"', "support = [0.0, inf]"), "A prior of the kind 'gaussian' keeps no support."),
    "conditions not taken": (("[card]", '[conditions]\nage = "years"\n[card]'), "takes no conditions. Remove the tab"),
    "training not taken": (("[card]", "[training]\nepochs = 3\n[card]"), "takes no training. Remove the table [traini"),
    "too little held out": (("[card]", "[report]\nheld_out = 0.02\n[card]"), "Too few samples: 400, of which 8 are"),
    "format of the picture": (
        ('"people"\n', '"people"\npicture = "people.pgn"\n'),
        "Unknown format of the picture 'pe",
    ),
    "no rows left": (('"people.csv"', '"people.csv"\nselect = { years = { from = 200 } }'), "[samples], select: "),
}


def test_the_example_and_that_of_the_documents_build(tmp_path: Path) -> None:
    root = Path(__file__).resolve().parents[2]
    text = (root / "docs" / "recipes.md").read_text().partition("## The recipe of a fit")[2]
    (tmp_path / "fit.toml").write_text(text.partition("```toml\n")[2].partition("```")[0])
    for path in (tmp_path / "fit.toml", *(root / "examples").rglob("fit_*.toml")):
        job = build_fit(load_fit_recipe(path))
        assert len(job.fitted.x) + len(job.held.x) == 4168
        assert job.fitted.causes.names == ("soil_1", "soil_2", "soil_3")


def refused(result: Result, words: str) -> None:
    """Exit code 2, and two sentences on stderr without a traceback."""
    assert result.exit_code == 2, result.output
    assert words in result.stderr, result.stderr
    assert result.stderr.startswith("Error: ")
    assert result.stderr.rstrip().endswith((".", "?"))
    assert len(result.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(("change", "words"), RECIPE_MISTAKES.values(), ids=RECIPE_MISTAKES)
def test_a_mistake_in_the_recipe_is_answered_before_anything_is_written(
    folder: Path, change: tuple[str, str], words: str
) -> None:
    refused(call("fit", written(folder, change), "--out", "out"), words)
    assert not list((folder / "out").glob("*"))


def _cells(folder: Path, column: int, change: Any, rows: int = 400) -> None:
    lines = (folder / "people.csv").read_text().splitlines()
    cells = [line.split(",") for line in lines[1 : rows + 1]]
    for i, row in enumerate(cells):
        row[column] = change(i, row[column])
    (folder / "people.csv").write_text("\n".join([lines[0], *(",".join(row) for row in cells)]) + "\n")


TABLE_MISTAKES = {
    "too few": (lambda f: _cells(f, 0, lambda i, v: v, rows=60), "Too few samples: 60, of which 12 are held out"),
    "constant": (lambda f: _cells(f, 1, lambda i, v: "70"), "[samples]: No variation in weight. Leave such columns"),
    "missing": (lambda f: _cells(f, 1, lambda i, v: "" if i == 5 else v), "Missing or infinite values of weight. Lea"),
    "infinite": (lambda f: _cells(f, 0, lambda i, v: "inf" if i == 5 else v), "Missing or infinite values of height."),
    "text": (lambda f: _cells(f, 0, lambda i, v: "tall" if i == 5 else v), "Invalid value 'tall' in column 'height_cm"),
    "no rows": (lambda f: _cells(f, 0, lambda i, v: v, rows=0), "people.csv has no rows. Give at least one"),
    "empty": (lambda f: (f / "people.csv").write_bytes(b""), "people.csv is empty."),
}


@pytest.mark.parametrize(("spoil", "words"), TABLE_MISTAKES.values(), ids=TABLE_MISTAKES)
def test_a_bad_table_is_answered_before_anything_is_written(folder: Path, spoil: Any, words: str) -> None:
    spoil(folder)
    refused(call("fit", written(folder), "--out", "out"), words)
    assert not list((folder / "out").glob("*"))


def test_a_flow_asks_for_more_samples_than_a_gaussian(folder: Path) -> None:
    _cells(folder, 0, lambda i, v: v, rows=110)
    path = written(folder, ('"gaussian"', '"flow"'), ("[card]", "[report]\nheld_out = 0.5\n[card]"))
    refused(call("fit", path), "Too few samples: 55 for 2 causes and 0 conditions. Give at least 100")


def test_a_column_without_any_value_is_named_where_rows_are_dropped(folder: Path) -> None:
    _cells(folder, 1, lambda i, v: "NA")
    path = written(folder, ('"people.csv"', '"people.csv"\nincomplete = "drop"'))
    refused(call("fit", path), "[samples]: No value of weight at all. Leave it out, or correct the column.")


def test_missing_recipe_and_unwritable_folder(folder: Path) -> None:
    written(folder)
    refused(call("fit", "fitt.toml"), "Did you mean 'fit.toml'?")
    (folder / "file").touch()
    refused(call("fit", "fit.toml", "--out", "file/sub"), "Cannot write into the folder")


def test_a_checkpoint_of_another_fit_is_refused(folder: Path) -> None:
    from physgen.priors.checkpoint import write_checkpoint

    write_checkpoint(folder / "people.partial", {"a": torch.zeros(1)}, {"mark": "other"})
    refused(call("fit", written(folder, *FLOW)), "is of another fit. Give another path, or remove the file.")


def test_what_a_fitter_of_ones_own_makes_is_checked(folder: Path) -> None:
    (folder / "mine.py").write_text("def fit(table, causes):\n    return table.mean(0)\n")
    refused(call("fit", written(folder, ('"gaussian"', '"mine:fit"'))), "returned a ndarray. It must return a physgen")
    (folder / "own.py").write_text(
        "from physgen.priors import Gaussian\n\ndef fit(table, causes, *, times: float = 1.0):\n"
        "    return Gaussian(times * table.mean(0), [[9.0, 0], [0, 9.0]], causes)\n"
    )
    done = call("fit", written(folder, ('"gaussian"', '"own:fit"\ntimes = 2.0')))
    assert done.exit_code == 0, done.output
    assert float(pg.load_prior("people").mean[0]) > 330
