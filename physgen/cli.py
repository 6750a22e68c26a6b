"""The command line: invert, simulate, fit, check, models, show, report.

Bad input ends with exit code 2 and two sentences on stderr, an interruption with 130. What costs time to import is
imported by the command that needs it.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import __version__

if TYPE_CHECKING:
    from .job import Job

app = typer.Typer(
    name="physgen",
    help="Infer causes from effects: forward models, generative priors, and posteriors that have been checked.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

RecipeFile = Annotated[Path, typer.Argument(metavar="RECIPE", help="A TOML file.", show_default=False)]
OutFolder = Annotated[Path, typer.Option("--out", metavar="DIR", help="Where outputs go; made if need be.")]
Seed = Annotated[int | None, typer.Option("--seed", min=0, help="Instead of the recipe's.", show_default=False)]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]


def main() -> None:
    """Run the command line."""
    app()


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"physgen {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    pass


@app.command()
def invert(
    recipe: RecipeFile,
    out: OutFolder = Path("."),
    seed: Seed = None,
    debug: Debug = False,
) -> None:
    """Invert the observations of RECIPE: the posterior into a netCDF file, and a picture if the recipe names one.

    Interrupted work resumes where it stopped when the same command is run again.
    """
    with _reporting(debug, resumes=True):
        from .recipe import load_recipe
        from .writing import output_folder

        loaded = load_recipe(recipe)
        output = loaded.content.output
        if output.picture:
            from .picture import check_format

            check_format(Path(output.picture))
        for name in filter(None, (output.file, output.picture)):
            output_folder((out / name).parent)
        job = loaded.build(seed)
        if loaded.content.forward.compiled:
            typer.echo("The model's code is made first: some minutes, a quarter of that the next time.", err=True)
        path = job.invert(out, progress=sys.stderr.isatty())
        _written(path)
        if output.picture:
            _written(_picture(job, path, out / output.picture))


def _picture(job: Job, path: Path, out: Path) -> Path:
    """The picture that suits the result: of many observations, or of one."""
    from .observation_picture import has_picture, observation_picture
    from .picture import picture
    from .result import Result

    if has_picture(job.problem, job.observations.y[..., 0].size):
        return observation_picture(Result.from_netcdf(path), job.problem, out)
    return picture(path, out)


@app.command()
def simulate(
    recipe: RecipeFile,
    n: Annotated[int | None, typer.Option("--n", min=1, help="How many.", show_default=False)] = None,
    out: OutFolder = Path("."),
    seed: Seed = None,
    debug: Debug = False,
) -> None:
    """Draw causes from the prior of RECIPE and measure them, into a netCDF file."""
    with _reporting(debug):
        from .recipe import load_recipe
        from .simulation import simulate_to_netcdf
        from .writing import output_folder

        loaded = load_recipe(recipe)
        path = out / loaded.content.simulate.file
        output_folder(path.parent)
        _written(simulate_to_netcdf(loaded, path, n=n, seed=seed))


@app.command()
def fit(
    recipe: RecipeFile,
    out: OutFolder = Path("."),
    seed: Seed = None,
    debug: Debug = False,
) -> None:
    """Learn a prior from the table of samples of RECIPE: into safetensors with a card, and a picture if it names one.

    Interrupted work resumes where it stopped when the same command is run again.
    """
    with _reporting(debug, resumes=True):
        from rich.console import Console

        from .fit_job import build_fit
        from .fit_recipe import load_fit_recipe
        from .fit_report import side_by_side
        from .writing import output_folder

        loaded = load_fit_recipe(recipe)
        output = loaded.content.output
        if output.picture:
            from .picture import check_format

            check_format(Path(output.picture))
        for name in filter(None, (output.file, output.picture)):
            output_folder((out / name).parent)
        fitted = build_fit(loaded, seed).fit(out, progress=sys.stderr.isatty())
        Console().print(side_by_side(fitted.figures))
        _written(fitted.path)
        _written(fitted.path.with_suffix(".json"))
        if output.picture:
            _written(out / output.picture)


@app.command()
def check(
    recipe: RecipeFile,
    n: Annotated[int, typer.Option("--n", min=1, help="Simulations.")] = 500,
    out: OutFolder = Path("."),
    seed: Seed = None,
    debug: Debug = False,
) -> None:
    """Check RECIPE's inversion on simulated observations, and its answer's sensitivity to the prior.

    Writes calibration.json and prints the verdict. Interrupted work resumes when the same command is run again.
    """
    with _reporting(debug, resumes=True):
        from rich.console import Console

        from .check_job import check_to_json
        from .check_report import rendered
        from .recipe import load_recipe
        from .writing import output_folder

        loaded = load_recipe(recipe)
        output_folder(out)
        path, content = check_to_json(loaded.build(seed), out, n=n, progress=sys.stderr.isatty())
        Console().print(rendered(content))
        _written(path)


@app.command()
def models(debug: Debug = False) -> None:
    """List what is installed, built in and third-party: causes with units, conditions, settings."""
    with _reporting(debug):
        from rich.console import Console

        from .catalogue import catalogue, catalogue_table

        Console().print(catalogue_table(catalogue()))


@app.command()
def show(
    result: Annotated[Path, typer.Argument(metavar="RESULT.nc", help="A result of invert.", show_default=False)],
    debug: Debug = False,
) -> None:
    """Summarise a result: causes, how many observations are trusted and why the others are not, provenance."""
    with _reporting(debug):
        from rich.console import Console

        from .show import show as rendered

        Console().print(rendered(result))


@app.command()
def report(
    result: Annotated[Path, typer.Argument(metavar="RESULT.nc", help="A result of invert.", show_default=False)],
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE.html", help="By default RESULT.html.", show_default=False)
    ] = None,
    check: Annotated[
        Path | None,
        typer.Option("--check", metavar="FILE", help="What check has written; else found beside.", show_default=False),
    ] = None,
    recipe: Annotated[
        Path | None,
        typer.Option("--recipe", metavar="RECIPE", help="Runs the code that it names.", show_default=False),
    ] = None,
    debug: Debug = False,
) -> None:
    """Write one HTML page that a colleague can read: the answer in pictures, how far to trust it, where it comes from.

    The page needs no network. Code of one's own that the recipe names runs only where the recipe is given again.
    """
    with _reporting(debug):
        from .report import write_report

        _written(write_report(result, out, check=check, recipe=recipe))


def _written(path: Path) -> None:
    typer.echo(f"Wrote {path}")


@contextmanager
def _reporting(debug: bool, resumes: bool = False) -> Iterator[None]:
    """Turn what goes wrong into a message and an exit code."""
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _warned  # type: ignore[assignment]  # takes any arguments
            yield
    except KeyboardInterrupt:
        more = "Run the same command again to resume the work." if resumes else "Nothing was written."
        typer.echo(f"\nInterrupted. {more}", err=True)
        raise typer.Exit(130) from None
    except (ValueError, TypeError, OSError, RuntimeError) as error:
        if debug:
            raise
        typer.echo(f"Error: {_words(error)}", err=True)
        raise typer.Exit(2) from None
    except Exception as error:
        if debug:
            raise
        typer.echo(
            f"Error: physgen failed unexpectedly ({type(error).__name__}: {error}). "
            "Run again with --debug for the traceback, and report it.",
            err=True,
        )
        raise typer.Exit(1) from None


def _warned(message: Warning | str, *_: object) -> None:
    """A warning in words, without the place in the source that a programmer wants."""
    typer.echo(f"Warning: {message}", err=True)


def _words(error: Exception) -> str:
    """The message; the system's own errors say their file."""
    if isinstance(error, OSError) and error.strerror:
        where = f" {error.filename}" if error.filename else ""
        return f"Cannot use the file{where} ({error.strerror}). Check that it exists, its permissions and the disk."
    return str(error)
