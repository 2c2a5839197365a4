"""In which precision a training computes."""

from __future__ import annotations

import pytest
import torch

from salus.models import build_model
from salus.training import Mixed
from salus.training.precision import settle


@pytest.mark.parametrize("has", [True, False])
def test_auto_is_bfloat16_where_a_processor_has_instructions_for_it(has: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": has})
    assert settle("auto", "cpu") == ("bfloat16" if has else "float32")
    assert settle("float32", "cpu") == "float32" and settle("bfloat16", "cpu") == "bfloat16"
    net, x = torch.nn.Linear(64, 3), torch.linspace(0, 1, 128).reshape(2, 64)
    auto, exact = Mixed(net, "auto")(x), Mixed(net, "float32")(x)
    assert auto.dtype == torch.float32 and torch.equal(auto, exact) == (not has)


def test_convolutions_channel_by_channel_stay_in_float32() -> None:
    net = build_model("efficientnet-lite0", (3, 32, 40), 3).eval()
    seen: dict[str, torch.dtype] = {}
    for name, module in net.named_modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_hook(lambda _, __, out, name=name: seen.__setitem__(name, out.dtype))
    x = torch.rand(2, 3, 32, 40)
    logits = Mixed(net, "bfloat16")(x)
    wide = {dtype for name, dtype in seen.items() if "depthwise" in name}
    assert wide == {torch.float32} and torch.bfloat16 in {dtype for name, dtype in seen.items() if "expand" in name}
    torch.testing.assert_close(logits, net(x), rtol=0.1, atol=0.1)
