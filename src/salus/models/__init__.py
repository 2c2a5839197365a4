"""Networks: nn.Modules only, no training and no data."""

from salus.models.ecg_cnn import ECGCNN
from salus.models.mlp import MLP
from salus.models.registry import MODELS, Architecture, build_model, default_model
from salus.models.small_cnn import SmallCNN
from salus.models.torchvision_ops import load_torchvision

__all__ = ["ECGCNN", "MLP", "MODELS", "Architecture", "SmallCNN", "build_model", "default_model", "load_torchvision"]
