"""Options and fixtures of every test: ``pytest --device cuda --dtype float32``."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import torch

_DTYPES = {"float64": torch.float64, "float32": torch.float32}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--device", choices=("cpu", "cuda"), default="cpu", help="where tests with the fixture run")
    parser.addoption("--dtype", choices=tuple(_DTYPES), default="float64", help="the default dtype of every test")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--device") == "cuda" and not torch.cuda.is_available():
        raise pytest.UsageError("There is no CUDA device. Leave --device out.")
    if "PYTEST_XDIST_WORKER" in os.environ:  # the workers share the cores
        torch.set_num_threads(1)


@pytest.fixture
def device(request: pytest.FixtureRequest) -> torch.device:
    """The device of ``--device``."""
    return torch.device(request.config.getoption("--device"))


@pytest.fixture
def dtype(request: pytest.FixtureRequest) -> torch.dtype:
    """The dtype of ``--dtype``, which is torch's default during each test."""
    return _DTYPES[request.config.getoption("--dtype")]


@pytest.fixture(autouse=True)
def _default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    yield
    torch.set_default_dtype(before)
