"""`Leaf`, the forward model: its spaces, its limits, its errors; PROSPECT itself is tested beside it."""

import re

import numpy as np
import pytest
import torch

from physgen.forward_models import Leaf
from physgen.testing import check_forward_model

CONSTITUENTS = {
    "4": ("cab", "cw", "cm"),
    "5": ("cab", "car", "cbrown", "cw", "cm"),
    "D": ("cab", "car", "ant", "cbrown", "cw", "cm"),
    "PRO": ("cab", "car", "ant", "cbrown", "cw", "prot", "cbc"),
}
TYPICAL = {
    "n": 1.5, "cab": 40.0, "car": 8.0, "ant": 1.0, "cbrown": 0.1, "cw": 0.012, "cm": 0.008, "prot": 0.001, "cbc": 0.007
}  # fmt: skip


def typical(version, rows=1, seed=0):
    """Leaves within half and twice the typical contents."""
    middle = torch.tensor([TYPICAL[name] for name in ("n", *CONSTITUENTS[version])])
    factor = torch.from_numpy(np.random.default_rng(seed).uniform(0.5, 2.0, (rows, len(middle))))
    factor[:, 0] = factor[:, 0].clamp(min=0.7)
    return middle * factor


@pytest.mark.parametrize("version", CONSTITUENTS)
def test_the_contract_of_a_forward_model(version):
    model = Leaf(version, range(400, 2501, 100))
    assert model.causes.names == ("n", *CONSTITUENTS[version])
    check_forward_model(model, typical(version, 40))


def test_reflectance_then_transmittance_at_every_nanometre():
    model = Leaf()
    reflectance, transmittance = model.observables
    assert [b.name for b in model.observables] == ["reflectance", "transmittance"]
    for block in (reflectance, transmittance):
        assert block.shape == (2101,)
        assert block.coordinates["wavelength"].values == tuple(float(w) for w in range(400, 2501))
        assert block.coordinates["wavelength"].units == "nm"
    rho, tau = model(typical("D", 200)).split(2101, -1)
    assert float(rho.min()) > 0
    assert float(tau.min()) > 0
    assert float((rho + tau).max()) < 1
    # green leaves: dark in blue and red, bright in the near infrared, water bands at 1450 and 1940 nm
    mean = rho.mean(0)
    at = {w: float(mean[w - 400]) for w in (450, 550, 670, 850, 1450, 1650, 1940, 2200)}
    assert max(at[450], at[670]) < at[550] < at[850]
    assert at[1450] < at[1650]
    assert at[1940] < at[2200] < at[1650] < at[850]


@pytest.mark.parametrize("version", CONSTITUENTS)
def test_some_wavelengths_are_columns_of_all(version):
    x, wavelengths = typical(version, 5), [2500, 400, 700, 1234]
    some, whole = Leaf(version, wavelengths), Leaf(version)
    index = torch.tensor(wavelengths) - 400
    found, every = some(x), whole(x)
    torch.testing.assert_close(found[:, :4], every[:, index], rtol=1e-12, atol=0)
    torch.testing.assert_close(found[:, 4:], every[:, 2101 + index], rtol=1e-12, atol=0)
    assert some.observables.block("reflectance").coordinates["wavelength"].values == (2500.0, 400.0, 700.0, 1234.0)


@pytest.mark.parametrize("version", CONSTITUENTS)
def test_a_leaf_of_nothing_loses_no_light(version):
    x = torch.zeros(3, len(CONSTITUENTS[version]) + 1)
    x[:, 0] = torch.tensor([1.0, 1.5, 2.7])
    rho, tau = Leaf(version)(x).split(2101, -1)
    torch.testing.assert_close(rho + tau, torch.ones_like(rho), rtol=0, atol=1e-12)
    assert bool((rho.diff(dim=0) > 0).all())  # more plates reflect more


@pytest.mark.parametrize("version", CONSTITUENTS)
def test_every_constituent_absorbs_where_it_does(version):
    model, x = Leaf(version), typical(version)
    where = {"cab": 670, "car": 470, "ant": 540, "cbrown": 500, "cw": 1450, "cm": 2300, "prot": 2180, "cbc": 2100}
    for j, name in enumerate(CONSTITUENTS[version], start=1):
        more = x.clone()
        more[:, j] *= 1.5
        change = model(more) - model(x)
        assert float(change.max()) < 1e-12
        for half in (0, 2101):
            assert float(change[0, half + where[name] - 400]) < -1e-4
    # pigments are transparent in the infrared, water in the visible
    infrared = torch.cat([torch.zeros(700), torch.ones(1401)]).repeat(2).bool()
    more = x.clone()
    more[:, 1] *= 2
    torch.testing.assert_close(model(more)[:, infrared], model(x)[:, infrared], rtol=0, atol=1e-12)


def test_protein_and_the_rest_are_dry_matter():
    """PROSPECT-PRO with the proteins and carbon-based constituents of leaves is close to D with their sum."""
    d, pro = Leaf("D"), Leaf("PRO")
    x = typical("D", 20)
    prot = 0.12 * x[:, -1:]
    split = torch.cat([x[:, :-1], prot, x[:, -1:] - prot], -1)
    difference = (pro(split) - d(x)).abs()
    assert float(difference.max()) < 0.05
    assert float(difference.mean()) < 0.01


def test_dtype_and_batches():
    model = Leaf("D", [550.0, 850.0])
    x = typical("D", 6)
    whole = model(x)
    assert model(x.float()).dtype == torch.float32
    torch.testing.assert_close(model(x.float()).double(), whole, rtol=0, atol=2e-6)
    torch.testing.assert_close(model(x.reshape(2, 3, -1)).reshape(6, -1), whole, rtol=1e-13, atol=0)
    assert model(x[0]).shape == (4,)


@pytest.mark.parametrize(
    ("settings", "wrong"),
    [
        ({"version": "7"}, "7"),
        ({"wavelengths": [380.0, 500.0]}, "380"),
        ({"wavelengths": [500.0, 2501.0]}, "2501"),
        ({"wavelengths": [float("nan")]}, "nan"),
        ({"wavelengths": []}, "wavelength"),
    ],
)
def test_bad_settings_are_answered_in_two_sentences(settings, wrong):
    with pytest.raises(ValueError, match=wrong) as caught:
        Leaf(**settings)
    assert re.fullmatch(r"[A-Z].+\. .+[.?]", str(caught.value))
