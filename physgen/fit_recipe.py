"""The recipe of a fit: one TOML file that names a kind of prior, a table of causes, how to train, and outputs."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, Field, ValidationError, field_validator

from .recipe import RecipeError, Section, read_text
from .validation import explain


class FitterSection(Section):
    """What is fitted: its kind, and next to it the settings of the fit."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)

    kind: str

    @property
    def settings(self) -> dict[str, Any]:
        """Every key but the kind."""
        return dict(self.model_extra or {})


class SamplesSection(Section):
    """Where the samples are: the keys are those of ``[observations]`` of an inversion's recipe."""

    file: str
    separator: str = Field(default=",", min_length=1)
    missing_value: float | None = None
    select: dict[str, Any] = Field(default_factory=dict)
    incomplete: str = "refuse"

    @field_validator("incomplete")
    @classmethod
    def _incomplete(cls, value: str) -> str:
        if value not in ("refuse", "drop"):
            raise ValueError("it must be 'refuse' or 'drop'")
        return value


class CauseSection(Section):
    """A cause: what it is, and the column (netCDF: variable) that holds it.

    Attributes
    ----------
    column : str, optional
        Its name by default.
    dimension : str, optional
        netCDF: the dimension of the variable that holds the elements of a cause that is a curve.
    units, long_name : str
    support : [low, high]
        An open interval, ends may be infinite; the whole line by default.
    """

    column: str | None = None
    dimension: str | None = None
    units: str = "1"
    long_name: str = ""
    support: list[float] = Field(default=[float("-inf"), float("inf")], min_length=2, max_length=2)

    @field_validator("support")
    @classmethod
    def _support(cls, value: list[float]) -> list[float]:
        if not value[0] < value[1]:
            raise ValueError("it must be [low, high] with low < high")
        return value


class TrainingSection(Section):
    """How a network learns: settings of `physgen.priors.Training`, or of a game's `AdversarialTraining`."""

    epochs: int | None = Field(default=None, ge=1)
    batch: int | None = Field(default=None, ge=1)
    learning_rate: float = Field(default=3e-3, gt=0)
    weight_decay: float = Field(default=0.0, ge=0)
    held_out: float = Field(default=0.1, ge=0, le=0.5)
    patience: int | None = Field(default=None, ge=1)
    critic_rate: float | None = Field(default=None, gt=0)
    critic_steps: int | None = Field(default=None, ge=1)
    averaging: float | None = Field(default=None, ge=0, lt=1)


class ReportSection(Section):
    """What the report is made on: a share of the samples, or of the groups of a column, that the fit never sees."""

    held_out: float = Field(default=0.2, gt=0, lt=1)
    group: str | None = None


class CardSection(Section):
    """What a user must know and no program can: see `physgen.priors.storage.CARD`."""

    title: str | None = Field(default=None, min_length=1)
    intended_use: str | None = Field(default=None, min_length=1)
    not_for: str | None = Field(default=None, min_length=1)
    licence: str | None = Field(default=None, min_length=1)


class FitOutputSection(Section):
    """Names of what is written, relative to the output folder."""

    file: str = Field(default="prior", min_length=1)
    picture: str | None = None


class FitContent(Section):
    """A whole recipe of a fit."""

    note: str | None = None
    seed: int = Field(default=0, ge=0)
    prior: FitterSection
    samples: SamplesSection
    causes: dict[str, CauseSection] = Field(min_length=1)
    conditions: dict[str, str] = Field(default_factory=dict)
    training: TrainingSection | None = None
    report: ReportSection = ReportSection()
    card: CardSection = CardSection()
    output: FitOutputSection = FitOutputSection()


@dataclass(frozen=True)
class FitRecipe:
    """A recipe of a fit that has been read and whose keys are valid; attributes are those of `Recipe`."""

    path: Path
    text: str
    content: FitContent

    @property
    def folder(self) -> Path:
        """Where the recipe lies."""
        return self.path.parent

    def place(self, table: str) -> str:
        """What an error begins with."""
        return f"{self.path.name}, [{table}]"


def load_fit_recipe(path: str | Path) -> FitRecipe:
    """Read and check the recipe of a fit.

    Parameters
    ----------
    path : path
        Of a TOML file.

    Raises
    ------
    RecipeError
        If the file is missing or not TOML, or a key is unknown (it names the nearest valid one), missing or of the
        wrong type.
    """
    path = Path(path).absolute()
    text = read_text(path)
    try:
        return FitRecipe(path, text, FitContent.model_validate(tomllib.loads(text)))
    except tomllib.TOMLDecodeError as error:
        words = str(error)
        raise RecipeError(f"{path.name}: Invalid TOML ({words[:1].lower()}{words[1:]}). Correct that line.") from None
    except ValidationError as error:
        raise RecipeError(f"{path.name}{explain(error, FitContent)}") from None
