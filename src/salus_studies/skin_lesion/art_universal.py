"""The universal perturbation as the thesis made it: ART's, which walks from sample to sample."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import torch
from torch import nn

from salus.attacks import Perturbation
from salus.attacks.objective import frozen
from salus.classifier import Classifier
from salus.data import Dataset
from salus.errors import OptionError

#: Of ART's: the share of samples that may be left standing, and passes over them at most.
_DELTA, _PASSES = 0.2, 3


def fit_as_published(classifier: Classifier, data: Dataset, eps: float, seed: int) -> Perturbation:
    """Fit ART's ``UniversalPerturbation`` with FGSM inside, sample by sample (Moosavi-Dezfooli et al., 2017).

    Salus has no ``art:UniversalPerturbation`` among its attacks, as it would be judged on what it is fitted to.

    Args:
        classifier: what is attacked.
        data: what it is fitted to; labels are the true ones.
        eps: radius in L-infinity.
        seed: of ART's draws; NumPy's state is put back.

    Raises:
        OptionError: ART is not installed.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from art.attacks.evasion import UniversalPerturbation
            from art.estimators.classification import PyTorchClassifier
    except ImportError as error:
        raise OptionError(f"ART cannot be imported ({error}); install it: pip install 'salus[bench]'.") from error
    labels = np.eye(len(data.classes), dtype=np.float32)[data.y.cpu().numpy()]
    state = np.random.get_state()
    try:
        np.random.seed(seed)
        with warnings.catch_warnings(), frozen(classifier):
            warnings.simplefilter("ignore")
            estimator = PyTorchClassifier(
                classifier,
                loss=nn.CrossEntropyLoss(),
                input_shape=classifier.shape,
                nb_classes=len(data.classes),
                clip_values=classifier.bounds,
                device_type="gpu" if data.x.is_cuda else "cpu",
            )
            attack = UniversalPerturbation(
                estimator,
                attacker="fgsm",
                attacker_params={"eps": eps},
                delta=_DELTA,
                max_iter=_PASSES,
                eps=eps,
                norm=np.inf,
                batch_size=64,
                verbose=False,
            )
            x = data.x.cpu().numpy()
            attack.generate(x, labels)
            noise = torch.from_numpy(np.asarray(attack.noise, dtype=np.float32)).reshape(classifier.shape)
    finally:
        np.random.set_state(state)
    found = Perturbation(
        delta=noise.clamp(-eps, eps),
        eps=eps,
        norm="linf",
        bounds=classifier.bounds,
        fooling_rate=0.0,
        error_rate=0.0,
        samples=len(data),
        attack="art:UniversalPerturbation, fgsm inside",
    )
    before, after = (classifier.predict(x).argmax(1) for x in (data.x, found(data.x)))
    changed, wrong = (float((after != other).double().mean()) for other in (before, data.y))
    return replace(found, fooling_rate=changed, error_rate=wrong)
