"""Recipes: one TOML file that names forward model, prior, noise, inversion, observations and outputs."""

from __future__ import annotations

import difflib
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from .validation import explain

if TYPE_CHECKING:
    from .job import Job
    from .problem import Problem


class RecipeError(ValueError):
    """What is wrong with a recipe or its observations, in two sentences after the place where it is wrong."""


class Section(BaseModel):
    """A table of a recipe: only the keys that it declares, and of exactly their type."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class PartSection(Section):
    """Forward model or noise: its name, and next to it the settings that its constructor takes."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)

    model: str

    @property
    def settings(self) -> dict[str, Any]:
        """Every key but the name."""
        return dict(self.model_extra or {})


class ForwardSection(PartSection):
    """The forward model; with ``compiled = true``, its values are computed by compiled code: see `compiled`."""

    compiled: bool = False


class PriorSection(Section):
    """The prior: ``model`` with the settings of its constructor, or ``load``: a stored prior.

    Attributes
    ----------
    model : str
        As of any part. A constructor with a parameter `forward` gets the forward model there: its causes decide the
        prior's.
    load : str
        A file of `physgen fit` or `save_prior`, relative to the recipe, or the name of a prior that ships with physgen.
    given : table
        Conditions of a stored prior that are fixed, by name.
    """

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)

    model: str | None = None
    load: str | None = None
    given: dict[str, float] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _one(self) -> PriorSection:
        if (self.model is None) == (self.load is None):
            raise ValueError("it needs one of the keys model and load")
        if self.load is not None and self.model_extra:
            key = next(iter(self.model_extra))
            raise ValueError(f"a stored prior takes no {key!r}: the keys are load and given")
        return self

    @property
    def settings(self) -> dict[str, Any]:
        """Every key but the name."""
        return dict(self.model_extra or {}) | ({"given": dict(self.given)} if self.model and self.given else {})


class InversionSection(Section):
    """The inversion: ``method``, and its settings."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)

    method: str

    @property
    def settings(self) -> dict[str, Any]:
        """Every key but the name."""
        return dict(self.model_extra or {})


def _check_conditions(value: Any) -> Any:
    for name, item in value.items() if isinstance(value, dict) else ():
        if isinstance(item, bool) or not isinstance(item, str | int | float):
            raise ValueError(f"{name} must be a number, or the name of a variable of the file")
    return value


class ObservationsSection(Section):
    """Where the observations are, and how they read.

    Attributes
    ----------
    file : str
        netCDF or delimited text; relative to the recipe, or ``physgen:NAME`` for data that physgen carries.
    reader : str
        A registered reader, or ``"my_module:my_reader"``, that turns the file into one observation: ``label-image``.
    settings : table
        Of the reader.
    variable : str or table
        netCDF: the variable that holds the observable, or one for each block of observables; the names of the
        blocks by default.
    dimension : str
        netCDF: the dimension that holds the elements of the observable; that of the forward model by default.
        Delimited text: "row" where all rows together are one observation, as in a list of sizes.
    columns : list or table
        The columns (netCDF: variables) that hold one observable each: in the order of a forward model that does not
        name its observables, or observable = "column".
    separator : str
        Between the columns of delimited text.
    scale : float
        Multiplies every value: 1e-4 for reflectance stored as digital numbers.
    missing_value : float
        What stands for "not measured" besides NaN and an empty cell.
    missing : list
        Observables of the forward model that the file lacks.
    select : table
        dimension, coordinate or column = value, list of values, or {from = ..., to = ...}.
    valid : str
        A variable that is zero where an observation must not be used; it is then given as not measured.
    coordinates : list of str
        Variables or columns carried into the result as coordinates of the observations.
    precision : str
        "float32" or "float64"; that of the file by default.
    conditions : table
        condition = number, or the name of a variable or column.
    """

    file: str
    reader: str | None = None
    settings: dict[str, Any] = Field(default_factory=dict)
    variable: Any = None
    dimension: str | None = None
    columns: Any = None
    separator: str = Field(default=",", min_length=1)
    scale: float = 1.0
    missing_value: float | None = None
    missing: list[Any] = Field(default_factory=list)
    select: dict[str, Any] = Field(default_factory=dict)
    valid: str | None = None
    coordinates: list[str] = Field(default_factory=list)
    precision: Literal["float32", "float64"] | None = None
    conditions: dict[str, Any] = Field(default_factory=dict)

    _conditions = field_validator("conditions")(_check_conditions)

    @field_validator("variable")
    @classmethod
    def _variable(cls, value: Any) -> Any:
        if not (isinstance(value, str) or _is_table_of_text(value)):
            raise ValueError("it must be text, or a table block = 'variable'")
        return value

    @field_validator("columns")
    @classmethod
    def _columns(cls, value: Any) -> Any:
        listed = isinstance(value, list) and value and all(isinstance(item, str) for item in value)
        if not (listed or _is_table_of_text(value)):
            raise ValueError("it must be a list of names, or a table observable = 'column'")
        return value

    @field_validator("select")
    @classmethod
    def _select(cls, value: Any) -> Any:
        for name, item in value.items():
            if isinstance(item, dict) and not (item and item.keys() <= {"from", "to"}):
                raise ValueError(f"{name} must be a value, a list, or a table with from and to")
        return value


def _is_table_of_text(value: Any) -> bool:
    return isinstance(value, dict) and bool(value) and all(isinstance(item, str) for item in value.values())


class OutputSection(Section):
    """Names of what is written, relative to the output folder."""

    file: str = "posterior.nc"
    picture: str | None = None


class SimulateSection(Section):
    """What `physgen simulate` draws; conditions are those of the observations unless they are given here."""

    n: int = Field(default=1000, gt=0)
    file: str = "simulated.nc"
    conditions: dict[str, Any] | None = None

    _conditions = field_validator("conditions")(_check_conditions)


class Content(Section):
    """A whole recipe."""

    note: str | None = None
    seed: int = Field(default=0, ge=0)
    forward: ForwardSection
    prior: PriorSection
    noise: PartSection
    inversion: InversionSection | None = None
    observations: ObservationsSection | None = None
    output: OutputSection = OutputSection()
    simulate: SimulateSection = SimulateSection()


@dataclass(frozen=True)
class Recipe:
    """A recipe that has been read and whose keys are valid.

    Attributes
    ----------
    path : Path
        Of the file; relative names in it are relative to its folder.
    text : str
        The file, verbatim.
    content : Content
        Its tables.
    """

    path: Path
    text: str
    content: Content

    @property
    def folder(self) -> Path:
        """Where the recipe lies."""
        return self.path.parent

    def problem(self) -> Problem:
        """Forward model, prior and noise; `RecipeError` if one of them cannot be made."""
        from .job import build_problem

        return build_problem(self)

    def build(self, seed: int | None = None) -> Job:
        """Everything that the inversion needs, observations included.

        Parameters
        ----------
        seed : int, optional
            Instead of the recipe's.

        Raises
        ------
        RecipeError
            If a part cannot be made, or the observations cannot be read or do not fit the forward model.
        """
        from .job import build_job

        return build_job(self, seed)


def load_recipe(path: str | Path) -> Recipe:
    """Read and check a recipe.

    Parameters
    ----------
    path : path
        Of a TOML file.

    Returns
    -------
    Recipe

    Raises
    ------
    RecipeError
        If the file is missing or not TOML, or a key is unknown (it names the nearest valid one), missing or of the
        wrong type.
    """
    path = Path(path).absolute()
    text = read_text(path)
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"{path.name}: Invalid TOML ({_lower(str(error))}). Correct that line.") from None
    try:
        return Recipe(path, text, Content.model_validate(table))
    except ValidationError as error:
        raise RecipeError(f"{path.name}{explain(error, Content)}") from None


def read_text(path: Path) -> str:
    """The text of a recipe; `RecipeError` names the nearest file where there is none."""
    if not path.is_file():
        around = [p.name for p in path.parent.glob("*.toml")] if path.parent.is_dir() else []
        close = difflib.get_close_matches(path.name, around, n=1)
        raise RecipeError(f"No recipe at {path}. {f'Did you mean {close[0]!r}?' if close else 'Check the path.'}")
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise RecipeError(f"{path.name}: The recipe is not text in UTF-8. Give a TOML file.") from None
    except OSError as error:
        raise RecipeError(f"Cannot read the recipe {path} ({error.strerror}). Check its permissions.") from None


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]
