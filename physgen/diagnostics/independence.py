"""Whether the columns of a table are independent: can a classifier tell its rows from rows with permuted columns?"""

from __future__ import annotations

from torch import Tensor

from .c2st import C2ST, c2st
from .sample_table import permutation, sample_table

_FEWEST = 100


def independence_test(codes: Tensor, *, classifier: str = "network", folds: int = 5, seed: int = 0) -> C2ST:
    """Classifier two-sample test of a code against the product of its marginal distributions.

    One half of the rows stays as it is. In the other half every column is put in an order of its own, which leaves the
    columns' distributions and takes away what they know of each other. Two halves, because a value that is in both
    samples would make the folds of the test depend on one another.

    Parameters
    ----------
    codes : Tensor (N, k)
        At least 100 rows of at least 2 columns.
    classifier, folds, seed
        See `c2st`; the seed is that of halves and orders too.

    Returns
    -------
    C2ST
        Accuracy about 1/2 if the columns are independent, above it if not, with the p-value of independence. A
        classifier that finds nothing proves nothing: the best one has the accuracy (1 + total variation distance) / 2.

    Raises
    ------
    ValueError, TypeError
        If there are too few rows or one column only, or a value is not finite.

    References
    ----------
    Brakel & Bengio (2017), *Learning independent features with adversarial nets for non-linear ICA*, section 3;
    Lopez-Paz & Oquab (2017), *Revisiting classifier two-sample tests*, section 4.
    """
    x = sample_table("codes", codes, _FEWEST)
    if x.shape[1] < 2:
        raise ValueError(
            f"Invalid codes of shape {tuple(codes.shape)}. Independence is a matter of at least two columns."
        )
    joint, other = x[permutation(len(x), seed=seed, stage=20).to(x.device)].tensor_split(2)
    orders = permutation(len(other), seed=seed, stage=21, times=x.shape[1]).mT.to(x.device)
    return c2st(joint, other.gather(0, orders), classifier=classifier, folds=folds, seed=seed)
