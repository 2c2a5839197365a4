"""Images: every level, every page, every orientation right, or refused with what would be right."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from salus.data import load
from salus.errors import DataError
from salus.preprocessing import ImagePreprocessor, Prepared
from salus.preprocessing.framing import COVER

ORIENTATION = 0x0112
MAX_SAMPLE, PHOTOMETRIC, BITS = 281, 262, 258


def levels(most: int, size: tuple[int, ...] = (6, 8), seed: int = 0) -> np.ndarray:
    """Levels from 0 to ``most``, both of which occur."""
    made = np.random.default_rng(seed).integers(0, most + 1, size)
    made[0, 0], made[-1, -1] = 0, most
    return made.astype(np.uint16 if most > 255 else np.uint8)


def made_for(channels: int = 1, size: tuple[int, int] = (6, 8), **settings: Any) -> ImagePreprocessor:
    return ImagePreprocessor(classes=("a", "b"), shape=(channels, *size), **settings)


def folder_of(folder: Path, images: Sequence[np.ndarray | Image.Image], suffix: str = ".png", **options: Any) -> Path:
    """Two classes, with all images in each."""
    for label in "ab":
        (folder / label).mkdir(parents=True)
        for number, image in enumerate(images):
            shown = image if isinstance(image, Image.Image) else Image.fromarray(image)
            shown.save(folder / label / f"{number}{suffix}", **options)
    return folder


def one(preprocessor: ImagePreprocessor, path: Path) -> Prepared:
    (prepared,) = preprocessor.stream(path)
    return prepared


def all_x(folder: Path, **options: Any) -> tuple[dict[str, torch.Tensor], Any]:
    splits = load(folder, split="all", **options)
    return dict(zip(splits.test.names, splits.test.x, strict=True)), splits.test


def as_pgm(image: np.ndarray, most: int) -> bytes:
    height, width = image.shape
    return f"P5 {width} {height} {most}\n".encode() + image.astype(">u2").tobytes()


def as_ppm(image: np.ndarray, most: int) -> bytes:
    height, width, _ = image.shape
    return f"P6 {width} {height} {most}\n".encode() + image.astype(">u2").tobytes()


def as_png16(image: np.ndarray) -> bytes:
    """A PNG of 16 bits a colour, which Pillow cannot write."""
    import struct
    import zlib

    height, width, _ = image.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in image)

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


# --- depth


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("bits", [10, 12])
def test_levels_of_fewer_than_16_bits_are_refused_until_one_says_how_many(
    tmp_path: Path, suffix: str, bits: int
) -> None:
    images = [levels(2**bits - 1, seed=seed) for seed in range(3)]
    folder = folder_of(tmp_path / "scans", images, suffix)
    with pytest.raises(DataError, match=rf"--bit-depth {bits}\) or 65535 \(--bit-depth 16\)"):
        load(folder, split="all")
    x, test = all_x(folder, bit_depth=bits)
    for number, image in enumerate(images):
        np.testing.assert_array_equal(x[f"a/{number}{suffix}"][0].numpy(), (image / np.float32(2**bits - 1)))
    assert test.preprocessor.white == 2**bits - 1
    x, _ = all_x(folder, bit_depth=16)
    np.testing.assert_array_equal(x[f"a/0{suffix}"][0].numpy(), images[0] / np.float32(65535))


def test_images_of_12_bits_are_not_hidden_by_one_of_8_among_them(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "mixed", [levels(4095), levels(255)])
    with pytest.raises(DataError, match=r"--bit-depth 12"):
        load(folder, split="all")
    x, _ = all_x(folder, bit_depth=12)
    np.testing.assert_array_equal(x["a/0.png"][0].numpy(), levels(4095) / np.float32(4095))
    np.testing.assert_allclose(x["a/1.png"][0].numpy(), levels(255) / 255, atol=0.5 / 4095)


def test_all_16_bits_are_read_without_a_question_whatever_else_is_in_the_folder(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "full", [levels(65535), levels(255)])
    x, test = all_x(folder)
    np.testing.assert_array_equal(x["a/0.png"][0].numpy(), levels(65535) / np.float32(65535))
    np.testing.assert_allclose(x["b/1.png"][0].numpy(), levels(255) / 255, atol=1e-7)
    assert "grey levels 0 to 65535 divided by 65535" in test.provenance.notes


def test_a_depth_below_the_levels_refuses_them(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "deep", [levels(4095)])
    with pytest.raises(DataError, match="has the level 4095, more than 1023"):
        load(folder, split="all", bit_depth=10)


def test_a_tiff_that_says_its_highest_level_is_read_without_a_question(tmp_path: Path) -> None:
    image = levels(4095) // 2  # dark, and known to be
    folder = folder_of(tmp_path / "scans", [image], ".tif", tiffinfo={MAX_SAMPLE: 4095})
    x, test = all_x(folder)
    np.testing.assert_array_equal(x["a/0.tif"][0].numpy(), image / np.float32(4095))
    assert test.preprocessor.white == 4095


def test_the_highest_level_that_an_image_happens_to_have_is_no_scale(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "scans", [levels(3000)], ".tif", tiffinfo={MAX_SAMPLE: 3000})
    with pytest.raises(DataError, match="--bit-depth 12"):
        load(folder, split="all")


def test_a_tiff_of_12_packed_bits_is_known_to_have_4095(tmp_path: Path) -> None:
    image = levels(4095)
    flat = image.astype(np.uint16).ravel()
    packed = np.stack([flat[::2] >> 4, (flat[::2] & 15) << 4 | flat[1::2] >> 8, flat[1::2] & 255], 1)
    content = BytesIO()
    Image.fromarray(np.zeros((6, 8), np.uint16)).save(content, "TIFF")
    with Image.open(BytesIO(content.getvalue())) as opened:
        offset = opened.tag_v2[273][0]  # type: ignore[attr-defined]
    tags = content.getvalue()
    entry = tags.index(BITS.to_bytes(2, "little") + b"\x03\0\x01\0\0\0")
    counts = (279).to_bytes(2, "little")
    place = tags.index(counts, 4)
    pixels = packed.astype(np.uint8).tobytes()
    tags = tags[: entry + 8] + b"\x0c\0" + tags[entry + 10 :]
    tags = tags[: place + 8] + len(pixels).to_bytes(4, "little") + tags[place + 12 :]
    path = tmp_path / "packed.tif"
    path.write_bytes(tags[:offset] + pixels)
    prepared = one(made_for(white=4095), path)
    assert not prepared.refused
    np.testing.assert_array_equal(prepared.x[0, 0].numpy(), image / np.float32(4095))


@pytest.mark.parametrize(("most", "depth"), [(65535, None), (4095, 12)])
def test_levels_that_count_from_white_are_turned_round(tmp_path: Path, most: int, depth: int | None) -> None:
    image = levels(most)
    folder = folder_of(tmp_path / "scans", [image], ".tif", tiffinfo={PHOTOMETRIC: 0})
    if depth is not None:
        with pytest.raises(DataError, match="--bit-depth 12"):
            load(folder, split="all")
    x, _ = all_x(folder, bit_depth=depth)
    np.testing.assert_array_equal(x["a/0.tif"][0].numpy(), (most - image) / np.float32(most))


def test_a_pgm_says_its_highest_level(tmp_path: Path) -> None:
    image = levels(4095)
    for label in "ab":
        (tmp_path / "pgm" / label).mkdir(parents=True)
        (tmp_path / "pgm" / label / "0.pgm").write_bytes(as_pgm(image, 4095))
    x, _ = all_x(tmp_path / "pgm")
    np.testing.assert_allclose(x["a/0.pgm"][0].numpy(), image / 4095, atol=0.5 / 65535)


def test_colours_of_16_bits_are_read_with_8_and_said_and_asked_about_where_they_may_use_fewer(tmp_path: Path) -> None:
    image = levels(65535, (6, 8, 3))
    for name, most in (("full", 65535), ("dark", 4095)):
        for label in "ab":
            (tmp_path / name / label).mkdir(parents=True)
            content = as_png16(levels(most, (6, 8, 3)))
            (tmp_path / name / label / "0.png").write_bytes(content)
    x, test = all_x(tmp_path / "full")
    np.testing.assert_allclose(x["a/0.png"].numpy(), image.transpose(2, 0, 1) / 65535, atol=1 / 255)
    assert "2 images: colours of 16 bits are read with 8" in test.provenance.notes
    with pytest.raises(DataError, match="--bit-depth 12"):
        load(tmp_path / "dark", split="all")
    with pytest.raises(DataError, match="has colours of 16 bits, of which only the upper 8"):
        load(tmp_path / "dark", split="all", bit_depth=12)


def test_colours_of_a_deep_ppm_are_on_its_own_scale_and_said(tmp_path: Path) -> None:
    image = levels(4095, (6, 8, 3))
    (tmp_path / "a.ppm").write_bytes(as_ppm(image, 4095))
    prepared = one(made_for(3), tmp_path / "a.ppm")
    np.testing.assert_allclose(prepared.x[0].numpy(), image.transpose(2, 0, 1) / 4095, atol=1 / 255)
    assert "colours of 16 bits are read with 8: 1 images" in prepared.notes


def test_a_guard_of_8_bits_refuses_16_that_may_be_any_and_takes_those_that_say_their_scale(tmp_path: Path) -> None:
    Image.fromarray(levels(4095)).save(tmp_path / "a.png")
    Image.fromarray(levels(4095)).save(tmp_path / "b.tif", tiffinfo={MAX_SAMPLE: 4095})
    refused = one(made_for(), tmp_path / "a.png").refused
    assert "is an image of 16 bits, where 8 are expected" in refused[0].reason
    np.testing.assert_allclose(
        one(made_for(), tmp_path / "b.tif").x[0, 0].numpy(), levels(4095) / 4095, atol=0.501 / 255
    )


def test_a_guard_of_12_bits_refuses_levels_above_and_takes_8_bits_by_their_own_white(tmp_path: Path) -> None:
    Image.fromarray(levels(65535)).save(tmp_path / "a.png")
    Image.fromarray(levels(255)).save(tmp_path / "b.png")
    assert one(made_for(white=4095), tmp_path / "a.png").refused[0].reason == "has the level 65535, more than 4095"
    np.testing.assert_allclose(
        one(made_for(white=4095), tmp_path / "b.png").x[0, 0].numpy(), levels(255) / 255, atol=0.5 / 4095
    )


def test_a_guard_of_16_bits_says_of_images_that_use_few_of_them(tmp_path: Path) -> None:
    Image.fromarray(levels(4095)).save(tmp_path / "a.png")
    prepared = one(made_for(white=65535), tmp_path / "a.png")
    assert "no level is above 4095, and white is 65535, as in training" in prepared.notes


# --- pages


@pytest.mark.parametrize(("suffix", "more"), [(".tif", {}), (".webp", {"lossless": True}), (".png", {})])
def test_several_pages_are_left_out_with_the_remedy_and_the_first_is_read_where_one_asks(
    tmp_path: Path, suffix: str, more: dict[str, Any]
) -> None:
    first, second = Image.fromarray(levels(255)), Image.fromarray(levels(255, seed=1))
    first.save(tmp_path / f"a{suffix}", save_all=True, append_images=[second], **more)
    (refused,) = one(made_for(), tmp_path / f"a{suffix}").refused
    assert refused.reason == "has 2 pages; keep one page a file, or read the first alone (--pages first)"
    prepared = one(made_for(pages="first"), tmp_path / f"a{suffix}")
    np.testing.assert_allclose(prepared.x[0, 0].numpy(), levels(255) / np.float32(255), atol=1e-6)
    assert "the first page is read of several: 1 images" in prepared.notes


def test_a_folder_with_one_of_several_pages_names_it_and_the_remedy(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "f", [levels(255)], ".tif")
    Image.fromarray(levels(255)).save(
        folder / "a" / "z.tif", save_all=True, append_images=[Image.fromarray(levels(255))] * 2
    )
    x, test = all_x(folder)
    assert "a/z.tif" not in x
    assert any("a/z.tif" in drop.reason and "--pages first" in drop.reason for drop in test.provenance.dropped)
    x, test = all_x(folder, pages="first")
    assert "a/z.tif" in x
    assert "1 images: the first page is read of several" in test.provenance.notes


def test_the_first_picture_of_a_phone_is_read_and_said(tmp_path: Path) -> None:
    flat = Image.new("RGB", (8, 6), (200, 30, 30))
    flat.save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=[Image.new("RGB", (8, 6), "blue")])
    prepared = one(made_for(3), tmp_path / "a.jpg")
    np.testing.assert_allclose(prepared.x[0, :, 3, 3].numpy(), np.array([200, 30, 30]) / 255, atol=3 / 255)
    assert "the first picture is read of the several that a camera stored: 1 images" in prepared.notes


# --- orientation

TURNS = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.T,
    6: lambda a: np.rot90(a),  # stored so that a turn by 270 degrees puts it upright
    7: lambda a: a[::-1, ::-1].T,
    8: lambda a: np.rot90(a, -1),
}


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif"])
def test_an_image_is_turned_upright(tmp_path: Path, suffix: str, orientation: int) -> None:
    upright = np.kron(levels(255, (3, 4)), np.ones((8, 8), np.uint8))  # blocks, which JPEG keeps
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    stored = np.ascontiguousarray(TURNS[orientation](upright))
    more: dict[str, Any] = {"quality": 100} if suffix == ".jpg" else {}
    folder = folder_of(tmp_path / "f", [stored], suffix, exif=exif, **more)
    x, test = all_x(folder)  # no size is given: what the head says must be right
    np.testing.assert_allclose(x[f"a/0{suffix}"][0].numpy(), upright / 255, atol=0.03 if suffix == ".jpg" else 1e-6)
    assert any("turned upright" in note for note in test.provenance.notes) == (orientation > 1)
    assert not test.preprocessor.resized
    path = folder / "a" / f"0{suffix}"
    in_memory = test.preprocessor.transform([Image.open(BytesIO(path.read_bytes()))])  # by name Pillow 13 misreads TIFF
    torch.testing.assert_close(in_memory.x, one(test.preprocessor, path).x, rtol=0, atol=0)


def test_an_orientation_that_stands_behind_the_pixels_is_no_reason_to_crop(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    folder = folder_of(tmp_path / "f", [levels(255), levels(255, seed=1)])
    content = BytesIO()
    Image.fromarray(levels(255)).save(content, "PNG", exif=exif)
    png = content.getvalue()
    start = png.index(b"eXIf") - 4
    length = 12 + int.from_bytes(png[start : start + 4], "big")
    end = png.index(b"IEND") - 4
    moved = png[:start] + png[start + length : end] + png[start : start + length] + png[end:]
    (folder / "a" / "z.png").write_bytes(moved)
    x, test = all_x(folder)
    assert "a/z.png" not in x
    assert any("has 8x6 pixels upright, the others 6x8" in drop.reason for drop in test.provenance.dropped)


# --- colours


def coloured() -> Image.Image:
    return Image.fromarray(levels(255, (6, 8, 3)))


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA", "CMYK"])
def test_every_mode_becomes_grey_or_colours_as_pillow_converts_it(tmp_path: Path, mode: str) -> None:
    image = coloured().convert(mode)
    suffix = ".tif" if mode == "CMYK" else ".png"
    image.save(tmp_path / f"a{suffix}")
    for channels, shown in ((1, image.convert("L")), (3, image.convert("RGB"))):
        prepared = one(made_for(channels), tmp_path / f"a{suffix}")
        expected = np.asarray(shown).reshape(6, 8, channels).transpose(2, 0, 1) / np.float32(255)
        np.testing.assert_array_equal(prepared.x[0].numpy(), expected)
        in_memory = made_for(channels).transform([image])
        np.testing.assert_array_equal(in_memory.x[0].numpy(), expected)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_what_is_transparent_is_white_and_said(tmp_path: Path, mode: str) -> None:
    if mode == "P":
        image: Image.Image = Image.new("P", (8, 6), 0)
        image.putpalette([0, 0, 0])
        image.save(tmp_path / "a.png", transparency=0)
    else:
        Image.new(mode, (8, 6), (0, 0, 0, 0)[: len(mode)]).save(tmp_path / "a.png")
    prepared = one(made_for(), tmp_path / "a.png")
    assert prepared.x.min() == 1
    assert "transparent parts are white: 1 images" in prepared.notes


@pytest.mark.parametrize("mode", ["F", "I"])
def test_modes_without_a_known_range_are_refused_from_files_and_from_memory(tmp_path: Path, mode: str) -> None:
    image = Image.fromarray(np.arange(48, dtype=np.float32 if mode == "F" else np.int32).reshape(6, 8))
    image.save(tmp_path / "a.tif")
    reason = f"is of mode {mode}, whose range of values is not known"
    assert one(made_for(), tmp_path / "a.tif").refused[0].reason == reason
    with pytest.raises(DataError, match=reason):
        made_for().transform([image])


# --- size


@settings(max_examples=40)
@given(
    own=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    target=st.tuples(st.integers(1, 24), st.integers(1, 24)),
    seed=st.integers(0, 99),
)
def test_scaling_in_torch_is_that_of_pillow(own: tuple[int, int], target: tuple[int, int], seed: int) -> None:
    image = np.random.default_rng(seed).integers(0, 256, own).astype(np.float32)
    theirs = ImageOps.fit(Image.fromarray(image), target[::-1], method=Image.Resampling.BILINEAR)
    ours = COVER.tensor(torch.from_numpy(image)[None, None].double(), target, 255)[0, 0].numpy()
    assert np.abs(ours - np.asarray(theirs)).max() <= 1
    rounded = ImageOps.fit(Image.fromarray(image.astype(np.uint8)), target[::-1], method=Image.Resampling.BILINEAR)
    assert np.abs(ours - np.asarray(rounded)).max() <= 1.5  # Pillow rounds twice


def test_the_same_size_is_left_exactly_as_it_is() -> None:
    image = torch.rand(2, 3, 7, 9)
    assert torch.equal(COVER.tensor(image, (7, 9), 1), image)


@settings(max_examples=25)
@given(
    own=st.tuples(st.integers(2, 30), st.integers(2, 30)),
    channels=st.sampled_from([1, 3]),
    wanted=st.sampled_from([1, 3]),
    seed=st.integers(0, 99),
)
def test_whole_numbers_in_memory_are_prepared_as_files_and_floats_within_a_level(
    tmp_path_factory: pytest.TempPathFactory, own: tuple[int, int], channels: int, wanted: int, seed: int
) -> None:
    image = np.random.default_rng(seed).integers(0, 256, (*own, channels)).astype(np.uint8)
    shown = Image.fromarray(image[..., 0] if channels == 1 else image)
    path = tmp_path_factory.mktemp("one") / "a.png"
    shown.save(path)
    preprocessor = made_for(wanted)
    from_file = one(preprocessor, path).x
    tensor = torch.from_numpy(image.transpose(2, 0, 1)[None].copy())
    for raw in (tensor, tensor.long(), tensor.numpy(), [shown], [np.asarray(shown)]):
        prepared = preprocessor.transform(raw)
        assert torch.equal(prepared.x, from_file)
        assert prepared.names == ("image 1",)
    assert (preprocessor.transform(tensor.float()).x - from_file).abs().max() <= 1.6 / 255


def test_deep_whole_numbers_are_prepared_as_files_and_uint8_is_always_8_bits(tmp_path: Path) -> None:
    preprocessor = made_for(white=4095, size=(5, 5))
    Image.fromarray(levels(4095)).save(tmp_path / "a.png")
    Image.fromarray(levels(255)).save(tmp_path / "b.png")
    deep = torch.from_numpy(levels(4095).astype(np.int64))[None, None]
    assert torch.equal(preprocessor.transform(deep).x, one(preprocessor, tmp_path / "a.png").x)
    assert (preprocessor.transform(deep.float()).x - preprocessor.transform(deep).x).abs().max() <= 1 / 4095
    shallow = torch.from_numpy(levels(255))[None, None]
    assert torch.equal(preprocessor.transform(shallow).x, one(preprocessor, tmp_path / "b.png").x)


def test_deep_colours_in_memory_keep_their_depth() -> None:
    raw = torch.from_numpy(levels(4095, (6, 8, 3)).astype(np.int64).transpose(2, 0, 1)[None].copy())
    x = made_for(3, white=4095).transform(raw).x
    np.testing.assert_array_equal(x.numpy(), (raw.float() / 4095).numpy())
    assert made_for(1, white=4095).transform(raw).x.shape == (1, 1, 6, 8)


def test_a_pillow_image_of_a_deep_tiff_is_prepared_as_its_file(tmp_path: Path) -> None:
    for name, tags in (("a", {PHOTOMETRIC: 0, MAX_SAMPLE: 4095}), ("b", {MAX_SAMPLE: 4095}), ("c", {PHOTOMETRIC: 0})):
        Image.fromarray(levels(4095)).save(tmp_path / f"{name}.tif", tiffinfo=tags)
        preprocessor = made_for(white=4095)
        in_memory = preprocessor.transform([Image.open(tmp_path / f"{name}.tif")])
        assert torch.equal(in_memory.x, one(preprocessor, tmp_path / f"{name}.tif").x)


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (torch.zeros(2, 6, 8, 3, dtype=torch.uint8), r"\[2, 6, 8, 3\]"),
        (torch.zeros(6, 8), r"\[6, 8\]"),
        (torch.full((1, 1, 6, 8), 256), "levels from 256 to 256"),
        (torch.full((1, 1, 6, 8), float("nan")), "levels from nan"),
        (torch.full((1, 1, 6, 8), -1.0), "within 0 and 255"),
        (np.array(["a"]), "no array of numbers"),
        ([np.zeros((6, 8, 3), np.uint16)], r"uint16 \[6, 8, 3\]"),
        ([np.zeros((6, 8, 5), np.uint8)], r"uint8 \[6, 8, 5\]"),
        ([np.zeros((6, 8))], "float64"),
    ],
)
def test_what_is_no_image_in_memory_is_refused_in_a_sentence(raw: Any, said: str) -> None:
    with pytest.raises(DataError, match=said):
        made_for().transform(raw)


def test_nothing_gives_nothing() -> None:
    assert made_for().transform(torch.zeros(0, 1, 6, 8, dtype=torch.uint8)).x.shape == (0, 1, 6, 8)
    assert made_for().transform(torch.zeros(0, 1, 6, 8)).x.shape == (0, 1, 6, 8)


def test_doubles_become_what_the_model_takes() -> None:
    assert made_for().transform(torch.zeros(1, 1, 6, 8, dtype=torch.float64)).x.dtype == torch.float32


def test_another_size_than_training_had_is_said(tmp_path: Path) -> None:
    Image.fromarray(levels(255, (12, 16))).save(tmp_path / "a.png")
    said = "scaled and cropped from another size than training had: 1 images"
    assert said in one(made_for(), tmp_path / "a.png").notes
    assert said not in one(made_for(resized=True), tmp_path / "a.png").notes
