"""Dependence, interventions and what chains refuse."""

import math

import pytest
import torch

from physgen.conditions import Takes
from physgen.priors import Chain, Conditional, Independent, LogNormal, Normal, TruncatedNormal, Uniform


def traits():
    return Chain(
        lai=TruncatedNormal(2, 3, 0, 12, units="m2 m-2", long_name="leaf area index"),
        cab=Conditional(
            lambda lai: TruncatedNormal(45, 30, 20 + 2.5 * lai, 90 - lai, units="ug cm-2"), support=(20, 90)
        ),
        wet=Conditional(lambda cab, day_of_year=180.0: Normal(0.01 * cab + 0.1 * day_of_year, 1.0)),
    )


def test_a_linear_chain_is_the_normal_distribution_with_that_covariance():
    """x = a, y = 2 a + b, w = y - a + c with independent standard normal a, b, c."""
    chain = Chain(x=Normal(0, 1), y=lambda x: Normal(2 * x, 1), w=lambda y, x: Normal(y - x, 1))
    draws = torch.eye(3, dtype=torch.float64)
    mixing = chain.decode(draws).T  # columns: what each latent does
    torch.testing.assert_close(mixing, torch.tensor([[1, 0, 0], [2, 1, 0], [1, 1, 1]], dtype=torch.float64))
    x = torch.randn(4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    exact = torch.distributions.MultivariateNormal(torch.zeros(3, dtype=torch.float64), mixing @ mixing.T)
    torch.testing.assert_close(chain.log_prob(x), exact.log_prob(x))


def test_causes_are_labelled_and_conditions_found():
    chain = traits()
    assert chain.causes.names == ("lai", "cab", "wet")
    assert [b.units for b in chain.causes] == ["m2 m-2", "ug cm-2", "1"]
    assert [b.support for b in chain.causes] == [(0, 12), (20, 90), (-math.inf, math.inf)]
    assert chain.causes.block("lai").long_name == "leaf area index"
    assert chain.takes == Takes(optional=frozenset({"day_of_year"}))


def test_each_observation_has_its_own_condition():
    chain = traits()
    z = torch.zeros(5, 2, 3)  # draws lead, observations follow
    days = torch.tensor([0.0, 100.0])
    both = chain.decode(z, day_of_year=days)
    for i, day in enumerate(days):
        torch.testing.assert_close(both[:, i], chain.decode(z[:, i], day_of_year=day))
    assert float((both[0, 1] - both[0, 0])[2]) == pytest.approx(10)
    torch.testing.assert_close(chain.decode(z), chain.decode(z, day_of_year=180.0))
    # one draw broadcasts against the observations
    assert chain.decode(z[0, 0], day_of_year=days).shape == (2, 3)


def test_draws_follow_ranges_that_narrow():
    x = traits().sample(2000, seed=3)
    lai, cab = x[:, 0], x[:, 1]
    assert ((cab > 20 + 2.5 * lai) & (cab < 90 - lai)).all()


def test_an_intervention_sets_the_cause_and_moves_its_effects_only():
    chain = Chain(a=Normal(0, 1), b=lambda a: Normal(2 * a, 1), c=lambda b: Normal(-b, 1))
    z = torch.randn(6, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    done = chain.do(b=3.0)
    x = done.decode(z)
    torch.testing.assert_close(x[:, 0], chain.decode(z)[:, 0])
    assert (x[:, 1] == 3).all()
    torch.testing.assert_close(x[:, 2], -3 + z[:, 2])
    assert done.latent_dim == 3
    assert done.intervened == {"b"}
    assert chain.intervened == frozenset()
    assert done.capabilities == {"do"}
    gradient = torch.func.jacrev(done.decode)(z[0])
    assert (gradient[:, 1] == 0).all()
    assert done.do(b=4.0, a=0.0).intervened == {"a", "b"}
    assert (done.do(b=4.0).decode(z)[:, 1] == 4).all()


def test_an_intervened_prior_has_no_density():
    done = traits().do(lai=3.0)
    with pytest.raises(TypeError, match="has no 'log_prob'"):
        done.log_prob(torch.zeros(3))
    with pytest.raises(TypeError, match="has no 'encode'"):
        done.encode(torch.zeros(3))


def test_a_condition_that_only_a_fixed_cause_took_may_still_be_given():
    chain = Chain(a=lambda day: Normal(day, 1), b=lambda a: Normal(a, 1))
    assert chain.takes.required == {"day"}
    done = chain.do(a=1.0)
    assert done.takes == Takes(optional=frozenset({"day"}))
    torch.testing.assert_close(done.decode(torch.zeros(2)), done.decode(torch.zeros(2), day=5.0))


@pytest.mark.parametrize(
    ("values", "error", "message"),
    [
        ({"lia": 3.0}, ValueError, "Unknown name 'lia'. The names of this space are lai, cab, wet."),
        ({"lai": 13.0}, ValueError, "Invalid value 13 for 'lai'. Must lie within 0 to 12."),
        ({"lai": math.nan}, ValueError, "Invalid value nan for 'lai'"),
        ({"lai": "much"}, TypeError, "Invalid value 'much' for 'lai'. Give one number."),
    ],
)
def test_impossible_interventions_are_refused(values, error, message):
    with pytest.raises(error, match=message):
        traits().do(**values)


def test_an_impossible_parent_is_minus_infinity_not_nan():
    chain = Chain(a=LogNormal(1, 1), b=lambda a: Normal(torch.log(a), torch.sqrt(a)))
    x = torch.tensor([[-1.0, 0.0], [1.0, 0.0]], requires_grad=True)
    log_prob = chain.log_prob(x)
    assert torch.isneginf(log_prob).tolist() == [True, False]
    assert torch.isfinite(torch.autograd.grad(log_prob[1], x)[0]).all()


def test_conditions_unknown_and_missing_are_refused():
    chain = Chain(a=Conditional(lambda day: Normal(day, 1), support=(-math.inf, math.inf)))
    with pytest.raises(ValueError, match="Missing condition 'day'"):
        chain.decode(torch.zeros(1))
    with pytest.raises(ValueError, match=r"Unknown condition 'dya'\. Did you mean 'day'"):
        chain.decode(torch.zeros(1), day=1.0, dya=2.0)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Chain(), ValueError, "Invalid prior without causes"),
        (lambda: Chain(a=3.0), TypeError, "Invalid entry 3.0 for 'a'"),
        (lambda: Chain(a=Normal), TypeError, "Give a Distribution, or a function"),
        (lambda: Chain(a=lambda: 3.0), TypeError, "returned a float. It must return a Distribution"),
        (lambda: Chain(a=lambda b: Normal(b, 1), b=lambda a: Normal(a, 1)), ValueError, "depend on themselves"),
        (lambda: Chain(a=lambda a: Normal(a, 1)), ValueError, "depend on themselves: 'a' <- 'a'"),
        (lambda: Chain(a=lambda **kw: Normal(0, 1)), ValueError, "Name each earlier cause"),
        (lambda: Chain(a=lambda day: Uniform(0, day)), ValueError, "The support of 'a' varies"),
        (lambda: Chain(a=lambda day: Normal(float(day), 1)), ValueError, "Conditions are unknown yet: declare"),
        (
            lambda: Chain(a=Uniform(0, 1), b=lambda a: Uniform(0, a)),
            ValueError,
            "The support of 'b' varies. Declare the widest one",
        ),
        (
            lambda: Chain(a=Normal(0, 1), b=lambda a: Normal(1 if a > 0 else 2, 1)),
            ValueError,
            "The function for 'b' fails on a batch",
        ),
        (
            lambda: Chain(a=Normal(0, 1), b=Conditional(lambda a: Normal(a, 1), support=(0, 1))),
            ValueError,
            r"Invalid support \(0.0, 1.0\) of 'b'. Its draws reach",
        ),
        (lambda: Independent(a=lambda: Normal(0, 1)), TypeError, "belongs in a Chain"),
    ],
)
def test_what_cannot_be_a_chain_is_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_settings_can_be_read():
    assert repr(Independent(a=Normal(0, 1))) == "Independent(a=Normal(units='1', long_name='', mean=0.0, sd=1.0))"


def test_labels_come_from_the_returned_distribution_or_the_declaration():
    def warm(day):
        return Uniform(0, day, units="K")

    assert Chain(a=Conditional(warm, support=(0, 366))).causes.block("a").units == "K"
    assert Chain(a=Conditional(warm, support=(0, 366), units="degC")).causes.block("a").units == "degC"


def test_the_order_of_x_is_free_of_the_order_of_causation():
    """The same chain with its causes in another order gives the same draws, columns exchanged."""
    lai, cab = TruncatedNormal(2, 3, 0, 12), Conditional(lambda lai: Normal(40 + 3 * lai, 5))
    forth, back = Chain(lai=lai, cab=cab), Chain(cab=cab, lai=lai)
    z = torch.randn(50, 2, generator=torch.Generator().manual_seed(1))
    x = forth.decode(z)
    assert back.causes.names == ("cab", "lai")
    torch.testing.assert_close(back.decode(z.flip(-1)), x.flip(-1))
    torch.testing.assert_close(back.encode(x.flip(-1)), z.flip(-1))
    torch.testing.assert_close(back.log_prob(x.flip(-1)), forth.log_prob(x))
