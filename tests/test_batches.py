from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from salus.attacks import PGD
from salus.batches import MOST_VALUES, filled_up, rows_at_once, share_gpu, values_of_gpu

if TYPE_CHECKING:
    from conftest import Toy


def test_small_samples_keep_their_batches_and_large_ones_get_smaller() -> None:
    assert rows_at_once(torch.empty(5, 1, 28, 28), 512) == 512
    assert rows_at_once(torch.empty(5, 3, 32, 32), 1024) == 1024
    photos = rows_at_once(torch.empty(1, 3, 150, 200), 512)
    assert 1 < photos < 512
    assert rows_at_once(torch.empty(1, 3, 5000, 5000), 512) == 1
    assert rows_at_once(torch.empty(0, 3, 8, 8), 512) == 512


def test_smaller_batches_change_no_answer_and_no_attack(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = toy.test.x[:60], toy.test.y[:60]
    attack, guard = PGD(eps=0.05, steps=4), toy.guard()

    def everything() -> list[torch.Tensor]:
        return [toy.classifier.predict(x), attack(toy.classifier, x, y), guard(x).probabilities]

    before = everything()
    monkeypatch.setitem(MOST_VALUES, "cpu", 8 * 7)
    assert rows_at_once(x, 512) == 7
    for one, other in zip(before, everything(), strict=True):
        assert torch.allclose(one, other, atol=1e-6)


def test_batches_are_filled_up_to_few_sizes_by_an_eighth_at_most() -> None:
    sizes = []
    for n in range(1, 513):
        x = torch.arange(float(n))[:, None]
        filled = filled_up(x)
        assert torch.equal(filled[:n], x)
        assert n <= len(filled) <= n * 9 / 8
        sizes.append(len(filled))
    assert len(set(sizes)) <= 8 * 9
    assert sizes[:15] == list(range(1, 16)), "one input is not made more"
    assert sizes[127] == 128 and sizes[511] == 512
    assert len(filled_up(torch.empty(0, 3))) == 0


def test_small_gpus_and_shares_of_one_get_smaller_batches() -> None:
    assert values_of_gpu(140 * 2**30, 1.0) > MOST_VALUES["cuda"]
    assert values_of_gpu(8 * 2**30, 1.0) < MOST_VALUES["cuda"]
    assert values_of_gpu(8 * 2**30, 0.25) == values_of_gpu(2 * 2**30, 1.0)
    assert values_of_gpu(1, 0.1) == 1


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_process_keeps_to_its_share_of_a_gpu() -> None:
    whole = rows_at_once(torch.empty(1, 3, 512, 512, device="cuda"), 10**6)
    try:
        share_gpu(0.01)
        assert rows_at_once(torch.empty(1, 3, 512, 512, device="cuda"), 10**6) < whole
        with pytest.raises(torch.cuda.OutOfMemoryError):
            torch.empty(torch.cuda.get_device_properties(0).total_memory // 50, dtype=torch.uint8, device="cuda")
    finally:
        share_gpu(1.0)
