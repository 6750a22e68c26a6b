"""Priors side by side: densities add, latents and conditions go to their part, causes come in the order asked for."""

from __future__ import annotations

import math

import pytest
import torch

from physgen.priors import Chain, Conditional, Flow, Gaussian, Independent, Joint, LogNormal, Normal, Training, where
from physgen.priors import Uniform as Flat
from physgen.random import normal, single_stream
from physgen.testing import check_prior

LEAF = Chain(lai=LogNormal(2.0, 0.5), cab=Conditional(lambda lai: Normal(40 + lai, 5), support=(-math.inf, math.inf)))
SEASON = Chain(t=Conditional(lambda day: Normal(0.1 * day, 1.0), support=(-math.inf, math.inf)))


def test_it_keeps_the_contract():
    check_prior(Joint(LEAF, Independent(wet=Flat(0, 1)), order=["wet", "lai", "cab"]))
    check_prior(Joint(Gaussian([1.0, 2.0], [[1.0, 0.3], [0.3, 2.0]], ["a", "b"]), LEAF))


def test_causes_come_in_order_and_conditions_reach_their_part():
    joint = Joint(LEAF, SEASON, order=["t", "cab", "lai"])
    assert joint.causes.names == ("t", "cab", "lai")
    assert joint.takes.required == {"day"}
    z, day = normal((50, 3), single_stream(), seed=1), torch.linspace(1, 365, 50)
    x = joint.decode(z, day=day)
    torch.testing.assert_close(x[:, [2, 1]], LEAF.decode(z[:, :2]), rtol=0, atol=0)
    torch.testing.assert_close(x[:, :1], SEASON.decode(z[:, 2:], day=day), rtol=0, atol=0)
    torch.testing.assert_close(joint.encode(x, day=day), z, rtol=0, atol=1e-12)
    apart = LEAF.log_prob(x[:, [2, 1]]) + SEASON.log_prob(x[:, :1], day=day)
    torch.testing.assert_close(joint.log_prob(x, day=day), apart, rtol=1e-14, atol=0)
    assert joint.decode(z[0], day=day).shape == (50, 3)


def test_interventions_go_to_the_first_part_and_are_refused_without_it():
    flow = Flow.fit(normal((120, 2), single_stream(), seed=1), causes=["a", "b"], training=Training(epochs=1))
    joint = Joint(LEAF, flow)
    set_to = joint.do(lai=3.0)
    assert set_to.intervened == {"lai"}
    assert set_to.capabilities == {"do"}
    assert set(set_to.sample(5)[:, 0].tolist()) == {3.0}
    with pytest.raises(TypeError, match=r"Flow has no 'do'\. Its capabilities are"):
        joint.do(a=0.0)
    with pytest.raises(ValueError, match=r"Unknown name 'laii'\. The names of this space are lai, cab, a, b\."):
        joint.do(laii=3.0)
    with pytest.raises(TypeError, match=r"Joint has no 'do'\."):
        Joint(flow, LEAF).do(lai=3.0)


def test_a_selection_of_a_part_is_one_of_the_whole():
    thick = where(LEAF, lambda x: x[..., 0] > 2.0)
    joint = Joint(Independent(wet=Flat(0, 1)), thick)
    assert "log_factor" in joint.capabilities
    assert bool((joint.sample(200)[:, 1] > 2.0).all())


def test_mistakes_are_named():
    with pytest.raises(ValueError, match=r"Invalid order \['lai'\]\. Name each of lai, cab once\."):
        Joint(LEAF, order=["lai"])
    with pytest.raises(ValueError, match="Every block needs a name of its own"):
        Joint(LEAF, LEAF)
    with pytest.raises(TypeError, match=r"Invalid parts of a joint prior\. Give one Prior or more\."):
        Joint(3)
    with pytest.raises(ValueError, match=r"The last axis must hold the 2 latents\."):
        Joint(LEAF).decode(torch.zeros(3))
