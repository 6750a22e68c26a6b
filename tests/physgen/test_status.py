"""Statuses: whole, telling, and fit for a file."""

import re

import pytest

from physgen.status import Status


@pytest.mark.parametrize("status", list(Status))
def test_every_status_says_what_happened_and_what_to_do(status):
    assert re.fullmatch(r"[A-Z][^.]*(\.\d[^.]*)*\. [A-Z][^.]*\.", status.advice)
    assert re.fullmatch(r"[a-z]+(_[a-z]+)*", status.meaning)  # CF conventions, section 3.5: flag_meanings


def test_meanings_and_advice_are_distinct():
    assert len({s.meaning for s in Status}) == len({s.advice for s in Status}) == len(Status)


def test_codes_fit_a_byte_and_0_alone_is_trusted():
    assert [int(s) for s in Status] == list(range(len(Status)))
    assert Status(0) is Status.TRUSTED
    assert len(Status) <= 128


def test_codes_in_files_keep_their_meaning():
    # files hold codes: a new status is appended, none is renumbered
    names = (
        "trusted not_converged heavy_tails few_effective_draws rounds_disagree chains_disagree chains_too_short "
        "model_undefined infeasible no_data out_of_range"
    )
    assert [s.meaning for s in Status][:11] == names.split()
