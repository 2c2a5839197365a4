"""Skin lesions for the person who decides: what attacks do to patients, and what helps."""
