"""How models that are not ours behave, and what is done so that it harms nobody's data, weights or figures."""

from salus.conduct.logits import as_logits_of
from salus.conduct.modules import buffers_kept, evaluating, hidden_modules, modules_of
from salus.conduct.recurrent import without_cudnn
from salus.conduct.remarks import conduct

__all__ = ["as_logits_of", "buffers_kept", "conduct", "evaluating", "hidden_modules", "modules_of", "without_cudnn"]
