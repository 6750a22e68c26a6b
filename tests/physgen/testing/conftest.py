"""What a check that must fail says."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from physgen.testing import CheckError


@pytest.fixture
def findings() -> Callable[..., str]:
    """All findings of a check, of which each must say in two sentences what is wrong."""

    def collect(check: Callable[..., object], *arguments: object, **settings: object) -> str:
        with pytest.raises(CheckError) as caught:
            check(*arguments, **settings)
        for finding in caught.value.findings:
            assert len([part for part in finding.split(". ") if part]) >= 2, finding
        return "\n".join(caught.value.findings)

    return collect
