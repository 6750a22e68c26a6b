"""The report of interpretation: identical, mixed and unrelated codes."""

import json

import numpy as np
import pytest
import torch

from physgen.diagnostics.interpretation import interpretation_report


def factors(n=1000, d=3, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal((n, d)))


def test_identity_is_best_in_every_score():
    v = factors()
    turn = torch.linalg.qr(factors(3, seed=3))[0]
    same, mixed, other = (interpretation_report(c, v).as_dict() for c in (v, v @ turn, factors(seed=1)))
    assert min(same.values()) >= 0.9
    for name, value in same.items():
        assert value > mixed[name]
        if name not in ("modularity", "completeness", "disentanglement"):  # of noise, sparse by chance
            assert value > other[name] + 0.3
    assert mixed["informativeness"] > 0.9  # a rotation hides nothing and explains nothing
    assert mixed["mig"] < 0.5


def test_it_prints_and_serialises():
    report = interpretation_report(factors(), factors())
    assert json.loads(json.dumps(report.as_dict()))["mig"] == report.mig
    assert "factor vae" in str(report)


def test_one_factor():
    assert interpretation_report(factors(d=2), factors(d=2)[:, :1]).modularity == 0


def test_refused():
    with pytest.raises(ValueError, match=r"all are constant\. At least one must vary"):
        interpretation_report(torch.ones(300, 2), factors(300))
    with pytest.raises(ValueError, match="At least 200"):
        interpretation_report(factors(150), factors(150))
