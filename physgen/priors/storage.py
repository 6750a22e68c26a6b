"""Learned priors in files: tensors in safetensors, and beside them a card in JSON that says what they are.

Loading reads numbers and text; it runs no code from the files. The card names the kind of prior, and only classes that
are already imported and marked `storable` answer to a kind.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, Protocol, TypeVar

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from ..space import Block, Coordinate, Space
from ..writing import whole_file
from .prior import Prior
from .storage_parts import check_parts, known_parts, prefixed, unprefixed

VERSION = 1
"""Of the layout of the card; a reader refuses a later one."""

FORMAT = "physgen prior"

CARD = {
    "title": "what it is, in a line",
    "learned_from": "data and number of samples",
    "units": "of the causes",
    "range": "of the samples that it was learned from",
    "intended_use": "what it is for",
    "not_for": "what it must not be used for",
    "fit": "figures of how well it fits, on what was held out",
    "licence": "of the data, and of this file",
}
"""What every card must say."""


class Storable(Protocol):
    """A prior that can be stored: it gives tensors and plain values, and can be made of them again."""

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors by name, and settings that JSON can hold."""

    @classmethod
    def from_state(cls, tensors: Mapping[str, Tensor], settings: Mapping[str, Any]) -> Prior:
        """The prior of such a state."""


_Class = TypeVar("_Class", bound=type)
_KINDS: dict[str, Any] = {}


def storable(kind: str) -> Callable[[_Class], _Class]:
    """Mark a class of priors with `state` and `from_state` as the one that files of this kind are read with.

    Raises
    ------
    ValueError
        If the kind belongs to another class.
    """

    def mark(cls: _Class) -> _Class:
        other = _KINDS.setdefault(kind, cls)
        if (other.__module__, other.__qualname__) != (cls.__module__, cls.__qualname__):
            raise ValueError(
                f"The kind {kind!r} belongs to {other.__module__}.{other.__qualname__}. Choose another name."
            )
        _KINDS[kind] = cls
        return cls

    return mark


def save_prior(prior: Prior, path: str | Path, card: Mapping[str, Any]) -> Path:
    """Write ``<path>.safetensors`` and ``<path>.json``.

    Parameters
    ----------
    prior : Prior
        Of a class marked `storable`.
    path : path
        With or without one of the two suffixes.
    card : mapping
        Text for every key of `CARD` (`fit` and `range` may hold numbers by name); more keys are kept.

    Returns
    -------
    Path
        Of the tensors.

    Raises
    ------
    TypeError
        If the prior is of no storable class, or the card holds what JSON cannot.
    ValueError
        If the card lacks something.
    """
    kind = next((k for k, cls in _KINDS.items() if type(prior) is cls), None)
    if kind is None:
        raise TypeError(f"{type(prior).__name__} cannot be stored. Those that can are {', '.join(sorted(_KINDS))}.")
    missing = [f"{key} ({words})" for key, words in CARD.items() if not card.get(key)]
    if missing:
        raise ValueError(f"Invalid card without {'; '.join(missing)}. Say what a user must know.")
    stem = _stem(Path(path))
    tensors, settings = prior.state()  # type: ignore[attr-defined]
    data = safetensors.torch.save({n: t.detach().cpu().contiguous() for n, t in tensors.items()})
    head = {"format": FORMAT, "version": VERSION, "kind": kind, "sha256": hashlib.sha256(data).hexdigest()}
    try:
        text = json.dumps(head | {"card": dict(card), "settings": settings}, indent=1, ensure_ascii=False)
    except TypeError as error:
        raise TypeError(f"Invalid card or settings ({error}). Give text, plain numbers, lists and mappings.") from error
    for suffix, content in ((".safetensors", data), (".json", (text + "\n").encode())):
        with whole_file(stem.with_name(stem.name + suffix)) as temporary:
            temporary.write_bytes(content)
    return stem.with_name(stem.name + ".safetensors")


def load_prior(path_or_name: str | Path, *, parts: Mapping[str, Any] | None = None) -> Any:
    """The prior in a pair of files, or one that ships with physgen.

    Parameters
    ----------
    path_or_name : path or str
        A path with or without suffix, or the name of a shipped prior (`shipped_priors`), such as "particle_shape".
    parts : mapping of str to object, optional
        What no file holds, by name: the known map of a `Physics`, a function. The card says what each was; no name in
        it is looked up or imported.

    Returns
    -------
    Prior

    Raises
    ------
    ValueError
        If a file is missing, was changed after it was written, is of a later version or of an unknown kind, or is no
        stored prior at all; or if a part is missing or unknown.
    """
    head, data = _read(path_or_name)
    where = str(path_or_name)
    if hashlib.sha256(data).hexdigest() != head["sha256"]:
        raise ValueError(f"The tensors of {where} are not those of its card. Fetch both files again.")
    if head["kind"] not in _KINDS:
        known = ", ".join(sorted(_KINDS))
        raise ValueError(f"Unknown kind {head['kind']!r} of {where}. Import its package first; known are {known}.")
    given = check_parts(where, head["settings"], parts or {})
    try:
        return _KINDS[head["kind"]].from_state(safetensors.torch.load(data), head["settings"], **given)
    except (KeyError, TypeError, SafetensorError) as error:
        raise ValueError(f"The files of {where} lack a part ({error}). Fetch both files again.") from error


def nested_state(prior: Prior, name: str) -> tuple[dict[str, Tensor], dict[str, Any], dict[str, str]]:
    """A prior within another: tensors, settings, and what of it no file holds (all of it, if it is not storable)."""
    kind = next((k for k, cls in _KINDS.items() if type(prior) is cls), None)
    if kind is None:
        return {}, {}, known_parts({name: prior})
    tensors, settings = prior.state()  # type: ignore[attr-defined]
    parts = {f"{name}.{n}": text for n, text in (settings.get("parts") or {}).items()}
    return prefixed(tensors, name), {name: {"kind": kind, "settings": settings}}, parts


def nested_prior(
    tensors: Mapping[str, Tensor], settings: Mapping[str, Any], parts: Mapping[str, Any], name: str
) -> Any:
    """The prior of `nested_state`."""
    if name in parts:
        return parts[name]
    own = {n.removeprefix(f"{name}."): part for n, part in parts.items() if n.startswith(f"{name}.")}
    inner = settings[name]
    return _KINDS[inner["kind"]].from_state(unprefixed(tensors, name), inner["settings"], **own)


def prior_card(path_or_name: str | Path) -> dict[str, Any]:
    """What the card of a stored prior says: the keys of `CARD`, and more. Parameters and errors are `load_prior`'s."""
    return dict(_read(path_or_name)[0]["card"])


def prior_files(path_or_name: str | Path) -> tuple[Path, ...]:
    """The two files of a stored prior; none if one is missing."""
    found = [Path(str(_place(path_or_name, suffix))) for suffix in (".json", ".safetensors")]
    return tuple(found) if all(p.is_file() for p in found) else ()


def shipped_priors() -> tuple[str, ...]:
    """Names of the priors that come with physgen."""
    names = sorted(f.name for f in (resources.files("physgen") / "data").iterdir())
    return tuple(n.removesuffix(".safetensors") for n in names if n.endswith(".safetensors"))


def _read(path_or_name: str | Path) -> tuple[dict[str, Any], bytes]:
    """Head of the card, checked but for the hash, and the bytes of the tensors."""
    found = []
    for suffix in (".json", ".safetensors"):
        try:
            found.append(_place(path_or_name, suffix).read_bytes())
        except OSError as error:
            ships = ", ".join(shipped_priors()) or "none"
            raise ValueError(
                f"Cannot read {path_or_name}{suffix} ({error.strerror}). Give the path of a stored prior, or the name "
                f"of a shipped one: {ships}."
            ) from error
    return _head(found[0], str(path_or_name)), found[1]


def _head(text: bytes, where: str) -> dict[str, Any]:
    try:
        head = json.loads(text)
    except ValueError as error:
        raise ValueError(f"The card of {where} is not JSON ({error}). Fetch both files again.") from error
    if not isinstance(head, dict) or head.get("format") != FORMAT or not isinstance(head.get("version"), int):
        raise ValueError(f"The card of {where} is not one of a physgen prior. Give a file that save_prior wrote.")
    if head["version"] > VERSION:
        raise ValueError(
            f"The prior {where} is of version {head['version']}, and this physgen reads up to {VERSION}. "
            "Install a newer physgen."
        )
    absent = [key for key in ("kind", "sha256", "card", "settings") if key not in head]
    if absent:
        raise ValueError(f"The card of {where} lacks {', '.join(absent)}. Fetch both files again.")
    return head


def _place(path_or_name: str | Path, suffix: str) -> Traversable:
    stem = _stem(Path(path_or_name))
    here = stem.with_name(stem.name + suffix)
    name = path_or_name.replace("-", "_") if isinstance(path_or_name, str) else ""  # recipes write hyphens
    return resources.files("physgen") / "data" / f"{name}{suffix}" if name in shipped_priors() else here


def _stem(path: Path) -> Path:
    return path.with_suffix("") if path.suffix in (".safetensors", ".json") else path


def space_to_json(space: Space) -> list[dict[str, Any]]:
    """A space as lists, text and numbers; an infinite end of a support is null."""
    return [
        {
            "name": b.name,
            "units": b.units,
            "support": [end if math.isfinite(end) else None for end in b.support],
            "long_name": b.long_name,
            "shape": list(b.shape),
            "dims": list(b.dims),
            "coordinates": {
                n: {"dim": c.dim, "values": list(c.values), "units": c.units, "long_name": c.long_name}
                for n, c in b.coordinates.items()
            },
        }
        for b in space
    ]


def space_from_json(blocks: list[dict[str, Any]]) -> Space:
    """The space of `space_to_json`."""
    return Space(*(_block(dict(b)) for b in blocks))


def _block(b: dict[str, Any]) -> Block:
    low, high = b["support"]
    coordinates = {n: Coordinate(**{**c, "values": tuple(c["values"])}) for n, c in b["coordinates"].items()}
    return Block(
        b["name"],
        b["units"],
        (-math.inf if low is None else low, math.inf if high is None else high),
        b["long_name"],
        tuple(b["shape"]),
        tuple(b["dims"]),
        coordinates,
    )
