"""The readers of files on bytes that nobody wrote: no crash, no hang, no more memory than is due.

Each reads random bytes, and valid files that were cut, lengthened, overwritten or had a word or a
number replaced; what has a structure behind its checksums, a net's header or a state dict, is also
spoilt from within. 200 examples of each every day, 20,000 in the long form. Not tested here: that a
given fault is told in the right words, see tests/robustness/test_bad_input.py.
"""

from __future__ import annotations

import gc
import gzip
import io
import json
import re
import struct
import time
import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import safetensors.torch
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

import linfkit as lk
from linfkit.data.formats import FREE, read_cifar, read_idx
from linfkit.data.image_folders import FORMATS, read_image
from linfkit.nn.checkpoints import read_tensors, save_model

#: PyTorch has its doubts about some files, and says so, before it fails to read them.
pytestmark = pytest.mark.filterwarnings("ignore")

SECONDS = 2.0
EVERY_DAY, LONG = 200, 20_000

#: What a reader may take beside the file: a few copies of it, and what Python needs for any.
COPIES, ROOM = 4, 2**19


def saved(net: torch.nn.Module, folder: Path) -> bytes:
    save_model(folder / "net.safetensors", net, header={"recipe": "", "history": []})
    return (folder / "net.safetensors").read_bytes()


def small_nets() -> list[torch.nn.Module]:
    members = [lk.LpDistNet(4, 3, 2, 2) for _ in range(2)]
    hybrids = [lk.HybridNet(member, 3) for member in members]
    return [
        members[0],
        lk.SortNet(4, 3, 3, 2, rho=0.3),
        lk.Ensemble(members),
        lk.HybridEnsemble(hybrids),
        lk.VotingEnsemble(members, 2.0),
    ]


def original_state() -> dict[str, torch.Tensor]:
    return {
        "fc_dist.0.weight": torch.ones(3, 4),
        "fc_dist.0.mean_shift.running_mean": torch.zeros(3),
        "fc_dist.1.weight": torch.ones(2, 3),
        "fc_dist.1.bias": torch.zeros(2),
        "scalar": torch.ones(1),
    }


def hybrid_state() -> dict[str, torch.Tensor]:
    return {
        "fc_dist.0.weight": torch.ones(3, 4),
        "fc_dist.0.mean_shift.running_mean": torch.zeros(3),
        "fc_linear.0.weight": torch.ones(5, 3),
        "fc_linear.0.bias": torch.zeros(5),
        "fc_final.weight": torch.ones(2, 5),
        "fc_final.bias": torch.zeros(2),
    }


def first_state() -> dict[str, torch.Tensor]:
    """Of the first of the papers' codes, which has its names and shapes."""
    return {
        "feature.fc.0.weight": torch.ones(3, 4, 1, 1),
        "feature.fc.0.normalize.running_mean": torch.zeros(3),
        "feature.fc_last.weight": torch.ones(2, 3, 1, 1),
        "feature.fc_last.bias": torch.zeros(2),
    }


def fusion_state() -> dict[str, torch.Tensor]:
    return {f"model_list.{i}.{name}": x for i in (0, 1) for name, x in first_state().items()}


def written_by_torch(content: object, **options: Any) -> bytes:
    file = io.BytesIO()
    torch.save(content, file, **options)
    return file.getvalue()


IMAGES = struct.pack(">4B3I", 0, 0, 8, 3, 3, 4, 5) + bytes(range(60))
BATCH = b"".join(bytes([label]) + bytes(3072) for label in range(3))
FINE_BATCH = b"".join(bytes([label, 99 - label]) + bytes(3072) for label in range(3))
RECIPES = [lk.load_recipe(name).to_toml().encode() for name in ("digits-small", "digits-hybrid")]


def image_files(kind: str) -> list[bytes]:
    """A grey image, a coloured one and one with a palette, in one of the formats of folders."""
    modes = ("L", "RGB") if kind in ("JPEG", "PPM", "WEBP") else ("L", "RGB", "P")
    files = []
    for mode in modes:
        file = io.BytesIO()
        Image.radial_gradient("L").resize((9, 9)).convert(mode).save(file, kind)
        files.append(file.getvalue())
    return files


class Reader(NamedTuple):
    file: str
    valid: Callable[[Path], list[bytes]]
    read: Callable[[Path], object]


READERS = {
    "idx": Reader("images", lambda _: [IMAGES], partial(read_idx, dimensions=3)),
    "idx, gzipped": Reader(
        "images.gz", lambda _: [gzip.compress(IMAGES)], partial(read_idx, dimensions=3)
    ),
    "cifar": Reader("batch.bin", lambda _: [BATCH], read_cifar),
    "cifar 100": Reader(
        "train.bin", lambda _: [FINE_BATCH], partial(read_cifar, classes=100, label_bytes=2)
    ),
    **{
        f"image {kind}": Reader("image", lambda _, kind=kind: image_files(kind), read_image)
        for kind in FORMATS
    },
    "recipe": Reader("mine.toml", lambda _: RECIPES, lk.load_recipe),
    "tensors": Reader(
        "net.safetensors", lambda at: [saved(net, at) for net in small_nets()], read_tensors
    ),
    "net": Reader(
        "net.safetensors", lambda at: [saved(net, at) for net in small_nets()], lk.load_model
    ),
    "original": Reader(
        "model.pth",
        lambda _: [
            written_by_torch(original_state()),
            written_by_torch({"state_dict": hybrid_state()}, _use_new_zipfile_serialization=False),
            written_by_torch({"state_dict": fusion_state()}),
        ],
        partial(lk.load_original, rho=0),
    ),
}

#: What stands in the place of a word or a number.
WORDS = [
    b"", b"0", b"-1", b"9" * 9, b"9" * 400, b"0.5", b"1e999", b"nan", b"NaN", b"inf", b"Infinity",
    b"null", b"true", b'"', b'""', b"[", b"]", b"[" * 2000, b"{}", b"{", b"\n", b"\x00", b"\xff",
    b"1979-05-27", b"0x" + b"f" * 5000, b"module.", b"self",
]  # fmt: skip


@st.composite
def spoilt(draw: st.DrawFn, valid: list[bytes]) -> bytes:
    """Random bytes, or one of the valid files after a few changes."""
    if draw(st.integers(0, 9)) == 0:
        return draw(st.binary(max_size=300))
    content = bytearray(draw(st.sampled_from(valid)))
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, min(len(content), 10**4)))
        match draw(st.sampled_from(["cut", "lengthen", "overwrite", "count", "word", "word"])):
            case "cut":
                del content[place : place + draw(st.integers(1, 10**4))]
            case "lengthen":
                content[place:place] = draw(st.binary(min_size=1, max_size=50))
            case "overwrite":
                written = draw(st.binary(min_size=1, max_size=8))
                content[place : place + len(written)] = written
            case "count":
                number = draw(st.sampled_from([0, 1, 255, 2**16, 2**24, 2**31, 2**32 - 1]))
                place = 4 * draw(st.integers(0, 4))
                order = draw(st.sampled_from([">I", "<I"]))
                content[place : place + 4] = struct.pack(order, number)
            case "word":
                words = list(re.finditer(rb"[\w.+-]+", bytes(content[:4000])))
                if words:
                    start, end = draw(st.sampled_from(words)).span()
                    content[start:end] = draw(st.sampled_from(WORDS))
    return bytes(content)


def documented(read: Callable[[], object]) -> None:
    """It reads, or says why not, and soon."""
    gc.disable()  # a collection of all that thousands of examples left is not the reader's time
    try:
        started = time.process_time()  # the processor's, so that a busy machine fails nothing
        with suppress(ValueError):
            read()
        assert time.process_time() - started < SECONDS
    finally:
        gc.enable()


def fuzzing(examples: int) -> settings:
    return settings(
        max_examples=examples,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


def every_day_and_long(strategies: dict[str, Callable[..., Any]]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(
        ("name", "examples"),
        [
            pytest.param(name, examples, marks=marks, id=f"{name}-{examples}")
            for name in strategies
            for examples, marks in [(EVERY_DAY, ()), (LONG, pytest.mark.long)]
        ],
    )


@every_day_and_long(READERS)
def test_a_reader_reads_or_refuses(name, examples, tmp_path):
    reader = READERS[name]
    valid = reader.valid(tmp_path)
    path = tmp_path / reader.file

    @fuzzing(examples)
    @given(content=spoilt(valid))
    def reads_or_refuses(content: bytes) -> None:
        path.write_bytes(content)
        documented(lambda: reader.read(path))

    for content in valid:
        path.write_bytes(content)
        reader.read(path)
    reads_or_refuses()


IMAGE_READERS = {name: READERS[name] for name in ("idx", "idx, gzipped", "cifar", "cifar 100")}


@every_day_and_long(IMAGE_READERS)
def test_a_reader_of_images_takes_no_more_memory_than_a_few_files(name, examples, tmp_path):
    reader = IMAGE_READERS[name]
    path = tmp_path / reader.file

    @fuzzing(examples)
    @given(content=spoilt(reader.valid(tmp_path)))
    def takes_little(content: bytes) -> None:
        path.write_bytes(content)
        assert peak(lambda: documented(lambda: reader.read(path))) < COPIES * len(content) + ROOM

    takes_little()


def peak(call: Callable[[], object]) -> int:
    """Bytes that Python and NumPy held at most during a call, beyond those before it."""
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("count", [1, 1000, 2**31])
def test_a_gigabyte_of_zeros_in_a_megabyte_is_not_unpacked(count, tmp_path):
    path = tmp_path / "images.gz"
    header = struct.pack(">4B3I", 0, 0, 8, 3, count, 1000, 1000)
    path.write_bytes(gzip.compress(header) + 1000 * gzip.compress(bytes(10**6)))
    assert path.stat().st_size < 2 * 10**6

    def refused() -> None:
        with pytest.raises(
            ValueError, match=r"images\.gz: (its header declares|more bytes follow)"
        ):
            read_idx(path, dimensions=3)

    assert peak(lambda: documented(refused)) < COPIES * path.stat().st_size + ROOM


def test_a_small_file_of_many_equal_pixels_is_still_read(tmp_path):
    path = tmp_path / "images.gz"
    path.write_bytes(gzip.compress(struct.pack(">4B3I", 0, 0, 8, 3, 10, 1000, 1000) + bytes(10**7)))
    images = None

    def read() -> None:
        nonlocal images
        images = read_idx(path, dimensions=3)

    assert peak(read) < COPIES * FREE
    assert images.shape == (10, 1000, 1000)


def test_an_archive_of_several_disks_is_refused(tmp_path):
    path, content = tmp_path / "model.pth", bytearray(written_by_torch(original_state()))
    disks = content.index(b"PK\x06\x07") + 16
    content[disks : disks + 4] = struct.pack("<I", 2)
    path.write_bytes(content)
    with pytest.raises(ValueError, match="it is damaged"):
        lk.load_original(path)


# --- what stands behind a checksum, spoilt from within

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.sampled_from([0, -1, 1, 2, 3, 10**6, 10**18, 10**30, 0.5, float("nan"), float("inf")])
    | st.sampled_from(
        ["", "inf", "nan", "many", "LpDistNet", "HybridNet", "LpDistVGG", "Ensemble"]
    ),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["class", "arguments", "models", "net", "p"]), inner)
    ),
    max_leaves=6,
)


@st.composite
def changed_within(draw: st.DrawFn, value: Any) -> Any:
    """The same JSON, but for one part of it, which is anything or gone."""
    if isinstance(value, dict) and value and draw(st.integers(0, 7)):
        key = draw(st.sampled_from(sorted(value)))
        if not draw(st.integers(0, 9)):
            return {name: part for name, part in value.items() if name != key}
        return {**value, key: draw(changed_within(value[key]))}
    if isinstance(value, list) and value and draw(st.booleans()):
        place = draw(st.integers(0, len(value) - 1))
        return [*value[:place], draw(changed_within(value[place])), *value[place + 1 :]]
    return draw(JSON)


@pytest.mark.parametrize("examples", [EVERY_DAY, pytest.param(LONG, marks=pytest.mark.long)])
def test_a_net_with_a_header_that_nobody_wrote(examples, tmp_path):
    path = tmp_path / "net.safetensors"
    nets = small_nets()
    headers = [{"model": net.architecture, "p": "inf"} for net in nets]

    @fuzzing(examples)
    @given(data=st.data())
    def reads_or_refuses(data: st.DataObject) -> None:
        which = data.draw(st.integers(0, len(nets) - 1))
        header = data.draw(changed_within(headers[which]))
        path.write_bytes(
            safetensors.torch.save(
                nets[which].state_dict(), metadata={"linfkit": json.dumps(header)}
            )
        )
        documented(lambda: lk.load_model(path))

    reads_or_refuses()


SHAPES = st.sampled_from(
    [
        (),
        (0,),
        (1,),
        (2,),
        (3,),
        (3, 4),
        (2, 3),
        (4, 3),
        (0, 4),
        (1, 1, 1),
        (3, 4, 1, 1),
        (2, 1, 3, 3),
    ]
)
DTYPES = st.sampled_from([torch.float32, torch.float64, torch.int64, torch.bool, torch.complex64])


@st.composite
def tensors(draw: st.DrawFn) -> Any:
    tensor = torch.ones(draw(SHAPES), dtype=draw(DTYPES))
    match draw(st.sampled_from(["as it is", "expand_user", "sparse", "none", "a list"])):
        case "expand_user" if tensor.numel() == 1:
            return tensor.reshape(1, 1).expand(10**6, draw(st.sampled_from([1, 10**6])))
        case "sparse" if tensor.dtype == torch.float32:
            return tensor.to_sparse()
        case "none":
            return None
        case "a list":
            return [1, 2]
    return tensor


ORIGINAL = original_state, hybrid_state, first_state, fusion_state
NAMES = st.sampled_from(
    [
        *(name for make in ORIGINAL for name in make()),
        *("fc_dist.2.weight", "fc_dist.9999999999.weight", "", 7),
        *("feature.conv1.0.weight", "feature.conv.0.weight", "model_list.9999.feature.fc.0.weight"),
        *("predictor.fc1.weight", "model_list.1.predictor.fc2.bias", "feature.layer1.0.weight"),
    ]
)


@pytest.mark.parametrize("examples", [EVERY_DAY, pytest.param(LONG, marks=pytest.mark.long)])
def test_an_original_checkpoint_of_tensors_that_nobody_trained(examples, tmp_path):
    path = tmp_path / "model.pth"

    @fuzzing(examples)
    @given(
        state=st.sampled_from([make() for make in ORIGINAL]),
        changes=st.dictionaries(NAMES, tensors(), max_size=3),
        gone=st.sets(NAMES, max_size=1),
    )
    def reads_or_refuses(state: dict[Any, Any], changes: dict[Any, Any], gone: set[Any]) -> None:
        content = {name: part for name, part in {**state, **changes}.items() if name not in gone}
        path.write_bytes(written_by_torch(content))
        documented(lambda: lk.load_original(path, rho=0))

    reads_or_refuses()
