"""Trees whose branches lead nowhere, or round in circles: libraries follow them without looking."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from salus.errors import ModelError


def refuse_tree(
    left: NDArray[Any], right: NDArray[Any], feature: NDArray[Any], leaf: NDArray[np.bool_], features: int, place: str
) -> None:
    """Check the branches of one tree.

    Args:
        left: place of the left child of each node ``[nodes]``.
        right: of the right one.
        feature: by which each node splits.
        leaf: which nodes are leaves.
        features: how many there are.
        place: how to name the file.

    Raises:
        ModelError: a child lies outside, has two parents, or cannot be reached; or a feature does not exist.
    """
    count = len(leaf)
    inner = np.flatnonzero(~leaf)
    children = np.concatenate([left[inner], right[inner]]).astype(np.int64)
    whole = count > 0 and bool(((children >= 1) & (children < count)).all())
    whole = whole and len(np.unique(children)) == len(children)
    whole = whole and bool(((feature[inner] >= 0) & (feature[inner] < features)).all())
    if whole:  # who has one parent and is not reached from the root goes round in a circle
        frontier, reached = np.array([0]), 0
        while len(frontier):
            splits = frontier[~leaf[frontier]]
            reached += len(splits)
            frontier = np.concatenate([left[splits], right[splits]]).astype(np.int64)
        whole = reached == len(inner)
    if not whole:
        raise ModelError(f"{place} holds a tree whose branches lead nowhere; it is damaged: take a fresh copy.")


def refuse_broken_trees(part: Any, place: str) -> None:
    """Check the trees of a part of a scikit-learn model.

    Raises:
        ModelError: one is broken.
    """
    tree: Any = getattr(part, "tree_", None)
    if hasattr(tree, "children_left"):
        left, right = np.asarray(tree.children_left), np.asarray(tree.children_right)
        refuse_tree(left, right, np.asarray(tree.feature), left == -1, int(tree.n_features), place)
    stages = getattr(part, "_predictors", None)
    for stage in stages if isinstance(stages, list) else []:
        for predictor in stage:
            nodes = predictor.nodes
            leaf, sets = nodes["is_leaf"].astype(bool), len(predictor.raw_left_cat_bitsets)
            features = int(getattr(part, "n_features_in_", 2**31))
            refuse_tree(nodes["left"], nodes["right"], nodes["feature_idx"], leaf, features, place)
            if bool((nodes["is_categorical"].astype(bool) & (nodes["bitset_idx"] >= sets)).any()):
                raise ModelError(f"{place} holds a tree that asks for categories that it lacks; take a fresh copy.")
