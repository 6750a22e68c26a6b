"""Units as the pictures write them."""

from physgen.unit_labels import raised, raised_label


def test_exponents_are_raised_and_micro_has_its_sign():
    assert raised("ug cm-2") == "µg cm$^{-2}$"
    assert raised("m2 m-2") == "m$^{2}$ m$^{-2}$"
    assert raised("number") == "number"
    assert raised_label("density (um-1)") == "density (µm$^{-1}$)"
    assert raised_label("soil_1") == "soil_1"
    assert raised_label("a2 (of b2) and c2") == "a2 (of b2) and c2"
