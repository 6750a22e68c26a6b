"""Inversions of any number of observations: chunk by chunk into a netCDF file, resumed after an interruption."""

from __future__ import annotations

import hashlib
import json
import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
import torch
import xarray as xr
from torch import Tensor

from .datatree import attributes, datasets
from .diagnostics.trust_assessment import Judge, learn_judge
from .netcdf_file import Cut, Labels, check_target, define, fill, rectangles
from .problem import Problem, refuse_wrong_units
from .progress import Progress, advancing
from .provenance import describe, now, versions
from .result import Result
from .rows import spread

__all__ = ["invert_to_netcdf", "rectangles"]

_HELD = 1 << 26  # bytes of results held at once
_PROBE = 64  # observations of the first chunk, which tells how many bytes one takes
_MOST = 1 << 14  # observations of a chunk
_HASHED = 1 << 22  # numbers whose checksum is taken at once
_STATE = "physgen_unfinished"  # attribute of a file that is not complete: of which job, with which variables
_CIRCUMSTANCES = ("started", "ended", "host", "platform")  # provenance that does not decide the answer


def invert_to_netcdf(
    inversion: Callable[..., Result],
    problem: Problem,
    y: Any,
    path: str | Path,
    *,
    conditions: Mapping[str, Any] | None = None,
    seed: int = 0,
    dims: tuple[str, ...] = (),
    coords: Mapping[str, Any] | None = None,
    provenance: Mapping[str, Any] | None = None,
    chunk: int | None = None,
    progress: Progress = False,
    resume: bool = True,
    trust: bool = False,
) -> Path:
    """Invert any number of observations into a netCDF file, a chunk at a time.

    The file is that of ``inversion(problem, y, ...).to_netcdf(path)``, whatever the chunks. It is written beside
    `path` as ``NAME.partial`` and renamed when it is complete. After an interruption the same call resumes the work.

    An inversion that learns (it has a method ``fit(problem, *, y, conditions, seed, progress, checkpoint)``, which
    returns an inversion, and an attribute ``fitted`` that is not true) does so once, before the first chunk, from
    observations evenly spread over all; ``NAME.fit`` beside `path` keeps what it has learned until the work is done.

    Parameters
    ----------
    inversion : Inversion
    problem : Problem
    y : array_like (*batch, m)
        An array, a tensor, or anything with a shape that gives numbers when sliced, such as a variable of a file.
    path : path
        A file of that name is replaced.
    conditions : mapping, optional
        One value each, or one for each observation (which may be sliced like `y`).
    seed : int
    dims, coords
        Of the batch: see `Result`.
    provenance : mapping, optional
        See `physgen.provenance.collect`. Its `ended` is set when the work ends.
    chunk : int, optional
        Observations held at once at most; by default as many as make 64 MiB of results.
    progress : bool or callable
        A bar on the terminal, or a function called with (observations done, observations in all), without those that
        an earlier call has done.
    resume : bool
        Whether to go on with an earlier call's unfinished file; False discards it.
    trust : bool
        Whether to ask of every observation whether its answer may be relied on: see `physgen.trust_table.trust`. What
        that takes is learned before the first chunk, from simulations under the conditions of up to 4,096 observations.

    Returns
    -------
    Path

    Raises
    ------
    ValueError, TypeError
        If an argument is invalid, or the unfinished file belongs to another job.
    OSError
        If the file cannot be written.
    """
    path = check_target(path)
    work = _Work.of(inversion, problem, y, conditions or {}, seed)
    if chunk is not None and chunk < 1:
        raise ValueError(f"Invalid chunk {chunk}. Must be at least 1.")
    labels = Labels.of(dims, coords or {}, work.batch)
    partial = path.with_name(f"{path.name}.partial")
    job = work.fingerprint(labels, provenance or {}) | ({"trust": "asked"} if trust else {})
    file = _reopened(partial, job) if resume and partial.exists() else None
    todo = math.prod(work.batch) if file is None else _unfinished_count(file, labels)
    lesson = path.with_name(f"{path.name}.fit")
    if not resume:
        lesson.unlink(missing_ok=True)
    if todo:
        work = work.learned(lesson, seed, progress is True)
        work = work.judged(seed) if trust else work
    with advancing(progress, todo) as advance:
        if file is None:
            first = next(rectangles(work.batch, chunk or _PROBE))
            file = _begin(partial, work.invert(first, advance), first, labels, provenance or {}, job)
        with closing(file):
            for cut in _unfinished(file, labels, chunk or _fitting(file)):
                _append(file, datasets(replace(work.invert(cut, advance), dims=labels.dims)), labels, cut)
            _finish(file)
    partial.replace(path)
    lesson.unlink(missing_ok=True)
    return path


@dataclass(frozen=True, eq=False)
class _Work:
    """What is to be done: the arguments of the inversion, any chunk of which can be taken."""

    inversion: Callable[..., Result]
    problem: Problem
    y: Any
    conditions: Mapping[str, Any]
    seed: int
    batch: tuple[int, ...]
    judge: Judge | None = None

    @staticmethod
    def of(
        inversion: Callable[..., Result], problem: Problem, y: Any, conditions: Mapping[str, Any], seed: int
    ) -> _Work:
        """Checked as far as shapes go."""
        y = _sliceable(y)
        if len(y.shape) == 0 or 0 in y.shape:
            raise ValueError(f"Invalid observations of shape {tuple(y.shape)}. Give (*batch, m) with m observables.")
        batch = tuple(int(n) for n in y.shape[:-1])
        work = _Work(inversion, problem, y, {k: _sliceable(v) for k, v in conditions.items()}, seed, batch)
        for name in conditions:
            work._shared(name)
        return work

    def learned(self, checkpoint: Path, seed: int, progress: bool) -> _Work:
        """The same work, with an inversion that has learned what it learns from observations."""
        fit = getattr(self.inversion, "fit", None)
        if fit is None or getattr(self.inversion, "fitted", False):
            return self
        y, conditions = self._some()
        given = {"y": y, "conditions": conditions, "seed": seed, "progress": progress, "checkpoint": checkpoint}
        return replace(self, inversion=fit(self.problem, **given))

    def judged(self, seed: int) -> _Work:
        """The same work, with what tells whom to trust."""
        _, conditions = self._some()
        embedding = getattr(self.inversion, "embedding", None)
        try:
            judge = learn_judge(self.problem, conditions=conditions, embedding=embedding, seed=seed)
        except (ValueError, TypeError, RuntimeError) as error:  # of a part that cannot be simulated: still invert
            warnings.warn(f"Observations are not compared with simulated ones. {error}", stacklevel=3)
            judge = Judge(self.problem)
        return replace(self, judge=judge)

    def _some(self) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Observations, evenly spread over all, and their conditions."""
        places = np.unravel_index(spread(math.prod(self.batch)).numpy(), self.batch) if self.batch else ()
        some = [tuple(map(int, at)) for at in zip(*places, strict=True)] or [()]

        def taken(values: Any) -> np.ndarray:
            return np.stack([np.asarray(_loaded(values[at])) for at in some])

        conditions = {}
        for name, value in self.conditions.items():
            shared = self._shared(name)
            conditions[name] = np.reshape(np.asarray(_loaded(value[()])), self._own(name)) if shared else taken(value)
        return taken(self.y), conditions

    def invert(self, cut: Cut, advance: Callable[[int], None]) -> Result:
        """The result of a chunk."""
        size, told = math.prod(s.stop - s.start for s in cut), 0

        def tell(done: int, total: int) -> None:
            nonlocal told
            advance(done - told)
            told = done

        y, conditions = self.values(cut)
        index = _index(cut, self.batch)
        result = self.inversion(self.problem, y, conditions=conditions, seed=self.seed, index=index, progress=tell)
        advance(size - told)
        return result if self.judge is None else self.judge.judge(result)

    def values(self, cut: Cut) -> tuple[Any, dict[str, Any]]:
        """Observations and conditions of a chunk."""
        conditions = {k: _loaded(v[() if self._shared(k) else cut]) for k, v in self.conditions.items()}
        return _loaded(self.y[cut]), conditions

    def fingerprint(self, labels: Labels, provenance: Mapping[str, Any]) -> dict[str, str]:
        """What decides the answer and the file, by kind; a job may resume only where all of it is the same."""
        y, conditions, outside = hashlib.sha256(), hashlib.sha256(), 0
        for cut in rectangles(self.batch, max(1, _HASHED // self.y.shape[-1])):
            own, others = self.values(cut)
            # what is wrong with an observation far down must show before hours of work
            outside += int(self.problem.out_of_range(self.problem.condition(own, **others).y).sum())
            y.update(_bytes(own))
            for name in sorted(others):
                conditions.update(name.encode() + _bytes(others[name]))
        refuse_wrong_units(outside, math.prod(self.batch))
        told = {k: v for k, v in provenance.items() if k not in _CIRCUMSTANCES}
        coords = {k: (v.dims, v.values, v.attrs) for k, v in labels.coords.items()}
        problem = self.problem
        return {
            "observations": y.hexdigest(),
            "conditions": conditions.hexdigest(),
            **{k: _digest(getattr(problem, k, None)) for k in ("forward", "prior", "noise")},
            "inversion": _digest(self.inversion),
            "seed": str(self.seed),
            "dims and coordinates": _digest([labels.batch, labels.dims, coords]),
            "recipe": _digest(told.pop("recipe", None)),
            "provenance": _digest(told or versions()),
        }

    def _own(self, name: str) -> tuple[int, ...]:
        """The trailing shape of a condition that is not a scalar."""
        space = getattr(self.problem.forward, "conditions", None) or ()
        return next((b.shape for b in space if b.name == name), ())

    def _shared(self, name: str) -> bool:
        """Whether all observations share a condition; `ValueError` if it fits neither one nor all."""
        own = self._own(name)
        shape = tuple(self.conditions[name].shape)
        lead = shape[: max(len(shape) - len(own), 0)]
        if lead == self.batch and lead:
            return False
        if len(lead) <= len(self.batch) and all(n == 1 for n in lead):
            return True
        raise ValueError(
            f"Invalid shape {shape} of condition {name!r}. Give one value, or one for each observation: "
            f"{self.batch + own}."
        )


def _sliceable(value: Any) -> Any:
    return value if hasattr(value, "shape") and hasattr(value, "__getitem__") else np.asarray(value)


def _loaded(value: Any) -> Any:
    """Numbers in memory, in the machine's byte order; NaN where a file says missing."""
    if isinstance(value, Tensor):
        return value
    if isinstance(value, np.ma.MaskedArray):
        value = np.ma.filled(value if value.dtype.kind == "f" else value.astype(np.float64), np.nan)
    array = np.asarray(value)
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _bytes(value: Any) -> bytes:
    array = value.detach().cpu().numpy() if isinstance(value, Tensor) else value
    return f"{array.dtype}{array.shape}".encode() + np.ascontiguousarray(array).tobytes()


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(describe(value), sort_keys=True).encode()).hexdigest()


def _index(cut: Cut, batch: tuple[int, ...]) -> Tensor:
    """The numbers of a chunk's observations among all."""
    index = torch.zeros((), dtype=torch.int64)
    for s, n in zip(cut, batch, strict=True):
        index = index[..., None] * n + torch.arange(s.start, s.stop)
    return index


def _layout(groups: Mapping[str, xr.Dataset], labels: Labels) -> dict[str, dict[str, list[Any]]]:
    """Type and shape, for one observation, of every variable."""
    return {
        group: {
            str(k): [v.dtype.str, *(n for d, n in zip(v.dims, v.shape, strict=True) if d not in labels.dims)]
            for k, v in dataset.data_vars.items()
        }
        for group, dataset in groups.items()
    }


def _begin(
    partial: Path, result: Result, cut: Cut, labels: Labels, provenance: Mapping[str, Any], job: Mapping[str, str]
) -> netCDF4.Dataset:
    """Make the file after the pattern of the first chunk."""
    if provenance:
        learned = {k: v for k, v in result.provenance.items() if k == "fit"}  # known only after the work began
        result = replace(result, provenance={**provenance, **learned, "ended": now()})
    result = replace(result, dims=labels.dims, coords={})
    groups = datasets(result)
    state = {"job": dict(job), "layout": _layout(groups, labels)}
    try:
        file = netCDF4.Dataset(partial, "w")
    except OSError as error:
        raise OSError(f"Cannot write {partial} ({error}). Another process may be writing it.") from error
    try:
        define(file, groups, labels, {**attributes(result), _STATE: json.dumps(state)})
        fill(file, groups, labels, cut)
    except BaseException:
        file.close()
        partial.unlink(missing_ok=True)
        raise
    return file


def _reopened(partial: Path, job: Mapping[str, str]) -> netCDF4.Dataset:
    """The unfinished file of the same job."""
    try:
        file = netCDF4.Dataset(partial, "a")
        before = json.loads(file.getncattr(_STATE))["job"]
    except (OSError, RuntimeError, AttributeError, ValueError) as error:
        raise OSError(
            f"Cannot resume from {partial}, which is damaged or which another process is writing ({error}). "
            "Delete it to start anew."
        ) from error
    file.set_auto_maskandscale(False)
    different = [k for k in {**job, **before} if job.get(k) != before.get(k)]
    if different:
        file.close()
        raise ValueError(
            f"The unfinished file {partial} belongs to another job: its {', '.join(different)} differ. "
            "Delete it to start anew, or run that job again to finish it."
        )
    return file


def _unfinished(file: netCDF4.Dataset, labels: Labels, limit: int) -> Iterator[Cut]:
    """Chunks of at most `limit` observations, none of which has been inverted."""
    for cut in rectangles(labels.batch, limit):
        yield from _pure(file, labels, cut)


def _pure(file: netCDF4.Dataset, labels: Labels, cut: Cut) -> Iterator[Cut]:
    """Halves of a chunk, and halves of these, until nothing in one has been inverted."""
    done = _done(file, labels, cut)
    if not done.any():
        yield cut
    elif not done.all():
        axis = max(range(len(cut)), key=lambda i: cut[i].stop - cut[i].start)
        start, stop = cut[axis].start, cut[axis].stop
        middle = start + (1 << ((stop - start - 1).bit_length() - 1))
        for half in (slice(start, middle), slice(middle, stop)):
            yield from _pure(file, labels, (*cut[:axis], half, *cut[axis + 1 :]))


def _done(file: netCDF4.Dataset, labels: Labels, cut: Cut) -> np.ndarray:
    """Which observations of a chunk have been inverted: the library fills what is not written with a value."""
    status = file["sample_stats"]["status"]
    return np.asarray(status[labels.at(status.dimensions, cut)]) != netCDF4.default_fillvals["i1"]


def _unfinished_count(file: netCDF4.Dataset, labels: Labels) -> int:
    return sum(int((~_done(file, labels, cut)).sum()) for cut in rectangles(labels.batch, _HASHED))


def _fitting(file: netCDF4.Dataset) -> int:
    """How many observations make `_HELD` bytes of results."""
    layout = json.loads(file.getncattr(_STATE))["layout"]
    variables = [v for group in layout.values() for v in group.values()]
    one = sum(np.dtype(kind).itemsize * math.prod(own) for kind, *own in variables)
    return min(max(_HELD // one, 1), _MOST)


def _append(file: netCDF4.Dataset, groups: Mapping[str, xr.Dataset], labels: Labels, cut: Cut) -> None:
    if _layout(groups, labels) != json.loads(file.getncattr(_STATE))["layout"]:
        raise ValueError(
            "The inversion returned other statistics or numbers of draws for one chunk than for the first. "
            "They must be the same for all observations."
        )
    try:
        fill(file, groups, labels, cut)
    except (OSError, RuntimeError) as error:  # netCDF4 raises both
        raise OSError(
            f"Cannot write {file.filepath()} ({error}). Make room on the disk; the same call then resumes the work."
        ) from error


def _finish(file: netCDF4.Dataset) -> None:
    """Turn the unfinished file into a result."""
    file.delncattr(_STATE)
    if "ended" in file.ncattrs():
        file.ended = now()
