"""The registry: forward models, priors, noises, inversions, readers and fitters by name, built in or of a plug-in.

A plug-in registers itself with an entry point in its own pyproject, exactly as the built-in parts do in that of
physgen; a script beside a recipe needs no registration and is named ``"my_module:my_model"``.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.machinery
import importlib.metadata
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any

GROUPS: Mapping[str, str] = MappingProxyType(
    {
        "forward model": "physgen.forward_models",
        "prior": "physgen.priors",
        "noise": "physgen.noises",
        "inversion": "physgen.inversions",
        "reader": "physgen.readers",
        "fitter": "physgen.fitters",
    }
)
"""Entry-point group of each kind of part."""

BUILTIN: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "physgen.forward_models": {
            "abel-projection": "physgen.forward_models:AbelProjection",
            "canopy": "physgen.forward_models:Canopy",
            "free-spheres": "physgen.forward_models:FreeSpheres",
            "spheres": "physgen.forward_models:Spheres",
            "spheroid-sections": "physgen.forward_models:SpheroidSections",
        },
        "physgen.priors": {
            "gaussian": "physgen.priors:Gaussian",
            "independent": "physgen.priors:Independent",
            "particle-shape": "physgen.forward_models.stereology.shape_prior:particle_shape",
            "smooth-field": "physgen.priors:SmoothField",
            "soil": "physgen.forward_models.canopy.soil_prior:soil",
            "vegetation": "physgen.forward_models.canopy.vegetation_prior:vegetation",
            "vegetation-flow": "physgen.forward_models.canopy.vegetation_flow:vegetation_flow",
        },
        "physgen.noises": {
            "gaussian": "physgen.noise:GaussianNoise",
            "correlated-gaussian": "physgen.noise:CorrelatedGaussianNoise",
            "section-histogram": "physgen.forward_models:SectionHistogram",
            "section-sizes": "physgen.forward_models:SectionSizes",
            "student-t": "physgen.noise:StudentTNoise",
            "poisson": "physgen.noise:PoissonNoise",
            "negative-binomial": "physgen.noise:NegativeBinomialNoise",
            "shot": "physgen.noise:ShotNoise",
        },
        "physgen.inversions": {
            "amortised": "physgen.inversions:Amortised",
            "optimal-estimation": "physgen.inversions:OptimalEstimation",
            "ensemble": "physgen.inversions:Ensemble",
            "auto": "physgen.inversions:Auto",
            "grid": "physgen.inversions:Grid",
            "hamiltonian": "physgen.inversions:Hamiltonian",
            "tempered-smc": "physgen.inversions:TemperedSMC",
            "guided-diffusion": "physgen.inversions:GuidedDiffusion",
            "variational": "physgen.inversions:Variational",
            "lookup-table": "physgen.inversions:LookupTable",
            "microcanonical": "physgen.inversions:Microcanonical",
            "nuts": "physgen.inversions:NUTS",
            "pathfinder": "physgen.inversions:Pathfinder",
            "slice-sampler": "physgen.inversions:SliceSampler",
            "nested-laplace": "physgen.inversions:NestedLaplace",
        },
        "physgen.readers": {
            "label-image": "physgen.forward_models.stereology.label_image_reader:read_label_image",
        },
        "physgen.fitters": {
            "causal-flow": "physgen.priors:CausalFlow.fit",
            "decoder": "physgen.priors:Decoder.fit",
            "diffusion": "physgen.priors:Diffusion.fit",
            "flow": "physgen.priors:Flow.fit",
            "flow-matching": "physgen.priors:FlowMatching.fit",
            "gan": "physgen.fit_adversarial:fit_gan",
            "gaussian": "physgen.priors:Gaussian.fit",
            "ica": "physgen.priors:ICA.fit",
            "infogan": "physgen.fit_adversarial:fit_infogan",
            "ppca": "physgen.priors:PPCA.fit",
        },
    }
)
"""The entry points of physgen itself, by group: what pyproject.toml says, for a checkout that is not installed."""


_FROM_FOLDERS: set[str] = set()  # top-level modules that came from the folder of some recipe


class RegistryError(ValueError):
    """A part that cannot be found or imported, in two sentences."""


@dataclass(frozen=True)
class Entry:
    """One registered part.

    Attributes
    ----------
    name : str
        What a recipe calls it.
    kind : str
        A key of `GROUPS`.
    target : str
        ``module:attribute``.
    package : str
        The distribution that registers it; ``physgen`` for a built-in one.
    """

    name: str
    kind: str
    target: str
    package: str

    def load(self) -> Any:
        """Import the part; `RegistryError` if that fails."""
        try:
            return _attribute(importlib.import_module(self.target.partition(":")[0]), self.target)
        except RegistryError:
            raise
        except Exception as error:
            raise RegistryError(
                f"The {self.kind} {self.name!r} of {self.package} cannot be imported ({_brief(error)}). "
                "Repair or uninstall that package."
            ) from error


def entries(kind: str) -> tuple[Entry, ...]:
    """Every registered part of a kind, built-in ones first.

    Nothing is imported, so that one broken plug-in cannot hide the others; `Entry.load` does that. A name that is
    registered twice belongs to physgen, else to the package that comes first in the alphabet.

    Parameters
    ----------
    kind : str
        A key of `GROUPS`.
    """
    group = GROUPS[kind]
    found = {name: Entry(name, kind, target, "physgen") for name, target in BUILTIN[group].items()}
    plugins = [
        Entry(point.name, kind, point.value, point.dist.name if point.dist else "unknown")
        for point in importlib.metadata.entry_points(group=group)
    ]
    for entry in sorted(plugins, key=lambda e: (e.package, e.name)):
        found.setdefault(entry.name, entry)
    return tuple(found.values())


def find(kind: str, name: str, folder: Path | None = None) -> Any:
    """The part that a recipe names.

    Parameters
    ----------
    kind : str
        A key of `GROUPS`.
    name : str
        A registered name, or ``module:attribute`` (the attribute may be dotted) of any importable module.
    folder : Path, optional
        Where modules are looked for first: the folder of the recipe.

    Raises
    ------
    RegistryError
        If there is none of that name, or its import fails.
    """
    if ":" in name:
        return load_object(name, folder)
    known = {entry.name: entry for entry in entries(kind)}
    if name not in known:
        raise RegistryError(f"Unknown {kind} {name!r}. {nearest(name, known, 'Registered are')}")
    return known[name].load()


def load_object(target: str, folder: Path | None = None) -> Any:
    """Import ``module:attribute``, looking in `folder` first.

    Raises
    ------
    RegistryError
        If the module or the attribute is missing, or the module raises while it is imported.
    """
    module_name = target.partition(":")[0]
    with first_on_path(folder):
        _forget_stale(module_name.partition(".")[0], folder)
        try:
            module = importlib.import_module(module_name)
        except RegistryError:
            raise
        except Exception as error:  # a user's module may raise anything: its message is what helps
            where = f" from {folder}" if folder else ""
            raise RegistryError(
                f"Cannot import {module_name!r}{where} ({_brief(error)}). "
                "Correct the module, or its name in the recipe."
            ) from error
        return _attribute(module, target)


@contextmanager
def first_on_path(folder: Path | None) -> Iterator[None]:
    """Put `folder` first on ``sys.path`` for a while; physgen's own imports are absolute and stay what they are."""
    if folder is None:
        yield
        return
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path.remove(str(folder))


def nearest(name: str, valid: Iterable[str], otherwise: str) -> str:
    """A sentence that names the nearest valid name, or all of them where none is near."""
    names = sorted(valid)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    if close:
        return f"Did you mean {close[0]!r}?"
    return f"{otherwise} {', '.join(names)}." if names else f"{otherwise} none."


def _attribute(module: ModuleType, target: str) -> Any:
    module_name, _, path = target.partition(":")
    found: Any = module
    for part in path.split("."):
        if not hasattr(found, part):
            public = [n for n in dir(found) if not n.startswith("_")]
            raise RegistryError(f"{module_name!r} has no {path!r}. {nearest(path, public, 'It has')}")
        found = getattr(found, part)
    return found


def _forget_stale(name: str, folder: Path | None) -> None:
    """Drop a module of the same name that came from another recipe's folder; refuse to replace any other."""
    loaded = sys.modules.get(name)
    spec = importlib.machinery.PathFinder.find_spec(name, [str(folder)]) if folder else None
    if spec is None or spec.origin is None:  # not in the folder, or a mere folder without __init__.py
        return
    if loaded is not None and getattr(loaded, "__file__", None) != spec.origin:
        if name not in _FROM_FOLDERS:
            raise RegistryError(f"The name of {spec.origin} is that of another, installed module. Rename the file.")
        for key in [k for k in sys.modules if k == name or k.startswith(name + ".")]:
            del sys.modules[key]
    _FROM_FOLDERS.add(name)


def _brief(error: Exception) -> str:
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0]}" if text else type(error).__name__
