"""What docs/defences.md says of each defence; a test asks that none is forgotten."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Word:
    """What a defence is.

    Attributes:
        kind: detector, purifier or hardening.
        what: it does.
        needs: to be fitted or run.
        paper: where it is from.
    """

    kind: str
    what: str
    needs: str
    paper: str


_CLEAN = "clean training data"
_STATES = f"{_CLEAN}, a hidden layer"

#: Detectors and purifiers by the name that `--defence` takes.
WORDS = {
    "i-defender": Word(
        "detector", "Gaussian mixture of each class's hidden states", _STATES, "Zheng and Hong, NeurIPS 2018"
    ),
    "mahalanobis": Word(
        "detector", "distance from the nearest class's mean, one covariance for all", _STATES,
        "Lee et al., NeurIPS 2018",
    ),
    "deep-knn": Word(
        "detector", "distance to the k-th training state of the predicted class", f"{_STATES}; keeps samples of it",
        "Papernot and McDaniel, 2018",
    ),
    "lid": Word(
        "detector", "dimensions that the states around an input fill", f"{_STATES}; keeps samples of it",
        "Ma et al., ICLR 2018",
    ),
    "kde": Word(
        "detector", "kernel density of the predicted class's states", f"{_STATES}; keeps samples of it",
        "Feinman et al., 2017",
    ),
    "feature-squeezing": Word(
        "detector", "how far the answer moves when the input is rounded or smoothed", "nothing; more forward passes",
        "Xu et al., NDSS 2018",
    ),
    "safetynet": Word(
        "detector", "support vector machine on quantised hidden states", f"{_STATES}, one attack to learn from",
        "Lu et al., ICCV 2017",
    ),
    "subnetwork": Word(
        "detector", "small network on hidden states", f"{_STATES}, one attack to learn from", "Metzen et al., ICLR 2017"
    ),
    "magnet": Word(
        "detector", "reconstruction error of an autoencoder, or what it does to the answer",
        f"{_CLEAN}, an autoencoder", "Meng and Chen, CCS 2017",
    ),
    "multimagnet": Word(
        "detector", "vote of n autoencoders, drawn anew for each input", f"{_CLEAN}, ten autoencoders",
        "Machado et al., ICEIS 2019",
    ),
    "defense-gan": Word(
        "detector", "distance to the nearest sample that a generator makes",
        f"{_CLEAN}, a generator; gradient descents", "Samangouei et al., ICLR 2018",
    ),
    "attacked-head": Word(
        "detector", "the attacked/clean head of ECG-ATK-GAN's discriminator", "a discriminator of that kind",
        "Hossain et al., ECG-ATK-GAN",
    ),
    "bit-depth": Word("purifier", "rounds values to 2^bits levels", "nothing", "Xu et al., NDSS 2018"),
    "low-level": Word(
        "purifier", "WebP at a quality, and a horizontal flip", "images", "the skin-lesion thesis, Section 4.4.2"
    ),
    "reformer": Word(
        "purifier", "an autoencoder's reconstruction", f"{_CLEAN}, an autoencoder", "Meng and Chen, CCS 2017"
    ),
    "multimagnet-reformer": Word(
        "purifier", "the reconstruction by an autoencoder that is drawn anew for each input",
        f"{_CLEAN}, ten autoencoders", "Machado et al., ICEIS 2019",
    ),
    "defense-gan-purifier": Word(
        "purifier", "the nearest sample that a generator makes",
        f"{_CLEAN}, a generator; gradient descents", "Samangouei et al., ICLR 2018",
    ),
}  # fmt: skip

#: How the settings of a table came about, where test samples had a say in it.
REMARKS = {
    "ham10000": (
        "Not all of these settings were fixed beforehand. A first run at eps 2/255 left the undefended classifier "
        "30%, so eps was doubled; Defense-GAN's generator was trained for 26 epochs, not 5, and its descents were "
        "shortened, after its purifier had answered 11% of clean lesions rightly; the samples were cut from 100 to "
        "50 for time. All of that was seen on test lesions: take Defense-GAN's rows here as an illustration, not "
        "as a measurement of a tuned defence. Its purifier is not robust but nearly constant: it calls 32 of the "
        "50 clean lesions BKL, and 9 of the 10 that it has right are of that class (the confusion table of the "
        "audit's report)."
    ),
}

#: Hardening by the name that `salus harden` takes.
HARDENING = {
    "single-step": Word(
        "hardening", "training on one-step attacks from random starts", "training, about twice as long",
        "Wong et al., ICLR 2020",
    ),
    "madry": Word("hardening", "training on PGD", "training, many times as long", "Madry et al., ICLR 2018"),
    "trades": Word(
        "hardening", "training that trades clean accuracy for a smooth answer", "training, many times as long",
        "Zhang et al., ICML 2019",
    ),
    "adversarial-retraining": Word(
        "hardening", "going on to train on samples and attacked copies, made anew in each of several rounds",
        "a trained classifier, attacked copies, training", "Nédellec and Mouret, 2021",
    ),
    "ecg-atk-gan": Word(
        "hardening", "a GAN whose discriminator learns beats and their attacked copies",
        "training of a GAN, attacked copies made beforehand", "Hossain et al., ECG-ATK-GAN",
    ),
}  # fmt: skip

#: How harmless changes head their columns.
CONTROLS = {
    "baseline-wander": "baseline wander",
    "mains-hum": "mains hum",
    "muscle-noise": "muscle noise",
    "blur": "blur",
    "jpeg": "JPEG",
}
