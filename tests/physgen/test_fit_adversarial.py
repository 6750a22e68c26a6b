"""`physgen fit` of adversarial priors: it resumes, keeps supports, shows its game, and refuses what a game lacks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner, Result

import physgen as pg
from physgen.cli import app
from physgen.priors import adversarial_training
from physgen.priors.storage import prior_card

RECIPE = """
seed = 3
[prior]
kind = "gan"
code = 2
hidden = [8]
penalty = 0.1
[samples]
file = "people.csv"
[causes]
height = { units = "cm" }
weight = { units = "kg", support = [0, inf] }
[conditions]
age = "years"
[training]
epochs = 3
critic_rate = 4e-3
[output]
file = "people"
picture = "people.png"
"""
KINDS = {"GAN": RECIPE, "InfoGAN": RECIPE.replace('"gan"\ncode', '"infogan"\ncodes')}
MISTAKES = {
    "a game does not stop early": (
        ("epochs = 3", "patience = 3"),
        "[training]: The kind 'gan' takes no 'patience'. It takes averaging, batch, critic_rate",
    ),
    "a network has no critic": (
        ('"gan"\ncode = 2\nhidden = [8]\npenalty = 0.1', '"flow"'),
        "[training]: The kind 'flow' takes no 'critic_rate'. ",
    ),
    "too short a code": (("code = 2", "code = 0"), "[prior]: Invalid code length 0. It must be a whole number"),
    "an unknown game": (("penalty = 0.1", 'game = "chess"'), "[prior]: Unknown game 'chess'. Must be one of"),
    "one frequency": (("penalty = 0.1", "frequencies = [1.0]"), "[prior]: Invalid frequencies [1.0]. Give two"),
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    random = np.random.default_rng(0)
    age = random.uniform(20, 70, 400)
    height = random.normal(170, 8, 400)
    weight = np.exp(np.log(70) + 0.01 * (height - 170) + random.normal(0, 0.1, 400))
    rows = np.stack([height, weight, age], 1)
    np.savetxt(tmp_path / "people.csv", rows, "%.6g", ",", header="height,weight,years", comments="")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def fit(text: str, out: str) -> Result:
    Path("fit.toml").write_text(text)
    return CliRunner().invoke(app, ["fit", "fit.toml", "--out", out])


@pytest.mark.parametrize("kind", KINDS)
def test_an_adversarial_fit_resumes_to_the_bit_and_shows_its_game(
    folder: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    done = fit(KINDS[kind], "whole")
    assert done.exit_code == 0, done.output
    assert "C2ST" in done.output
    real = adversarial_training._Game.one_epoch

    def tired(self: Any, state: Any) -> None:
        if state.epoch == 2:
            raise KeyboardInterrupt
        assert self.settings.critic_rate == 4e-3
        assert self.settings.learning_rate == adversarial_training.AdversarialTraining().learning_rate
        real(self, state)

    monkeypatch.setattr(adversarial_training._Game, "one_epoch", tired)
    assert fit(KINDS[kind], "cut").exit_code == 130
    assert [p.name for p in (folder / "cut").iterdir()] == ["people.partial"]
    monkeypatch.setattr(adversarial_training._Game, "one_epoch", real)
    assert fit(KINDS[kind], "cut").exit_code == 0
    first, second = (load_file(folder / f / "people.safetensors") for f in ("whole", "cut"))
    assert all(torch.equal(first[n], second[n]) for n in first)
    prior = pg.load_prior(folder / "whole" / "people")
    assert type(prior).__name__ == kind
    assert prior.takes.required == {"age"}
    assert bool((prior.sample(100, age=30.0)[:, 1] > 0).all())
    learning = prior_card(folder / "whole" / "people")["fit"]["learning"]
    assert (learning["samples"], learning["epochs"]) == (320, 3)
    assert (folder / "whole" / "people.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize(("change", "words"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_answered_before_anything_is_written(folder: Path, change: tuple[str, str], words: str) -> None:
    assert RECIPE.count(change[0]) == 1
    refused = fit(RECIPE.replace(*change), "out")
    assert refused.exit_code != 0
    assert words in " ".join(refused.output.split()), refused.output
    assert not list((folder / "out").glob("*"))
