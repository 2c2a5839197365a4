"""I-defender: Gaussian mixtures over a classifier's hidden states (Zheng and Hong, NeurIPS 2018)."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from salus.classifier import Classifier, States
from salus.data.packed import take
from salus.detectors.calibration import ReferenceScores
from salus.detectors.hidden import Layers, LayerwiseDetector, Seed
from salus.options import checked

Covariance = Literal["full", "tied", "diag"]
Threshold = Literal["conformal", "id-95", "id-99"]
_MAX_DIMENSIONS = 32
_SAMPLES_PER_DIMENSION = 5
_WIDE = 1000  # values
_ROWS = 512
_JOINT = "joint"  # names the mixtures of all layers together among the learnt tensors


class IDefender(LayerwiseDetector):
    """Rejects an input whose hidden state is unlikely under the class that the classifier predicts.

    For each layer H and class c a mixture ``p(H(x) | c) = sum_k w_k N(H(x); mu_ck, Sigma_ck)`` is fitted to
    clean training samples (Eq. 4). The score is minus the log-likelihood under the predicted class, summed
    over the layers; an input is rejected where it exceeds the class's threshold (Eq. 5). Summed, the layers are
    independent of one another given the class; ``joint`` models them together.

    Args:
        layers: named layers of the classifier: ``logits``, ``penultimate`` (input of the last layer) or
            a module's name (averaged over positions; ``NAME/flat`` keeps them).
        components: Gaussians per class, or ``bic`` or ``likelihood`` (of training samples held out) to choose
            1 to 5 per class.
        covariance: ``full``, ``tied`` (one per class) or ``diag``.
        dimensions: principal components kept of each layer. By default as many as the smallest class can carry:
            a fifth of its samples per Gaussian for full and tied covariances, at most 32.
        joint: one mixture a class over the components of all layers side by side, in the place of one a layer.
        threshold: ``conformal`` (see ``calibrate``), or the paper's ``id-95`` and ``id-99``, which keep 95% and
            99% of the natural training samples of each class.
        max_samples: samples of each class used to fit, drawn at random beyond that.
        seed: of the draws and of the mixtures' initialisation.
    """

    name: ClassVar[str] = "i-defender"
    likelihoods: ClassVar[bool] = True
    title: ClassVar[str] = "I-defender"

    @checked
    def __init__(
        self,
        *,
        layers: Layers = ("penultimate",),
        components: Annotated[
            Annotated[int, Field(ge=1)] | Literal["bic", "likelihood"],
            Field(description="Gaussians a class, or what chooses 1 to 5"),
        ] = "bic",
        covariance: Annotated[Covariance, Field(description="shape of the Gaussians")] = "full",
        dimensions: Annotated[
            Annotated[int, Field(ge=1)] | None, Field(description="principal components kept of each layer")
        ] = None,
        joint: Annotated[bool, Field(description="one mixture a class over all layers together")] = False,
        threshold: Annotated[
            Threshold, Field(description="what sets the threshold: conformal calibration, or a rule of the paper's")
        ] = "conformal",
        max_samples: Annotated[int, Field(ge=1, description="samples of each class that are fitted to")] = 10_000,
        seed: Seed = 0,
    ) -> None:
        super().__init__(layers, seed)
        self.components = components
        self.covariance = covariance
        self.dimensions = dimensions
        self.joint = joint
        self.threshold = threshold
        self.max_samples = max_samples

    def fit(self, classifier: Classifier, x: Tensor, y: Tensor) -> IDefender:
        """Fit the mixtures to clean training samples x ``[N, ...]`` with labels y ``[N]``.

        Raises:
            CalibrationError: a class has too few samples for one Gaussian.
            ModelError: the classifier has no such layer.
        """
        self.classifier_ = classifier
        least = 2 * (self.components if isinstance(self.components, int) else 1)
        needs = f"its mixture needs at least {least}. Give more, or fewer components."
        chosen = self.draw(y, self.max_samples, least, needs)
        return self.fit_states(classifier, self.hidden(take(x, chosen.to(x.device))), y[chosen.to(y.device)])

    def fit_states(self, classifier: Classifier, hidden: Mapping[str, Tensor], y: Tensor) -> IDefender:
        """Fit the mixtures to the states of clean training samples, where these are at hand.

        Args:
            classifier: whose states they are.
            hidden: layer -> states ``[N, D]`` in main memory; all of them are fitted to.
            y: the samples' labels ``[N]``; every class has two for each of its Gaussians.
        """
        self.classifier_ = classifier
        self.notes_ = []
        y, classes = y.cpu(), len(classifier.classes)
        reduced = {layer: self._reduce(layer, hidden[layer], y) for layer in self.layers}
        if self.joint:
            reduced = {_JOINT: np.concatenate(list(reduced.values()), axis=1)}
        for name, components in reduced.items():
            self._fit_mixtures(name, components, y, classes)
        if self.threshold != "conformal":
            # The paper's rule: the natural training samples of each class, scored under that class.
            scores = []
            for rows in torch.arange(len(y)).split(_ROWS):
                part = {layer: hidden[layer][rows] for layer in self.layers}
                seen = States(rows, torch.zeros(len(rows), classes), part)  # neither input nor answer is looked at
                scores.append(self.class_scores(seen).gather(1, y[rows, None])[:, 0].detach())
            share = {"id-95": 0.95, "id-99": 0.99}[self.threshold]
            self.reference_ = ReferenceScores.fit(torch.cat(scores), y, classes)
            self.threshold_ = -math.log(1 - share)
            self.false_alarm_rate_ = 1 - share
        return self

    @property
    def own_rule(self) -> bool:
        """Whether one of the paper's rules has set the threshold, on the training data."""
        return self.threshold != "conformal"

    def class_scores(self, states: States) -> Tensor:
        """Return minus the log-likelihood under each class, ``[N, K]``; differentiable."""
        if not self.joint:
            return super().class_scores(states)
        reduced = [self._reduced(layer, states.hidden[layer]) for layer in self.layers]
        return self._unlikelihood(_JOINT, torch.cat(reduced, 1))

    def layer_scores(self, layer: str, hidden: Tensor) -> Tensor:
        """Return minus the log-likelihood of a layer's states under each class, ``[N, K]``."""
        return self._unlikelihood(layer, self._reduced(layer, hidden))

    def _reduced(self, layer: str, hidden: Tensor) -> Tensor:
        """Rotate states ``[N, D]`` onto the principal components that were kept, ``[N, d]``."""
        project, offset = (self.learnt(f"{layer}|{name}", hidden) for name in ("project", "offset"))
        return torch.addmm(offset, hidden, project, beta=-1)

    def _unlikelihood(self, name: str, reduced: Tensor) -> Tensor:
        """Return minus the log-likelihood of components ``[N, d]`` under each class, ``[N, K]``."""
        whiten, shift, constant = (self.learnt(f"{name}|{part}", reduced) for part in ("whiten", "shift", "constant"))
        # Every Gaussian of every class at once: z is the state in its own axes, in units of its deviations.
        if self.covariance == "diag":
            z = reduced[:, None, :] * whiten - shift  # [N, K*M, d]
        else:
            z = torch.addmm(shift, reduced, whiten, beta=-1).view(len(reduced), -1, reduced.shape[1])
        distances = z.square().sum(2).view(len(reduced), *constant.shape)  # [N, K, M]
        each = torch.add(-constant, distances, alpha=0.5)  # minus log w N
        return each[..., 0] if each.shape[2] == 1 else -(-each).logsumexp(2)  # [N, K]

    def _reduce(self, layer: str, hidden: Tensor, y: Tensor) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Rotate onto principal components of unit variance, as many as the smallest class can carry."""
        from sklearn.decomposition import PCA

        n, width = hidden.shape
        smallest = int(torch.bincount(y).min())
        gaussians = self.components if isinstance(self.components, int) else 1
        carried = max(1, smallest // (_SAMPLES_PER_DIMENSION * gaussians))
        limit = width if self.covariance == "diag" else min(carried, _MAX_DIMENSIONS)
        count = min(width, n - 1, self.dimensions or limit)
        # Of wide states nearly all components: the covariance gives them in a tenth of the time.
        solver = "covariance_eigh" if _WIDE < width < n and count >= 0.8 * width else "auto"
        pca = PCA(count, svd_solver=solver, random_state=self.seed).fit(hidden.double().numpy())
        live = pca.explained_variance_ > 1e-9 * max(float(pca.explained_variance_[0]), 1e-30)
        live[0] = True
        scale = 1 / np.sqrt(np.maximum(pca.explained_variance_[live], 1e-30))
        project = (pca.components_[live] * scale[:, None]).T  # [D, d]
        offset = pca.mean_ @ project
        self.learnt_[f"{layer}|project"] = torch.tensor(project, dtype=torch.float32)
        self.learnt_[f"{layer}|offset"] = torch.tensor(offset, dtype=torch.float32)
        if int(live.sum()) < width:
            share = float(pca.explained_variance_ratio_[live].sum())
            why = (
                f"{smallest} samples of the smallest class carry {carried} at {_SAMPLES_PER_DIMENSION} samples "
                f"per dimension, at most {_MAX_DIMENSIONS}"
                if count < width and self.dimensions is None
                else "as asked"
                if count < width
                else "the others do not vary"
            )
            self.notes_.append(
                f"{layer}: {width} values reduced to {int(live.sum())} principal components "
                f"with {share:.1%} of the variance ({why})"
            )
        return np.asarray(hidden.double().numpy() @ project - offset)

    def _fit_mixtures(self, name: str, h: np.ndarray[Any, np.dtype[np.float64]], y: Tensor, classes: int) -> None:
        """Fit each class's mixture to components ``[N, d]``."""
        from sklearn.mixture import GaussianMixture

        labels, d = y.numpy(), h.shape[1]
        mixtures: list[Any] = []
        for label in range(classes):
            own = h[labels == label]
            options = (
                [self.components]
                if isinstance(self.components, int)
                else [k for k in range(1, 6) if len(own) >= _SAMPLES_PER_DIMENSION * k * d] or [1]
            )
            held_out = np.random.default_rng(self.seed).permutation(len(own)) < len(own) // 5
            best: Any = None
            best_value = math.inf
            for k in options:
                model = GaussianMixture(k, covariance_type=self.covariance, reg_covar=1e-4, random_state=self.seed)
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # a mixture that has not settled in 100 rounds still serves
                    if self.components == "likelihood" and len(options) > 1:
                        value = -float(model.fit(own[~held_out]).score(own[held_out]))
                        model.fit(own)
                    else:
                        model.fit(own)
                        value = float(model.bic(own)) if len(options) > 1 else 0.0
                if best is None or value < best_value:
                    best, best_value = model, value
            mixtures.append(best)
        self._store(name, mixtures, d)
        counts = ", ".join(str(mixture.n_components) for mixture in mixtures)
        self.notes_.append(f"{name}: {counts} Gaussians for the classes in order, {self.covariance} covariance")

    def _store(self, layer: str, mixtures: Sequence[Any], d: int) -> None:
        most = max(mixture.n_components for mixture in mixtures)
        whiten, shift, constant = [], [], []
        for mixture in mixtures:
            for k in range(most):
                real = k < mixture.n_components
                i = k if real else 0  # padding repeats a Gaussian with weight zero
                root = mixture.precisions_cholesky_ if self.covariance == "tied" else mixture.precisions_cholesky_[i]
                diagonal = root if self.covariance == "diag" else np.diag(root)
                whiten.append(root)
                shift.append(mixture.means_[i] * root if self.covariance == "diag" else mixture.means_[i] @ root)
                constant.append(
                    math.log(mixture.weights_[i]) + float(np.log(diagonal).sum()) - 0.5 * d * math.log(2 * math.pi)
                    if real
                    else -math.inf
                )
        stacked = np.stack(whiten)  # [K*M, d(, d)]
        if self.covariance != "diag":
            stacked = stacked.transpose(1, 0, 2).reshape(d, -1)  # [d, K*M*d]
        flat_shift = np.stack(shift) if self.covariance == "diag" else np.concatenate(shift)
        shape = (len(mixtures), most)
        for name, values in {
            "whiten": stacked,
            "shift": flat_shift,
            "constant": np.array(constant).reshape(shape),
        }.items():
            self.learnt_[f"{layer}|{name}"] = torch.tensor(values, dtype=torch.float32)

    @property
    def rule(self) -> str:
        """What set the thresholds, in words."""
        return f"{self.threshold.upper()} thresholds per class on the training data" if self.own_rule else super().rule

    def settings(self) -> dict[str, Any]:
        """Return what rebuilds the detector beside its tensors."""
        settings = super().settings()
        if not self.joint:  # as before there was the option: a saved guard's fingerprint is made of it
            del settings["joint"]
        return settings

    def describe(self) -> str:
        """Say what was fitted, for reports."""
        return f"I-defender on {', '.join(self._layers)}; {'; '.join(self.notes_)}; {self.rule}"
