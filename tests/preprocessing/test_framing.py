"""How images are brought to a size: as Pillow, timm, torchvision and transformers do it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from salus.data import load
from salus.errors import OptionError
from salus.models.foreign.huggingface import _treatment
from salus.models.foreign.libraries import Timm, Torchvision
from salus.models.torchvision_ops import load_torchvision
from salus.preprocessing import ImagePreprocessor
from salus.preprocessing.framing import COVER, INTERPOLATIONS, Framing
from salus.preprocessing.saved import load_preprocessor, save_preprocessor

torchvision = load_torchvision()

#: Height and width of images that are tall, wide, square, small and of odd sizes.
SIZES = ((301, 200), (97, 333), (256, 256), (40, 61), (225, 224))


def _photograph(height: int, width: int) -> Image.Image:
    """Draw an image with smooth parts, edges and noise."""
    rng = np.random.default_rng(height * 1000 + width)
    y, x = np.mgrid[:height, :width] / max(height, width)
    waves = [127 + 120 * np.sin(9 * (k + 1) * x + 5 * (2 - k) * y * y) for k in range(3)]
    levels = np.stack(waves, -1) + rng.normal(0, 15, (height, width, 3))
    levels[height // 3 : height // 2, width // 4 : width // 2] = (0, 255, 40)
    return Image.fromarray(levels.clip(0, 255).astype(np.uint8))


def _difference(framing: Framing, image: Image.Image, size: tuple[int, int], theirs: np.ndarray[Any, Any]) -> int:
    ours = np.asarray(framing.picture(image, size)).transpose(2, 0, 1).astype(int)
    assert ours.shape == theirs.shape
    return int(np.abs(ours - theirs).max())


@pytest.mark.parametrize("own", SIZES)
@pytest.mark.parametrize("mode", ["center", "squash", "border"])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_images_are_framed_as_timms_own_transform_does(
    interpolation: str, mode: str, own: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    timm = pytest.importorskip("timm", reason="the extra timm is not installed")
    from timm.data.transforms_factory import create_transform

    image = _photograph(*own)
    for side, crop in ((64, 0.875), (160, 0.95), (224, 1.0)):
        config = timm.get_pretrained_cfg("test_resnet")
        for name, value in (("crop_pct", crop), ("crop_mode", mode), ("interpolation", interpolation)):
            setattr(config, name, value)
        config.input_size = (3, side, side)
        monkeypatch.setattr(timm, "get_pretrained_cfg", lambda network, config=config: config)
        treatment = Timm().treatment("test_resnet", {})
        assert treatment is not None and treatment.size == (side, side) and not treatment.unframed
        transform = create_transform(
            side, interpolation=interpolation, crop_pct=crop, crop_mode=mode, mean=config.mean, normalize=False
        )
        theirs = transform(image).numpy().astype(int)
        assert _difference(treatment.framing(treatment.size), image, treatment.size, theirs) <= 1


def test_sides_of_different_length_are_rounded_as_timm_rounds() -> None:
    pytest.importorskip("timm", reason="the extra timm is not installed")
    from timm.data.transforms_factory import create_transform

    for own in SIZES:
        image = _photograph(*own)
        theirs = create_transform((96, 128), interpolation="bicubic", crop_pct=0.9, normalize=False)(image).numpy()
        assert _difference(Framing("bicubic", "centre", (106, 142)), image, (96, 128), theirs.astype(int)) <= 1


def test_torchvisions_networks_are_given_what_its_own_transform_makes() -> None:
    models = torchvision.models
    for network in ("resnet50", "efficientnet_b3", "vit_b_16"):
        treatment = Torchvision().treatment(network, {})
        assert treatment is not None and treatment.size is not None
        transform = models.get_model_weights(network).DEFAULT.transforms()
        mean, std = (torch.tensor(value)[:, None, None] for value in (treatment.mean, treatment.std))
        for own in SIZES[:3]:
            image = _photograph(*own)
            theirs = ((transform(image) * std + mean) * 255).round().numpy().astype(int)
            assert _difference(treatment.framing(treatment.size), image, treatment.size, theirs) <= 1


@pytest.mark.parametrize(
    "config",
    [
        {"size": {"height": 64, "width": 64}, "resample": 2},
        {
            "size": {"shortest_edge": 73},
            "crop_size": {"height": 64, "width": 64},
            "do_center_crop": True,
            "resample": 3,
        },
        {"size": {"shortest_edge": 224}, "crop_pct": 0.875, "resample": 3, "convnext": True},
        {"size": {"shortest_edge": 384}, "crop_pct": 0.875, "resample": 3, "convnext": True},
    ],
    ids=["squashed", "shorter side", "share", "share of large ones"],
)
def test_images_are_framed_as_transformers_own_processor_does(config: dict[str, Any]) -> None:
    transformers = pytest.importorskip("transformers", reason="the extra transformers is not installed")
    kinds = {"squashed": "ViTImageProcessor", "shorter": "CLIPImageProcessor", "convnext": "ConvNextImageProcessor"}
    kind = "convnext" if config.pop("convnext", False) else "shorter" if "crop_size" in config else "squashed"
    treatment = _treatment(config)
    assert treatment is not None and treatment.size is not None
    processor = getattr(transformers, kinds[kind])(**config, do_normalize=False, do_rescale=False)
    for own in (size for size in SIZES if min(size) > 64):  # of small ones torchvision's enlargement differs by 2
        image = _photograph(*own)
        theirs = np.asarray(processor(image, return_tensors="np")["pixel_values"][0]).round().astype(int)
        assert _difference(treatment.framing(treatment.size), image, treatment.size, theirs) <= 1


framings = st.builds(
    Framing,
    interpolation=st.sampled_from(INTERPOLATIONS),
    mode=st.sampled_from(["centre", "squash", "border"]),
    scaled=st.one_of(st.none(), st.tuples(st.integers(1, 30), st.integers(1, 30))),
    floor=st.booleans(),
    fill=st.sampled_from([(), (7,), (200, 3, 90)]),
) | st.builds(Framing, interpolation=st.sampled_from(INTERPOLATIONS))


@settings(max_examples=120, deadline=None)
@given(
    framing=framings,
    own=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    size=st.tuples(st.integers(1, 24), st.integers(1, 24)),
    seed=st.integers(0, 99),
)
def test_framing_in_torch_is_that_of_pillow(
    framing: Framing, own: tuple[int, int], size: tuple[int, int], seed: int
) -> None:
    levels = np.random.default_rng(seed).integers(0, 256, (*own, 3)).astype(np.uint8)
    theirs = np.asarray(framing.picture(Image.fromarray(levels), size)).transpose(2, 0, 1)
    ours = framing.tensor(torch.from_numpy(levels.transpose(2, 0, 1).copy())[None].double(), size, 255)[0].numpy()
    assert ours.shape == (3, *size)
    assert np.abs(ours - theirs).max() <= 1.6  # Pillow rounds twice
    assert Framing.parse(framing.text) == framing


def test_what_is_padded_has_the_levels_that_were_named() -> None:
    framing = Framing("bilinear", "border", (8, 8), fill=(10, 20, 30))
    x = framing.tensor(torch.full((1, 3, 4, 8), 255.0), (8, 8), 255)
    assert x[0, :, 0, 0].tolist() == [10, 20, 30] and x[0, :, 4, 4].tolist() == [255, 255, 255]
    assert framing.tensor(torch.full((1, 1, 4, 8), 65535.0), (8, 8), 65535)[0, 0, 0, 0] == 20 * 257


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("cubic", "'cubic' is no interpolation"),
        ("bicubic,bilinear", "says interpolation twice"),
        ("0", "no size before it is cropped"),
        ("centre,256x256x3", "'256x256x3' is no"),
        ("cover,256", "nothing more to say than the interpolation"),
        ("border,fill=256", "no level of 0 to 255"),
    ],
)
def test_words_that_say_nothing_are_refused(text: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        Framing.parse(text)
    with pytest.raises(OptionError, match="resize"):
        load("images", resize=text)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Photographs of several sizes, of two classes."""
    for number in range(24):
        path = tmp_path / "photographs" / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        _photograph(40 + 3 * number, 70 - number).save(path)
    return tmp_path / "photographs"


def test_images_of_files_and_in_memory_are_framed_alike_after_saving_too(folder: Path, tmp_path: Path) -> None:
    data = load(folder, size=32, resize="bicubic,37", split="all").test
    made = data.preprocessor
    assert isinstance(made, ImagePreprocessor)
    assert made.framing == Framing("bicubic", "centre", (37, 37))
    assert "scaled bicubic to cover 37x37 pixels, then the middle 32x32 kept" in made.describe()
    assert any("bicubic" in note for note in data.provenance.notes)
    plain = load(folder, size=32, split="all").test
    assert isinstance(plain.preprocessor, ImagePreprocessor) and plain.preprocessor.framing == COVER
    assert made.fingerprint() != plain.preprocessor.fingerprint()
    assert "framing" not in plain.preprocessor.settings()
    (tmp_path / "saved").mkdir()
    save_preprocessor(made, tmp_path / "saved")
    again = load_preprocessor(tmp_path / "saved")
    assert again is not None
    assert again == made or again.fingerprint() == made.fingerprint()
    place = data.names.index("a/4.png")
    raw = np.array(_photograph(52, 66))
    for raw_image in ([raw], raw.transpose(2, 0, 1)[None]):
        assert torch.equal(again.transform(raw_image).x[0], data.x[place])
    floats = again.transform(torch.from_numpy(raw.transpose(2, 0, 1)[None].astype(np.float32)))
    assert (floats.x[0] - data.x[place]).abs().max() <= 1.6 / 255


def test_a_way_of_scaling_without_a_size_is_refused(folder: Path) -> None:
    with pytest.raises(OptionError, match="not to which size; add it: --size"):
        load(folder, resize="bicubic")
