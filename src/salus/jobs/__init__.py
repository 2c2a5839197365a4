"""What commands do beside audits: hardening, one or many, label search, generators, guards, attacks on files."""

from salus.jobs.asking import ask_about
from salus.jobs.attach import Attached, attach_preprocessor
from salus.jobs.attack import attack_rows
from salus.jobs.autoencoders import TrainedRepository, run_autoencoders
from salus.jobs.calibration import Calibrated, run_calibration
from salus.jobs.doubts import attack_doubts
from salus.jobs.generator import TrainedGenerator, run_generator
from salus.jobs.guards import FittedBundle, fit_bundle
from salus.jobs.handing_over import HandOver
from salus.jobs.harden import Hardened, run_hardening
from salus.jobs.judging import JudgingTally, judge_thing
from salus.jobs.labels import FoundLabels, run_labels
from salus.jobs.model_check import ModelCheck, check_model
from salus.jobs.possible import read_possible
from salus.jobs.samples import LabelledSamples, read_samples
from salus.jobs.sweep import SweepOptions, Swept, run_sweep
from salus.jobs.watching import FittedMonitor, fit_monitor

__all__ = [
    "Attached",
    "Calibrated",
    "FittedBundle",
    "FittedMonitor",
    "FoundLabels",
    "HandOver",
    "Hardened",
    "JudgingTally",
    "LabelledSamples",
    "ModelCheck",
    "SweepOptions",
    "Swept",
    "TrainedGenerator",
    "TrainedRepository",
    "ask_about",
    "attach_preprocessor",
    "attack_doubts",
    "attack_rows",
    "check_model",
    "fit_bundle",
    "fit_monitor",
    "judge_thing",
    "read_possible",
    "read_samples",
    "run_autoencoders",
    "run_calibration",
    "run_generator",
    "run_hardening",
    "run_labels",
    "run_sweep",
]
