"""A result as labelled arrays and back: the groups of the ArviZ schema, with the attributes of the CF conventions."""

from __future__ import annotations

import json
import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from . import __version__
from .flags import flagged
from .provenance import describe, now
from .result import Result
from .space import Block, Coordinate, Space

DRAWS = ("chain", "draw")

STATISTICS = {
    "latent_mean": (
        "centre of the posterior in latent space: the mode of optimal estimation, the mean of a chain",
        ("latent",),
    ),
    "latent_sd": ("standard deviation of the posterior in latent space", ("latent",)),
    "latent_covariance": (
        "covariance of the posterior in latent space: of its Laplace approximation, or of a chain",
        ("latent", "latent_2"),
    ),
    "averaging_kernel": ("averaging kernel in latent space", ("latent", "latent_2")),
    "dofs": ("degrees of freedom for signal", ()),
    "information_content": ("information content (nats)", ()),
    "chi2": ("sum of squared standardised residuals", ()),
    "measured": ("number of elements measured", ()),
    "k_hat": ("Pareto shape of the importance weights", ()),
    "ess": ("effective sample size", ()),
    "ess_bulk": ("effective sample size of the bulk", ()),
    "ess_tail": ("effective sample size of the tails", ()),
    "rhat": ("potential scale reduction R-hat", ()),
    "autocorrelation_time": ("autocorrelation time in steps of the chain", ()),
    "acceptance_fraction": ("share of proposals accepted", ()),
    "log_evidence": ("log evidence", ()),
    "log_evidence_error": ("standard error of the log evidence", ()),
    "evidence_lower_bound": ("lower bound of the log evidence (nats)", ()),
    "rounds": ("number of importance sampling rounds", ()),
    "hyper": ("draws of the latents of the hyper-parameters", ("hyper_draw", "hyper_latent")),
    "nodes": ("number of nodes of the lattice of hyper-parameters", ()),
    "iterations": ("number of linearisations", ()),
    "steps": ("number of steps of each chain", ()),
    "nonfinite": ("number of evaluations that were not finite", ()),
    "gradients": ("number of gradients of all chains together", ()),
    "divergences": ("number of trajectories that diverged", ()),
    "step_size": ("step size of the trajectories", ()),
    "saturated": ("share of the trajectories that were as long as allowed", ()),
    "trajectory_length": ("length of the trajectories, in posterior standard deviations", ()),
    "prior_sensitivity": ("how fast a power of the prior moves the posterior of each cause", ("cause",)),
    "likelihood_sensitivity": ("how fast a power of the likelihood moves the posterior of each cause", ("cause",)),
    "reweighted": ("1 where the draws are those of another prior, reweighted; 0 where they are of this one", ()),
    "answered_by": ("method that answered", ()),
    "predictive_p": ("chance of a larger chi2 if the model holds", ()),
    "conflict_p": ("chance of causes farther out in the prior if the model holds", ()),
    "range_p": ("share of what the model makes that lies as far out as this observation", ()),
    "trust": ("whether the answer may be relied on, and if not the first reason", ()),
    "evaluations": ("number of evaluations of the posterior density", ()),
    "contraction": ("how many times narrower than the ellipses the draws are, in the narrowest direction", ()),
    "edge_mass": ("mass of the outermost cells of the grid, relative to the mean over the cells", ()),
    "grid_error": ("change of the log evidence when only every other point is used, at most", ()),
}
"""Statistic -> what it is, and names for its own dimensions. All are dimensionless."""


def to_datatree(result: Result) -> xr.DataTree:
    """A result as a tree of datasets; see `Result.to_datatree`."""
    groups = datasets(result)
    coords = batch_coordinates(result.coords, result.dims, result.status.shape)
    for group, dataset in groups.items():
        groups[group] = dataset.assign_coords({k: v for k, v in coords.items() if k not in dataset.variables})
    tree = xr.DataTree.from_dict(dict(groups))
    tree.attrs = attributes(result)
    return tree


def batch_dims(dims: Sequence[str], batch: Sequence[int]) -> tuple[str, ...]:
    """A name for each axis of the batch; those of `dims` if there are any.

    Raises
    ------
    ValueError
        If they do not fit the batch.
    """
    count = len(batch)
    default = ("observation",) if count == 1 else tuple(f"observation_{i}" for i in range(count))
    dims = tuple(dims) or default
    if len(dims) != count or len({*dims, *DRAWS}) != count + 2:
        raise ValueError(
            f"Invalid dims {dims} for observations of shape {tuple(batch)}. "
            "Give each axis a name of its own, other than chain and draw."
        )
    return dims


def datasets(result: Result) -> dict[str, xr.Dataset]:
    """One dataset for each group, without coordinates along the batch. Memory is shared with the result."""
    dims = batch_dims(result.dims, result.status.shape)
    trailing = {k: tuple(v.shape[len(dims) :]) for k, v in (*result.stats.items(), *result.conditions.items())}
    posterior = _dataset(result.causes, result.causes.unflatten(result.samples), (*DRAWS, *dims), dims)
    chain, draw = result.samples.shape[:2]
    groups = {"posterior": posterior.assign_coords(chain=np.arange(chain), draw=np.arange(draw))}
    stats = _dataset(Space(*(_statistic(k, trailing[k]) for k in result.stats)), result.stats, dims, dims)
    stats = xr.Dataset({"status": _status(result.status, dims), **stats.data_vars}, stats.coords)
    groups["sample_stats"] = flagged(stats)
    observables = result.observables or _unnamed(result.y.shape[-1])
    groups["observed_data"] = _dataset(observables, observables.unflatten(result.y), dims, dims)
    if result.conditions:
        known = {b.name: b for b in result.condition_space or ()}
        blocks = [known.get(k) or Block(k, "", shape=trailing[k]) for k in result.conditions]
        groups["constant_data"] = _dataset(Space(*blocks), result.conditions, dims, dims)
    return groups


def batch_coordinates(coords: Mapping[str, Any], dims: Sequence[str], batch: Sequence[int]) -> dict[str, xr.Variable]:
    """Coordinates along the batch, by name; blanks and slashes, which a file's names cannot hold, become ``_``.

    Raises
    ------
    ValueError
        If one does not fit the batch.
    """
    dims = batch_dims(dims, batch)
    sizes = dict(zip(dims, batch, strict=True))
    found = {}
    for name, value in coords.items():
        variable = _coordinate(name, value, dims)
        if variable.shape != tuple(sizes.get(str(d), -1) for d in variable.dims):
            raise ValueError(
                f"Invalid coordinate {name!r} of shape {variable.shape} along {variable.dims}. "
                f"The observations have the dims {sizes}."
            )
        found["_".join(name.replace("/", "_").split())] = variable
    return found


def attributes(result: Result) -> dict[str, Any]:
    """Attributes of the whole: CF and ArviZ conventions, provenance, and what `from_datatree` needs."""
    method = result.settings.get("method", "an unnamed method")
    spaces = {"causes": result.causes, "observables": result.observables, "conditions": result.condition_space}
    out = {
        "Conventions": "CF-1.11",
        "title": f"Posterior draws of {', '.join(result.causes.names)}",
        "source": f"physgen {__version__}, {method}",
        "inference_library": "physgen",
        "inference_library_version": __version__,
        "created_at": now(),
        "settings": json.dumps(dict(result.settings), default=describe),
        "spaces": json.dumps({k: None if v is None else [_to_json(b) for b in v] for k, v in spaces.items()}),
    }
    if "method" in result.settings and "method" not in result.provenance:
        out["method"] = str(method)
    kinds = {}
    for key, value in result.provenance.items():
        attribute = f"provenance_{key}" if key in out or key == "provenance" else str(key)
        out[attribute], kind = _encoded(value)
        kinds[str(key)] = [attribute, kind]
    return {**out, "provenance": json.dumps(kinds)}


def from_datatree(tree: xr.DataTree) -> Result:
    """The result that `to_datatree` made into `tree`.

    Raises
    ------
    ValueError
        If the tree did not come from there.
    """
    missing = [g for g in ("posterior", "sample_stats", "observed_data") if g not in tree.children]
    missing += [a for a in ("spaces", "settings", "provenance") if a not in tree.attrs]
    if missing or "status" not in tree["sample_stats"].data_vars:
        raise ValueError(f"Not a result of physgen: no {', '.join(missing) or 'status'}. Give one that it has written.")
    groups = {name: child.to_dataset() for name, child in tree.children.items()}
    status = groups["sample_stats"]["status"]
    dims = tuple(map(str, status.dims))
    stored = json.loads(tree.attrs["spaces"])
    causes = Space(*map(block_from_json, stored["causes"]))
    named = {k: None if v is None else Space(*map(block_from_json, v)) for k, v in stored.items()}
    samples = _tensors(groups["posterior"], (*DRAWS, *dims))
    observed = _tensors(groups["observed_data"], dims)
    stats = {k: v for k, v in _tensors(groups["sample_stats"], dims).items() if k != "status"}
    observables = named["observables"] or _unnamed(groups["observed_data"].sizes.get("observable", 0))
    return Result(
        samples=causes.flatten(samples),
        status=torch.as_tensor(status.values.astype(np.int64)),
        stats=stats,
        causes=causes,
        y=observables.flatten(observed),
        conditions=_tensors(groups["constant_data"], dims) if "constant_data" in groups else {},
        observables=named["observables"],
        condition_space=named["conditions"],
        settings=json.loads(tree.attrs["settings"]),
        dims=dims,
        coords=_coordinates(groups, dims),
        provenance=_provenance({str(k): v for k, v in tree.attrs.items()}),
    )


def _dataset(space: Space, values: Mapping[str, Tensor], lead: tuple[str, ...], batch: tuple[str, ...]) -> xr.Dataset:
    """Blocks as variables, their coordinates beside them."""
    variables: dict[str, xr.Variable] = {}
    coords: dict[str, xr.Variable] = {}
    seen: dict[str, Any] = dict.fromkeys((*lead, *space.names))
    for block in space:
        renamed = _renamed(block, seen)
        own = tuple(renamed[d] for d in block.dims)
        for name, c in block.coordinates.items():
            coords[renamed[name]] = xr.Variable((renamed[c.dim],), np.asarray(c.values), _named(c.units, c.long_name))
        array = _numpy(values[block.name])
        # a variable must not have the name of a dimension that it shares with others
        clash = block.name in (*batch, *DRAWS)
        name = f"{block.name}_values" if clash else block.name
        attrs = {**_attributes(block, array.dtype), **({"block": block.name} if clash else {})}
        variables[name] = xr.Variable((*lead, *own), array, attrs)
    return xr.Dataset(variables, coords)


def _renamed(block: Block, seen: dict[str, Any]) -> dict[str, str]:
    """Names of a block's dimensions and coordinates, with the block's before them where another one has them."""
    out = {}
    for dim, size in zip(block.dims, block.shape, strict=True):
        along = {n: c for n, c in block.coordinates.items() if c.dim == dim}
        names = dict.fromkeys((dim, *along))
        clash = any(seen.get(n, (size, along)) != (size, along) for n in names)
        for n in names:
            out[n] = f"{block.name}_{n}" if clash else n
            seen[out[n]] = (size, along)
    return out


def _attributes(block: Block, dtype: np.dtype) -> dict[str, Any]:
    out: dict[str, Any] = _named(block.units, block.long_name)
    for name, bound in zip(("valid_min", "valid_max"), block.support, strict=True):
        if math.isfinite(bound) and dtype.kind == "f":
            out[name] = dtype.type(bound)
    return out


def _named(units: str, long_name: str) -> dict[str, str]:
    return {k: v for k, v in (("units", units), ("long_name", long_name)) if v}


def _status(status: Tensor, dims: tuple[str, ...]) -> xr.Variable:
    return xr.Variable(dims, _numpy(status).astype(np.int8), {"long_name": "whether the answer can be trusted"})


def _statistic(name: str, own: tuple[int, ...]) -> Block:
    long_name, dims = STATISTICS.get(name, (name.replace("_", " "), ()))
    return Block(name, long_name=long_name, shape=own, dims=dims if len(dims) == len(own) else ())


def _unnamed(size: int) -> Space:
    """The observations of a forward model that does not name them."""
    return Space(Block("y", "", shape=(size,), dims=("observable",), long_name="observations"))


def _coordinate(name: str, value: Any, dims: tuple[str, ...]) -> xr.Variable:
    if isinstance(value, xr.DataArray | xr.Variable):
        value = (value.dims, value.values, value.attrs)
    if not _says_dims(value, dims):
        array = np.asarray(value)
        value = ((name,) if name in dims else dims[: array.ndim], array)
    own, values, attrs = (*value, {})[:3]
    own = (own,) if isinstance(own, str) else tuple(own)
    array = np.asarray(values)
    if len(own) != array.ndim:
        raise ValueError(f"Invalid coordinate {name!r} of shape {array.shape}. Give (dims, values), a name per axis.")
    return xr.Variable(own, array, {str(k): _plain(v) for k, v in attrs.items()})


def _says_dims(value: Any, dims: tuple[str, ...]) -> bool:
    """Whether a coordinate is (dims, values[, attributes]), and not itself a tuple of two or three values."""
    if not isinstance(value, tuple) or len(value) not in (2, 3):
        return False
    names = (value[0],) if isinstance(value[0], str) else value[0]
    if not isinstance(names, tuple | list) or not all(isinstance(n, str) for n in names):
        return False
    return set(names) <= set(dims) or np.ndim(value[1]) > 0


def _plain(value: Any) -> Any:
    """An attribute that a netCDF file can hold."""
    return value if isinstance(value, str | int | float | np.ndarray | np.number) else str(value)


def _numpy(value: Tensor) -> np.ndarray:
    value = value.detach().cpu()
    return (value.float() if value.dtype in (torch.bfloat16, torch.float16) else value).numpy()


def _tensors(dataset: xr.Dataset, lead: tuple[str, ...]) -> dict[str, Tensor]:
    """The variables by their block's name, the dimensions `lead` first."""
    out = {}
    for name, array in dataset.data_vars.items():
        values = array.transpose(*lead, ...).values
        out[str(array.attrs.get("block", name))] = torch.from_numpy(
            np.array(values, dtype=values.dtype.newbyteorder("="))
        )
    return out


def _coordinates(groups: Mapping[str, xr.Dataset], dims: tuple[str, ...]) -> dict[str, Any]:
    """Coordinates along the batch; a group lacks one whose name a variable has there."""
    found: dict[Hashable, xr.Variable] = {}
    for dataset in groups.values():
        for name, c in dataset.coords.items():
            if set(c.dims) <= set(dims):
                found.setdefault(name, c.variable)
    decoded = xr.decode_cf(xr.Dataset(coords=found)).coords
    return {str(k): (tuple(map(str, v.dims)), v.values, dict(v.attrs)) for k, v in decoded.items()}


def _encoded(value: Any) -> tuple[Any, str]:
    """An attribute and what it holds: text, a number, or JSON."""
    if isinstance(value, str):
        return value, "text"
    if isinstance(value, float) or (isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63):
        return value, "number"
    return json.dumps(value, default=describe), "json"


def _provenance(attrs: Mapping[str, Any]) -> dict[str, Any]:
    out = {}
    for key, (attribute, kind) in json.loads(attrs["provenance"]).items():
        value = attrs[attribute]
        out[key] = json.loads(value) if kind == "json" else value.item() if isinstance(value, np.generic) else value
    return out


def _to_json(block: Block) -> dict[str, Any]:
    coordinates = {
        n: {"dim": c.dim, "values": list(c.values), "units": c.units, "long_name": c.long_name}
        for n, c in block.coordinates.items()
    }
    own = {"name": block.name, "units": block.units, "long_name": block.long_name}
    support = [float(b) if math.isfinite(b) else str(b) for b in block.support]
    return describe({**own, "support": support, "shape": block.shape, "dims": block.dims}) | {
        "coordinates": json.loads(json.dumps(coordinates, default=describe))
    }


def block_from_json(entry: Mapping[str, Any]) -> Block:
    """The block that an entry of the attribute `spaces` describes."""
    low, high = map(float, entry["support"])
    coordinates = {
        n: Coordinate(c["dim"], tuple(c["values"]), c["units"], c["long_name"]) for n, c in entry["coordinates"].items()
    }
    return Block(
        entry["name"],
        entry["units"],
        (low, high),
        entry["long_name"],
        tuple(entry["shape"]),
        tuple(entry["dims"]),
        coordinates,
    )
