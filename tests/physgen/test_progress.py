"""Progress: silent, to a caller's function, or as a bar that keeps out of the standard output."""

import pytest

from physgen.progress import advancing


def work(progress, amounts, total=10, **settings):
    with advancing(progress, total, **settings) as advance:
        for amount in amounts:
            advance(amount)


def test_a_function_hears_what_is_done_of_how_much():
    seen = []
    work(lambda done, total: seen.append((done, total)), [3, 0, 5, 2])
    assert seen == [(3, 10), (3, 10), (8, 10), (10, 10)]


def test_silence(capfd):
    work(False, [4, 6])
    assert capfd.readouterr() == ("", "")


def test_a_bar_counts_in_its_unit_on_the_error_stream(capsys):
    work(True, [4, 6], unit="spectra")
    out, err = capsys.readouterr()
    assert out == ""
    assert "10/10 spectra" in err


def test_no_work_at_all(capsys):
    work(True, [], total=0)
    seen = []
    work(lambda done, total: seen.append(done), [], total=0)
    assert seen == []
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("progress", [True, False, lambda done, total: None])
def test_an_interrupt_passes_through(progress, capsys):
    def interrupted():
        yield 1
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work(progress, interrupted())


def test_an_error_in_the_callers_function_is_the_callers():
    def broken(done, total):
        raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        work(broken, [1])
