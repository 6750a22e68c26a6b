"""Named causal generative models, each a causal flow of labelled concepts with a decoder of features behind it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..progress import Progress
from ..space import Block, Space
from .adversarial_training import AdversarialTraining
from .causal_discovery import graph_from_labels
from .causal_flow import CausalFlow
from .composed import Composed
from .decoder import Decoder
from .fitting import Training
from .gan import GAN
from .objectives import Objective, beta_vae
from .samples import read_samples

Names = Space | Sequence[Block | str] | None


def scm_vae(
    table: Any,
    labels: Any,
    graph: Mapping[str, Iterable[str]],
    code: int = 2,
    *,
    concepts: Names = None,
    causes: Names = None,
    hidden: Sequence[int] = (64, 64),
    objective: Objective | None = None,
    training: Training | None = None,
    seed: int = 0,
    progress: Progress = False,
) -> Composed:
    """Concepts with a known graph, and an autoencoder of features that sees them.

    Komanduri et al. (2022) learn concepts as latents that labels supervise; here labels are the concepts, measured, so
    that the structural model is that of `CausalFlow` and the features' decoder a `Decoder` with concepts as conditions.

    Parameters
    ----------
    table : array_like (N, n)
        Features: pixels, spectra.
    labels : array_like (N, l)
        The concepts of each row.
    graph : mapping of str to iterable of str
        Parents of each concept.
    code : int
        Length of the code of what concepts do not say.
    concepts, causes : Space or sequence, optional
        What the columns of `labels` and of `table` are; ``c0, c1, ...`` and ``x0, x1, ...`` by default.
    hidden, objective, training, seed, progress
        See `Decoder.fit`.

    Returns
    -------
    Composed
        Its causes are concepts, then features.

    Raises
    ------
    ValueError
        As `CausalFlow.fit` and `Decoder.fit`: the graph is checked for unknown names and for cycles.

    References
    ----------
    Komanduri, Wu, Huang, Chen & Wu (2022), SCM-VAE: learning identifiable causal representations via structural
    knowledge, *IEEE Big Data*.
    """
    space, conditions = _concepts(labels, concepts)
    settings: dict[str, Any] = {"training": training, "seed": seed, "progress": progress}
    inner = CausalFlow.fit(labels, graph, causes=space, **settings)
    decoder: dict[str, Any] = {"causes": causes, "conditions": conditions, "hidden": hidden, "objective": objective}
    return Composed(inner, Decoder.fit(table, code, **decoder, **settings))


def causal_vae(
    table: Any,
    labels: Any,
    code: int = 2,
    *,
    beta: float = 1.0,
    sparsity: float = 0.02,
    threshold: float = 0.3,
    concepts: Names = None,
    **settings: Any,
) -> Composed:
    """As `scm_vae`, but the graph is learned from the labels (`graph_from_labels`), and the KL divergence weighted.

    Yang et al. (2021) learn a linear graph and the codes together, with labels as supervision; here the graph comes
    first, from the labels alone, and mechanisms need not be linear. Whether the graph is right no fit can tell: the
    assumptions are those of `graph_from_labels`; the learned one is ``prior.inner.graph``.

    Parameters
    ----------
    table, labels, code, concepts, **settings
        See `scm_vae`.
    beta : float
        See `beta_vae`.
    sparsity, threshold : float
        See `graph_from_labels`.

    References
    ----------
    Yang, Liu, Chen, Shen, Hao & Wang (2021), CausalVAE: disentangled representation learning via neural structural
    causal models, *CVPR*.
    """
    space, _ = _concepts(labels, concepts)
    graph = graph_from_labels(labels, space, sparsity=sparsity, threshold=threshold)
    return scm_vae(table, labels, graph, code, concepts=space, objective=beta_vae(beta), **settings)


def causal_gan(
    table: Any,
    labels: Any,
    graph: Mapping[str, Iterable[str]],
    code: int = 2,
    *,
    concepts: Names = None,
    causes: Names = None,
    label_training: Training | None = None,
    training: AdversarialTraining | None = None,
    seed: int = 0,
    **settings: Any,
) -> Composed:
    """Concepts with a known graph, and a generator of features that is learned against a critic who sees both.

    Kocaoglu et al. (2018) draw discrete labels from an adversarial network in the shape of the graph; here concepts are
    continuous and come from a `CausalFlow`, learned by maximum likelihood. A `GAN` has no code of an image, so that
    there are interventions but no counterfactuals: use `scm_vae` for those.

    Parameters
    ----------
    table, labels, graph, code, concepts, causes, seed
        See `scm_vae`.
    label_training : Training, optional
        Of the concepts' flow.
    training : AdversarialTraining, optional
        Of the game.
    **settings
        Of `GAN.fit`.

    References
    ----------
    Kocaoglu, Snyder, Dimakis & Vishwanath (2018), CausalGAN: learning causal implicit generative models with
    adversarial training, *ICLR*, section 4.
    """
    space, conditions = _concepts(labels, concepts)
    inner = CausalFlow.fit(labels, graph, causes=space, training=label_training, seed=seed)
    game: dict[str, Any] = {"causes": causes, "conditions": conditions, "training": training, "seed": seed}
    return Composed(inner, GAN.fit(table, code, **game, **settings))


def _concepts(labels: Any, concepts: Names) -> tuple[Space, dict[str, Any]]:
    """The concepts' space, and the labels as conditions by name."""
    if concepts is None:
        columns = len(labels[0]) if len(labels) else 0
        concepts = [f"c{i}" for i in range(columns)]
    x, _, space, _ = read_samples(labels, concepts, None)
    return space, dict(zip(space.element_names, x.unbind(1), strict=True))
