"""Decoded images that all processes share: filled by whoever comes first, the same for all, and gone with the last."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
import torch
from made_samples import boxes_of
from made_sets import annotation, assert_one_sentence, content, write_annotations
from made_sets import image as entry
from PIL import Image
from sources import Squares
from torch import distributed as dist

from rtmdet_lab.config.overrides import with_overrides
from rtmdet_lab.config.presets import resolve
from rtmdet_lab.config.settings import ExperimentConfig
from rtmdet_lab.core.distributed import one_per_machine
from rtmdet_lab.core.errors import DataError, SettingError, StorageError
from rtmdet_lab.data import image_cache
from rtmdet_lab.data.coco import CocoDataset
from rtmdet_lab.data.dota import DotaDataset
from rtmdet_lab.data.image_cache import ImageCache, cache_for
from rtmdet_lab.data.loaders import PipelineDataset, TrainSampler, make_loader
from rtmdet_lab.data.reading import Reading, with_reading
from rtmdet_lab.data.records import PackedText
from rtmdet_lab.engine.stages import open_cache, plan_stages
from rtmdet_lab.transforms.base import image_size, to_image

pytestmark = pytest.mark.lengthy

COUNT = 10


def make_set(folder: Path, suffix: str = "jpg", said: bool = True) -> CocoDataset:
    """Returns images of different sizes; ``said``: the annotation file has them."""
    folder.mkdir(exist_ok=True)
    images, objects = [], []
    for number in range(1, COUNT + 1):
        height, width = 60 + number, 150 - 7 * number
        pixels = np.random.default_rng(number).integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.{suffix}", quality=90)
        size = (height, width) if said else (0, 0)
        images.append(entry(number, size, file_name=f"{number}.{suffix}"))
        objects.append(annotation(number, number, bbox=(5, 5, width - 10, height - 10)))
    return CocoDataset(folder, write_annotations(folder / "objects.json", content(images, objects)), training=True)


def pixels_of(source) -> list[torch.Tensor]:
    return [source.load(index)[0].as_subclass(torch.Tensor).clone() for index in range(len(source))]


def assert_equal(first: list[torch.Tensor], second: list[torch.Tensor]) -> None:
    assert len(first) == len(second)
    assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))


def remove_images(folder: Path) -> None:
    for path in folder.iterdir():
        if path.suffix != ".json":
            path.unlink()


@pytest.fixture
def source(tmp_path):
    return make_set(tmp_path / "set")


# What is kept ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["jpg", "png"])
@pytest.mark.parametrize("said", [True, False], ids=["sizes said", "sizes from headers"])
@pytest.mark.parametrize("side", [None, 40], ids=["whole", "reduced"])
def test_second_load_needs_no_file(tmp_path, suffix, said, side):
    source = make_set(tmp_path / "set", suffix, said)
    plain = with_reading(source, Reading(side))
    kept = with_reading(source, Reading(side, cache_for(source, side)))
    expected = [plain.load(index) for index in range(COUNT)]
    assert max(max(image_size(image)) for image, _ in expected) == (72 if side and suffix == "jpg" else 143)
    for _ in range(2):
        for index, (image, target) in enumerate(expected):
            found, moved = kept.load(index)
            assert torch.equal(found, image)
            assert boxes_of(moved) == boxes_of(target)
            assert moved["meta"] == target["meta"]
        remove_images(tmp_path / "set")
    with pytest.raises(DataError, match="does not exist"):
        plain.load(0)


def test_turned_rectangles_from_label_files(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (30, 50, 3), dtype=np.uint8))
    noise.save(tmp_path / "images" / "a.jpg", exif=exif)
    (tmp_path / "labels" / "a.txt").write_text("5 5 25 5 25 40 5 40 ship 0\n")
    plain = DotaDataset(tmp_path / "images", tmp_path / "labels", training=True)
    kept = with_reading(plain, Reading(None, cache_for(plain)))
    image, target = plain.load(0)
    assert image_size(image) == (50, 30)
    for _ in range(2):
        assert torch.equal(kept.load(0)[0], image)
        assert torch.equal(kept.load(0)[1]["boxes"], target["boxes"])
        (tmp_path / "images" / "a.jpg").unlink(missing_ok=True)


def test_what_was_given_out_can_be_written_on(source):
    kept = with_reading(source, Reading(None, cache_for(source)))
    kept.load(0)
    image, _ = kept.load(0)
    expected = image.clone()
    image.fill_(7)
    assert torch.equal(kept.load(0)[0], expected)
    assert kept.load(0)[0].permute(1, 2, 0).is_contiguous()  # laid out as every image


def test_damaged_images_are_never_kept(source, tmp_path):
    path = tmp_path / "set" / "1.jpg"
    whole = path.read_bytes()
    kept = with_reading(source, Reading(None, cache_for(source)))
    path.write_bytes(whole[: len(whole) // 2])
    for _ in range(2):
        with pytest.raises(DataError, match="truncated or damaged"):
            kept.load(0)
    path.write_bytes(whole)  # replaced, as the message says
    assert torch.equal(kept.load(0)[0], source.load(0)[0])


def test_image_of_another_size_is_refused_each_time(source, tmp_path):
    Image.new("RGB", (20, 20)).save(tmp_path / "set" / "1.jpg")
    kept = with_reading(source, Reading(None, cache_for(source)))
    for _ in range(2):
        with pytest.raises(DataError, match="20 x 20 pixels"):
            kept.load(0)


def test_headers_that_cannot_be_read_leave_no_room(tmp_path):
    source = make_set(tmp_path / "set", said=False)
    (tmp_path / "set" / "1.jpg").write_bytes(b"nothing")
    (tmp_path / "set" / "2.jpg").unlink()
    os.mkfifo(tmp_path / "set" / "2.jpg")  # would be waited for without end
    cache = cache_for(source)
    assert cache.bytes == COUNT + sum(3 * (60 + number) * (150 - 7 * number) for number in range(3, COUNT + 1))
    for index in (0, 1):
        with pytest.raises(DataError):
            with_reading(source, Reading(None, cache)).load(index)


def renamed(folder: Path, suffix: str, other: str) -> CocoDataset:
    """Returns a set whose images are called otherwise than what they are."""
    source = make_set(folder, suffix)
    for record in source.records:
        (folder / record.file_name).rename(folder / f"{record.image_id}.{other}")
    source.records.file_names = PackedText(f"{record.image_id}.{other}" for record in source.records)
    return source


def test_other_format_behind_a_jpeg_suffix_is_read_whole_each_time(tmp_path):
    source = renamed(tmp_path / "set", "png", "jpg")
    kept = with_reading(source, Reading(40, cache_for(source, 40)))
    for _ in range(2):
        assert_equal(pixels_of(kept), pixels_of(source))


def test_jpeg_behind_another_suffix_is_read_as_without_a_cache(tmp_path):
    source = renamed(tmp_path / "set", "jpg", "png")
    plain, kept = (with_reading(source, Reading(40, cache)) for cache in (None, cache_for(source, 40)))
    for index in range(COUNT):
        assert torch.equal(kept.load(index, whole=True)[0], plain.load(index, whole=True)[0])
    for _ in range(2):
        assert_equal(pixels_of(kept), pixels_of(plain))


def test_whole_image_for_a_lonely_mosaic_is_not_kept(source):
    kept = with_reading(source, Reading(70, cache_for(source, 70)))
    assert max(image_size(kept.load(0, whole=True)[0])) == 143
    assert max(image_size(kept.load(0)[0])) == 72
    assert max(image_size(kept.load(0, whole=True)[0])) == 143


def test_cache_in_parts(tmp_path):
    cache = ImageCache([(2, 3), None, (4, 5)], [(2, 3), None, (2, 3)])
    assert cache.bytes == 3 + 18 + 0 + 18
    assert [cache.reduces(index) for index in range(3)] == [False, False, True]
    picture = to_image(np.arange(18, dtype=np.uint8).reshape(2, 3, 3))
    for index in range(3):
        assert cache.get(index) is None
    cache.put(2, picture)
    cache.put(1, picture)  # no room: as if nothing was said
    image, whole = cache.get(2)
    assert torch.equal(image, picture)
    assert whole == (4, 5)
    assert cache.get(0) is None
    assert cache.get(1) is None
    assert ImageCache([], []).bytes == 0


def test_reading_and_writing_that_fails_costs_time_only(source, monkeypatch):
    kept = with_reading(source, Reading(None, cache_for(source)))

    def fails(*_):
        raise OSError(5, "Input/output error")

    for name in ("pwrite", "pread", "preadv"):
        with monkeypatch.context() as patch:
            patch.setattr(os, name, fails)
            assert_equal(pixels_of(kept), pixels_of(source))


# Space -------------------------------------------------------------------------------------------------------------------


def test_too_little_space_is_refused_in_a_sentence(source, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**12, 10**12, 1000))
    with pytest.raises(StorageError) as error:
        cache_for(source)
    assert_one_sentence(error.value, "need 0.0 GB", "0.0 GB free", tempfile.gettempdir(), "TMPDIR", "data.cache_decoded off")


def test_space_is_taken_at_once(source):
    cache = cache_for(source)
    assert os.fstat(cache._file.fileno()).st_blocks * 512 >= cache.bytes


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), AttributeError("posix_fallocate")])
def test_space_that_cannot_be_reserved_is_refused_in_a_sentence(source, monkeypatch, error):
    def fails(*_):
        raise error

    monkeypatch.setattr(os, "posix_fallocate", fails)
    with pytest.raises(StorageError) as refusal:
        cache_for(source)
    reason = "No space left" if isinstance(error, OSError) else "cannot reserve space"
    assert_one_sentence(refusal.value, reason, tempfile.gettempdir(), "TMPDIR")


def test_no_folder_for_temporary_files_is_refused_in_a_sentence(source, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere")
    with pytest.raises(StorageError) as refusal:
        cache_for(source)
    assert_one_sentence(refusal.value, "/nowhere", "No such file", "TMPDIR")


def test_file_name_with_a_zero_byte_leaves_no_room(source):
    source.records.file_names = PackedText(["a\0b.jpg", *list(source.records.file_names)[1:]])
    source.records.sizes[0] = -1
    assert cache_for(source).bytes < cache_for(make_set(source.folder)).bytes


def test_annotation_file_that_lies_asks_for_no_space(source):
    source.records.sizes[0] = 10**9
    assert cache_for(source).bytes < 10**6


# Processes ---------------------------------------------------------------------------------------------------------------


def fill(source, first: int) -> None:
    for index in range(first, COUNT, 2):
        source.load(index)


@pytest.mark.parametrize(
    "method", ["fork", pytest.param("spawn", marks=pytest.mark.slow), pytest.param("forkserver", marks=pytest.mark.slow)]
)
def test_several_processes_fill_one_cache(source, tmp_path, method):
    expected = pixels_of(source)
    kept = with_reading(source, Reading(None, cache_for(source)))
    context = multiprocessing.get_context(method)
    processes = [context.Process(target=fill, args=(kept, first)) for first in (0, 1)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    remove_images(tmp_path / "set")
    assert_equal(pixels_of(kept), expected)


def config(**changes):
    small = {"model.size": "tiny", "augment.input_size": 64, "train.epochs": 2, "train.weak_epochs": 1}
    return resolve(with_overrides(ExperimentConfig(), {**small, "augment.mosaic_cache": 6, **changes}))


# One of them with new processes, which import PyTorch first.
@pytest.mark.parametrize(
    ("method", "partners", "reduced"),
    [
        ("fork", "cached", False),
        ("fork", "cached", True),
        ("fork", "uncached", False),
        ("fork", "uncached", True),
        pytest.param("spawn", "uncached", True, marks=pytest.mark.slow),
    ],
)
def test_batches_are_those_without_a_cache_bit_for_bit(source, method, partners, reduced):
    def epochs(cached: bool) -> list:
        settings = {"data.cache_decoded": cached, "data.reduced_decode": reduced, "augment.partners": partners}
        chosen = config(**settings, **{"augment.input_size": 32})
        stage = plan_stages(chosen, source, open_cache(chosen, source))[0]
        assert (stage.source.reading.cache is not None) == cached
        dataset = PipelineDataset(stage.source, stage.pipeline, training=True)
        sampler = TrainSampler(len(source), 4, repeat=2)
        loader = make_loader(dataset, sampler, 2)
        loader.multiprocessing_context = method
        found = []
        for sampler.epoch in range(2):
            for batch in loader:
                assert batch.failure is None
                found.append((batch.images, [(one.boxes, one.labels, one.meta) for one in batch.targets]))
        return found

    pairs = list(zip(epochs(False), epochs(True), strict=True))
    assert len(pairs) == 10
    for (images, targets), (other_images, other_targets) in pairs:
        assert torch.equal(images, other_images)
        for one, other in zip(targets, other_targets, strict=True):
            assert torch.equal(one[0], other[0])
            assert torch.equal(one[1], other[1])
            assert one[2] == other[2]


def share(number: int, folder: str) -> None:
    """One of two processes of a training: fills its half, and finds that of the other."""
    os.environ["LOCAL_RANK"] = str(number)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=number, world_size=2)
    source = make_set(Path(folder) / f"set{number}")
    kept = with_reading(source, Reading(None, one_per_machine(lambda: cache_for(source))))
    fill(kept, number)
    dist.barrier()
    remove_images(Path(folder) / f"set{number}")
    pixels_of(kept)
    dist.destroy_process_group()


@pytest.mark.slow
def test_processes_of_a_training_share_one_cache(tmp_path):
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=share, args=(number, str(tmp_path))) for number in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
        assert process.exitcode == 0


def test_process_that_comes_too_late_is_told_in_a_sentence(source):
    cache = cache_for(source)
    packed = pickle.dumps(cache)
    cache.close()
    with pytest.raises(StorageError) as error:
        pickle.loads(packed)
    assert_one_sentence(error.value, "another process", "data.cache_decoded")


def test_other_file_under_the_same_number_is_not_taken(source, tmp_path):
    cache = cache_for(source)
    packed, handle = pickle.dumps(cache), cache._file.fileno()
    other = tmp_path / "precious"
    other.write_bytes(b"precious")
    with other.open("r+b") as file:
        os.dup2(file.fileno(), handle)
    with pytest.raises(StorageError, match="its file is gone"):
        pickle.loads(packed)
    assert other.read_bytes() == b"precious"


OWNER = """
import sys, time
sys.path.insert(0, {tests!r})
from pathlib import Path
from test_image_cache import make_set, pixels_of
from rtmdet_lab.data.image_cache import cache_for
from rtmdet_lab.data.records import PackedText
from rtmdet_lab.data.reading import Reading, with_reading
source = make_set(Path({folder!r}))
kept = with_reading(source, Reading(None, cache_for(source)))
pixels_of(kept)
print("filled", flush=True)
time.sleep(600)
"""


@pytest.mark.slow
@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGTERM])
def test_nothing_stays_after_a_kill_nor_has_a_name_before(tmp_path, signum):
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    script = OWNER.format(tests=str(Path(__file__).parent), folder=str(tmp_path / "set"))
    environment = {**os.environ, "TMPDIR": str(temporary)}
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, env=environment) as owner:
        assert owner.stdout.readline() == "filled\n"
        opened = [os.readlink(one) for one in Path(f"/proc/{owner.pid}/fd").iterdir()]
        assert any(one.startswith(str(temporary)) for one in opened)
        assert not list(temporary.iterdir())
        owner.send_signal(signum)
    assert not list(temporary.iterdir())


def test_closing_gives_the_space_back(source, monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    cache = cache_for(source)
    opened = f"/proc/self/fd/{cache._file.fileno()}"
    assert os.readlink(opened).startswith(str(tmp_path))
    late = pickle.loads(pickle.dumps(cache))  # a loader process that outlives the run
    kept = with_reading(source, Reading(None, late))
    pixels_of(kept)
    assert os.fstat(late._file.fileno()).st_blocks > 0
    cache.close()
    assert not os.path.exists(opened)
    assert os.fstat(late._file.fileno()).st_blocks == 0
    assert late.get(0) is None


# The setting -------------------------------------------------------------------------------------------------------------


def test_setting_opens_a_cache_and_its_absence_none(source):
    assert open_cache(config(), source) is None
    assert isinstance(open_cache(config(**{"data.cache_decoded": True}), source), ImageCache)
    with pytest.raises(SettingError) as error:
        open_cache(config(**{"data.cache_decoded": True}), Squares(8))
    assert_one_sentence(error.value, "data.cache_decoded", "turn them off")


def test_room_is_that_of_reduced_images(source):
    whole = open_cache(config(**{"data.cache_decoded": True}), source)
    reduced = open_cache(
        config(**{"data.cache_decoded": True, "data.reduced_decode": True, "augment.input_size": 32}), source
    )
    assert image_cache.cache_for(source, 64).bytes == reduced.bytes < whole.bytes
