"""The data and the model of a plan, read, found and checked: what audits, hardenings and guards begin with."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from salus.audit.endpoint import EndpointClassifier, EndpointModel
from salus.audit.model import Factory, LibraryModel, ModelFolder, Network, ReadyModel, parse_model, prepared_alike
from salus.audit.networks import train_once
from salus.audit.plan import Plan
from salus.audit.substitutes import parse_substitute
from salus.classifier import Classifier, check_classifier
from salus.data import Dataset, Splits
from salus.data.load import SOURCES, check_request, load_for
from salus.errors import OptionError
from salus.hardening.label_cleaning import LabelCleaning
from salus.models import default_model
from salus.models.user import treatment_of
from salus.options import build
from salus.progress import console, progress
from salus.storage import digest
from salus.training import TrainingOptions, TransferOptions
from salus.training.trivial import learnt_nothing


@dataclass(frozen=True, eq=False)
class Trained:
    """A classifier in hand.

    Attributes:
        classifier: the classifier.
        training: the options that it was trained with here; None where it came trained.
        remarks: what a reader should know of it.
    """

    classifier: Classifier
    training: dict[str, Any] | None
    remarks: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Loaded:
    """A model that is used as it is, loaded and checked."""

    source: ReadyModel
    classifier: Classifier
    remarks: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Remote:
    """A model behind HTTP, reached and checked."""

    source: EndpointModel
    classifier: EndpointClassifier

    @property
    def remarks(self) -> tuple[str, ...]:
        """What a reader should know of it."""
        return (
            f"The model is an endpoint, {self.source.url}, attacked through its answers alone; each input was asked "
            "about once, so that a guard that draws at random is taken by its first draw.",
            "Samples were prepared here and sent prepared; that the endpoint's own inputs are prepared alike cannot be "
            "checked beyond their shape, their bounds and its accuracy.",
        )


@dataclass(frozen=True, eq=False)
class Subject:
    """What is audited, hardened or guarded.

    Attributes:
        plan: as it was asked.
        splits: the data that the model sees, poisoned as the plan asks.
        theirs: training samples that were dealt to a transfer attacker; None where none were.
        model: a network to train, a model that is used as it is, or one behind HTTP.
        training: how a network is trained.
        cleaning: what looks for wrong labels in the training part; None where nothing does.
    """

    plan: Plan
    splits: Splits
    theirs: Dataset | None
    model: Network | Loaded | Remote
    training: TrainingOptions
    cleaning: LabelCleaning | None

    @classmethod
    def of(cls, plan: Plan, splits: Splits | None = None) -> Subject:
        """Read, find and check what a plan says of data and model, before anything is written.

        Args:
            plan: what is asked.
            splits: the data, where they are loaded already.

        Raises:
            SalusError: the data, the model or an option cannot be used.
        """
        splits = load_splits(plan) if splits is None else splits
        source = parse_source(plan, splits)
        splits, theirs = _dealt(plan, splits, source)
        cleaning = plan.cleaning()
        if cleaning is not None:
            _check_cleaning(cleaning, splits, source)
        training = training_options(plan)
        return cls(plan, splits, theirs, _found(source, plan, splits), training, cleaning)

    def identity(self) -> dict[str, Any]:
        """Return what makes a folder this subject's own: the data, the model, its training and the seed."""
        cleaning = self.cleaning
        return {
            "data": self.splits.name,
            "split": self.splits.test.provenance.split,
            "samples": digest({part: dataset.fingerprint() for part, dataset in self.splits}),
            "model": self._model_identity(),
            "training": self.plan.training,
            "seed": self.plan.seed,
            "label cleaning": None if cleaning is None else {"method": cleaning.name, **cleaning.settings()},
        }

    def _model_identity(self) -> dict[str, Any]:
        if isinstance(self.model, Remote):
            return {"endpoint": self.model.classifier.fingerprint()}
        source = self.model.source if isinstance(self.model, Loaded) else self.model
        return source.identity(self.splits.test)

    @property
    def remote(self) -> EndpointClassifier | None:
        """The classifier behind HTTP; None where the model is here."""
        return self.model.classifier if isinstance(self.model, Remote) else None

    def need_here(self) -> Network | Loaded:
        """Return the model, which is trained or used in this process.

        Raises:
            OptionError: it is behind HTTP.
        """
        if isinstance(self.model, Remote):
            raise OptionError(
                f"{self.model.source.url} is an endpoint, which can be audited and attacked, and asked by `salus guard "
                "ask`; nothing can be trained, hardened or fitted there: name a model by --model."
            )
        return self.model

    @property
    def network(self) -> Network:
        """The network that is trained.

        Raises:
            OptionError: the model is used as it is.
        """
        here = self.need_here()
        if isinstance(here, Loaded):
            raise OptionError(f"{here.source.text!r} is used as it is; name a network by --model, such as ecg-cnn.")
        return here

    @property
    def factory(self) -> str | None:
        """The code that builds a model of one's own."""
        return self.model.source.factory if isinstance(self.model, Loaded) else None

    def sketch(self) -> Classifier:
        """Return the classifier as far as it is known before it is trained: its layers, and what it takes."""
        here = self.need_here()
        return here.classifier if isinstance(here, Loaded) else here.untrained(self.splits.test)

    def audited(self, folder: Path) -> Trained:
        """Return the classifier that is attacked: as :meth:`classifier` does, or one behind HTTP."""
        if not isinstance(self.model, Remote):
            return self.classifier(folder)
        self.model.classifier.endpoint.keep(folder)
        return Trained(self.model.classifier, None, self.model.remarks)

    def classifier(self, folder: Path) -> Trained:
        """Train the network into a folder, or load it where it was trained before; what is ready is taken as it is."""
        here = self.need_here()
        if isinstance(here, Loaded):
            return Trained(here.classifier, None, here.remarks)
        classifier = train_once(
            here.name, here.options, self.splits, self.training, self.plan.device, folder, "classifier"
        )
        remarks = check_classifier(classifier, self.splits.test, trained_here=True)
        if (remark := learnt_nothing(classifier, self.splits.validation)) is not None:
            console.print(f"Warning: {remark}")
            remarks = (remark, *remarks)
        return Trained(classifier, asdict(self.training), remarks)


def load_splits(plan: Plan) -> Splits:
    """Load the data of a plan: through the preprocessor of a model that has one, else through one that is fitted.

    Raises:
        SalusError: the data or the model cannot be used.
    """
    options = {"seed": plan.seed, **plan.data_options}
    source = None if plan.model is None else parse_model(plan.model, plan.weights)
    preprocessor = None
    if isinstance(source, EndpointModel):
        options = {**options, "classes": source.classes(plan.endpoint, plan.classes)}
    else:
        plan.refuse_without_endpoint(plan.model or "a network that is trained here")
    if isinstance(source, ModelFolder):
        card = source.card()
        preprocessor, options = card.preprocessor, {"classes": card.classes, **options}
    if isinstance(source, LibraryModel):
        options |= _images_for(source, plan)
    with progress(f"Loading {plan.data}", None):
        splits = load_for(preprocessor, plan.data, options)
        vocabulary = splits.test.vocabulary
        if isinstance(source, Factory) and not plan.classes and _answers(source, splits.test) == len(vocabulary):
            splits = load_for(None, plan.data, {**options, "classes": vocabulary})
        return splits.remember_training()


def _images_for(source: LibraryModel, plan: Plan) -> dict[str, Any]:
    """Say how a network's configuration has images scaled, where the plan does not, and data have no size of theirs."""
    treatment = treatment_of(source.text)
    takes = check_request(plan.data, plan.data_options)[1].options
    if treatment is None or treatment.size is None or "size" not in takes:
        return {}
    size = plan.size or treatment.size
    how = {"resize": treatment.framing(size).text} if plan.resize is None and "resize" in takes else {}
    return {"size": size, **how}


def _answers(source: Factory, test: Dataset) -> int | None:
    """Count the classes that a model of one's own tells apart, where the data may lack some of their source's.

    None where they lack none, or the model cannot be tried: its check will say why.
    """
    if len(test.vocabulary) <= len(test.classes):
        return None
    try:
        return source.read(test)[0].predict(test.x[:2]).shape[1]
    except Exception:  # a model may fail in any way
        return None


def parse_source(plan: Plan, splits: Splits) -> Network | ReadyModel | EndpointModel:
    """Read which model a plan means: what it names, or the network that suits the data."""
    return parse_model(plan.model or default_model(splits.test.kind), plan.weights)


def training_options(plan: Plan) -> TrainingOptions:
    """Read a plan's training options."""
    return build(TransferOptions, {"seed": plan.seed, **plan.training}, "training")


def _found(source: Network | ReadyModel | EndpointModel, plan: Plan, splits: Splits) -> Network | Loaded | Remote:
    """Check a network, load what is used as it is, or reach what is elsewhere."""
    if isinstance(source, Network):
        splits.need_training(f"the network {source.name!r}")
        source.untrained(splits.test)  # refuses what does not suit the data
        return source
    if plan.training:
        text = source.url if isinstance(source, EndpointModel) else source.text
        raise OptionError(f"Training options go with built-in models; {text!r} is used as it is.")
    if isinstance(source, EndpointModel):
        return Remote(source, source.read(splits.test, plan.endpoint))
    classifier, remarks = source.load(splits.test)
    if classifier.preprocessor is None:
        # A factory's model takes what these data are; a folder without a preprocessor must have been made from them.
        if isinstance(source, ModelFolder):
            prepared_alike(Path(source.text), splits, named=plan.data in SOURCES)
        classifier.preprocessor = splits.test.preprocessor
    return Loaded(source, classifier, remarks)


def _dealt(plan: Plan, splits: Splits, source: Network | ReadyModel | EndpointModel) -> tuple[Splits, Dataset | None]:
    """Change the training data as the plan asks: a transfer attacker's share is taken out, the rest poisoned."""
    train, theirs = splits.train, None
    if any(threat.deals for threat in plan.threats):
        train, theirs = parse_substitute(plan.substitute, plan.seed).deal(train, plan.seed)
    poisons = plan.poisons()
    if poisons and not isinstance(source, Network):
        raise OptionError("--poison changes what a built-in model is trained on; a model of your own is used as it is.")
    for poison in poisons:
        train = poison(train)
    return replace(splits, train=train), theirs


def _check_cleaning(cleaning: LabelCleaning, splits: Splits, source: Network | ReadyModel | EndpointModel) -> None:
    """Refuse a label cleaning that cannot be done, before anything is trained."""
    if not isinstance(source, Network):
        text = source.url if isinstance(source, EndpointModel) else source.text
        raise OptionError(
            f"Label cleaning trains a built-in model fold by fold, but {text!r} is used as it is; name a "
            f"network by --model, such as {default_model(splits.test.kind)}."
        )
    cleaning.check(splits.train)
