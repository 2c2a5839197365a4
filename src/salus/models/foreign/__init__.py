"""Models that Salus did not make, in the forms in which people have them."""

from salus.models.foreign.form import Built, Form
from salus.models.foreign.gradient_free import GradientFree, without_gradients
from salus.models.foreign.known import FORMS, form_named, form_of, known_suffixes

__all__ = ["FORMS", "Built", "Form", "GradientFree", "form_named", "form_of", "known_suffixes", "without_gradients"]
