"""Order, seeds, workers, batches, and what happens to bad images."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import torch
from made_samples import boxes_of, make_sample, snapshot
from sources import Numbered
from torchvision.transforms import v2

from rtmdet_lab.config.settings import AugmentConfig
from rtmdet_lab.core.errors import DataError
from rtmdet_lab.data.loaders import (
    PipelineDataset,
    SampleKey,
    TestSampler,
    TrainSampler,
    collate,
    make_loader,
    mixing_steps,
    sample_seed,
)
from rtmdet_lab.transforms.base import EmptyCrop, Transform, image_size
from rtmdet_lab.transforms.geometric import Pad, Resize
from rtmdet_lab.transforms.mixing import Mosaic
from rtmdet_lab.transforms.partners import CachedPartners
from rtmdet_lab.transforms.pipelines import strong_pipeline, test_pipeline, weak_pipeline

pytestmark = pytest.mark.lengthy

AUGMENT = AugmentConfig(
    input_size=32,
    mosaic_cache=6,
    mixup_cache=4,
    cache_eviction="random",
    mixup_prob=1.0,
    resize_range=(0.8, 1.2),
    partners="cached",
)


def keys(*indices: int, epoch: int = 0) -> list[SampleKey]:
    return [SampleKey(epoch, position, index) for position, index in enumerate(indices)]


# Order -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("length", "batch_size"), [(12, 4), (13, 4), (1, 1), (7, 7), (12, 5)])
def test_every_image_once_per_epoch_in_full_batches(length, batch_size):
    sampler = TrainSampler(length, batch_size)
    batches = list(sampler)
    assert len(batches) == len(sampler) == -(-length // batch_size)
    assert {len(batch) for batch in batches} == {batch_size}
    order = [key.index for batch in batches for key in batch]
    assert sorted(order[:length]) == list(range(length))
    # The last batch is completed from the start of the order.
    assert order[length:] == [order[position % length] for position in range(length, len(order))]
    assert [key.position for batch in batches for key in batch] == list(range(len(order)))


def test_batch_larger_than_an_epoch_says_that_images_are_repeated():
    (batch,) = TrainSampler(3, 8)
    assert sorted(Counter(key.index for key in batch).values()) == [2, 3, 3]
    assert "a batch of 8 is more than the 3 images of an epoch: 5 of its places repeat images" in TrainSampler(3, 8).repeats
    assert TrainSampler(3, 8, repeat=3).repeats is None
    assert TrainSampler(8, 8).repeats is None


def test_repeated_set_has_each_image_that_often_in_different_orders():
    order = [key.index for batch in TrainSampler(10, 5, repeat=3) for key in batch]
    assert Counter(order) == dict.fromkeys(range(10), 3)
    assert len({tuple(order[start : start + 10]) for start in (0, 10, 20)}) == 3
    assert all(sorted(order[start : start + 10]) == list(range(10)) for start in (0, 10, 20))


def test_endless_epoch_takes_no_memory_before_it_begins():
    sampler = TrainSampler(10, 4, repeat=10**9)
    assert len(sampler) == 25 * 10**8
    first = [key.index for batch in itertools.islice(sampler, 5) for key in batch]
    assert first == [key.index for batch in TrainSampler(10, 4, repeat=2) for key in batch]


def test_order_is_a_function_of_seed_and_epoch():
    def order(seed, epoch):
        sampler = TrainSampler(40, 8, seed)
        sampler.epoch = epoch
        return [key for batch in sampler for key in batch]

    assert order(0, 3) == order(0, 3)
    torch.manual_seed(99)
    assert order(0, 3) == order(0, 3)  # whatever the global generator does
    different = {tuple(key.index for key in order(seed, epoch)) for seed in range(3) for epoch in range(4)}
    assert len(different) == 12
    assert {key.epoch for key in order(0, 3)} == {3}


@pytest.mark.parametrize("world_size", [2, 4])
def test_processes_share_the_order_of_a_single_one(world_size):
    whole = list(TrainSampler(21, 8, seed=5))
    parts = [list(TrainSampler(21, 8, 5, 1, rank, world_size)) for rank in range(world_size)]
    for number, batch in enumerate(whole):
        assert [key for part in parts for key in part[number]] == batch


def test_batch_that_does_not_divide_over_processes_is_refused():
    with pytest.raises(DataError, match=r"train\.batch_size 9 does not divide over 2 processes"):
        TrainSampler(10, 9, world_size=2)


@pytest.mark.parametrize(("length", "batch_size", "world_size"), [(10, 4, 1), (10, 4, 3), (2, 4, 3), (1, 1, 1)])
def test_validation_visits_each_image_once_over_all_processes(length, batch_size, world_size):
    seen = []
    for rank in range(world_size):
        sampler = TestSampler(length, batch_size, rank, world_size)
        batches = list(sampler)
        assert len(batches) == len(sampler)
        indices = [key.index for batch in batches for key in batch]
        assert indices == sorted(indices)
        seen += indices
    assert sorted(seen) == list(range(length))


# Randomness --------------------------------------------------------------------------------------------------------------


def test_sample_seeds_differ_and_fit_the_generator():
    seeds = {sample_seed(seed, epoch, position) for seed in range(5) for epoch in range(20) for position in range(-1, 60)}
    assert len(seeds) > 5 * 20 * 61 - 5  # 32 bits: a collision among 6100 has probability 0.4 %
    assert all(0 <= seed < 2**32 for seed in seeds)


def epoch_of(workers: int, pipeline=None, epochs: int = 1, **options) -> list[dict]:
    dataset = PipelineDataset(Numbered(12), pipeline or weak_pipeline(AUGMENT), training=True, **options)
    sampler = TrainSampler(12, 4)
    loader = make_loader(dataset, sampler, workers)
    samples = []
    for epoch in range(epochs):
        sampler.epoch = epoch
        for batch in loader:
            pairs = zip(batch.images, batch.targets, strict=True)
            samples += [(image.tolist(), target.boxes.tolist(), target.meta) for image, target in pairs]
    return samples


def test_samples_do_not_depend_on_the_number_of_workers():
    alone = epoch_of(0, epochs=2)
    assert epoch_of(1, epochs=2) == alone
    assert epoch_of(3, epochs=2) == alone


def test_samples_depend_on_seed_epoch_and_position():
    dataset = PipelineDataset(Numbered(4), weak_pipeline(AUGMENT), training=True)
    other = PipelineDataset(Numbered(4), weak_pipeline(AUGMENT), training=True, seed=1)

    def look(one, epoch, position):
        return snapshot(one[SampleKey(epoch, position, 2)][0])

    first = look(dataset, 0, 0)
    assert look(dataset, 0, 0) == first
    assert look(dataset, 1, 0) != first
    assert look(dataset, 0, 1) != first
    assert look(other, 0, 0) != first


def test_epoch_with_caches_is_a_function_of_its_number():
    def epochs(numbers):
        dataset = PipelineDataset(Numbered(12), strong_pipeline(AUGMENT, None, 12), training=True)
        sampler = TrainSampler(12, 4)
        results = {}
        for number in numbers:
            sampler.epoch = number
            results[number] = [snapshot(dataset[key][0]) for batch in sampler for key in batch]
        return results

    assert epochs([0, 1, 2])[2] == epochs([2])[2]


def test_loading_does_not_touch_the_generator_of_the_run():
    for workers in (0, 2):
        torch.manual_seed(7)
        before = torch.get_rng_state()
        epoch_of(workers, strong_pipeline(AUGMENT, None, 12))
        assert torch.equal(torch.get_rng_state(), before)


def test_global_generator_is_put_back_even_after_an_error():
    class Broken(Transform):
        def forward(self, image, target):
            raise ZeroDivisionError

    torch.manual_seed(7)
    before = torch.get_rng_state()
    with pytest.raises(ZeroDivisionError):
        PipelineDataset(Numbered(2), Broken(), training=True)[SampleKey(0, 0, 0)]
    assert torch.equal(torch.get_rng_state(), before)


# Caches ------------------------------------------------------------------------------------------------------------------


def mosaic() -> Mosaic:
    return Mosaic(CachedPartners(10, "oldest", min_size=5), 16)


class Own(Transform):
    """A user's transform that keeps another one as an attribute."""

    def __init__(self, step) -> None:
        super().__init__()
        self.step = step

    def forward(self, image, target):
        return self.step(image, target)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda step: step,
        lambda step: v2.Compose([step]),
        lambda step: v2.Compose([v2.Compose([Resize(8), v2.Compose([step])])]),
        lambda step: v2.Compose([v2.RandomApply([step], p=1.0)]),
        lambda step: v2.Compose([v2.RandomChoice([step])]),
        lambda step: v2.Compose([v2.RandomOrder([Resize(8), step])]),
        lambda step: Own(step),
    ],
    ids=["bare", "compose", "nested", "apply", "choice", "order", "user's own"],
)
def test_caches_are_found_in_every_container_and_emptied_each_epoch(wrap):
    step = mosaic()
    pipeline = wrap(step)
    assert list(mixing_steps(pipeline)) == [step]
    dataset = PipelineDataset(Numbered(8), v2.Compose([pipeline, Resize(16), Pad(16)]), training=True)
    for position in range(7):
        dataset[SampleKey(0, position, position)]
    assert len(step.partners.samples) == 7
    dataset[SampleKey(1, 0, 0)]
    assert len(step.partners.samples) == 1


def test_caches_in_workers_are_emptied_each_epoch():
    # One worker, two epochs in one loader, against the second epoch alone in a fresh one.
    both = epoch_of(1, strong_pipeline(AUGMENT, None, 12), epochs=2)

    dataset = PipelineDataset(Numbered(12), strong_pipeline(AUGMENT, None, 12), training=True)
    sampler = TrainSampler(12, 4)
    sampler.epoch = 1
    second = []
    for batch in make_loader(dataset, sampler, 1):
        pairs = zip(batch.images, batch.targets, strict=True)
        second += [(image.tolist(), target.boxes.tolist(), target.meta) for image, target in pairs]
    assert both[12:] == second


# Bad images and rejected samples -----------------------------------------------------------------------------------------


def test_bad_image_is_refused_with_a_message_that_names_it_and_the_way_out():
    dataset = PipelineDataset(Numbered(4, bad=(2,)), test_pipeline(32), training=True)
    sample, notes, failure = dataset[SampleKey(0, 0, 2)]
    assert sample is None
    assert notes == []
    assert "2.jpg" in failure
    assert "on_bad=skip" in failure
    assert "\n" not in failure


def test_training_draws_another_image_for_a_bad_one_and_notes_it():
    dataset = PipelineDataset(Numbered(4, bad=(2,)), test_pipeline(32), training=True, on_bad="skip")
    sample, notes, failure = dataset[SampleKey(0, 0, 2)]
    assert sample[1]["meta"].image_id != 2
    assert set(notes) == {"image 2.jpg is truncated or damaged"}
    assert failure is None


def test_evaluation_leaves_a_bad_image_out():
    dataset = PipelineDataset(Numbered(4, bad=(2,)), test_pipeline(32), training=False, on_bad="skip")
    sample, notes, failure = dataset[SampleKey(0, 0, 2)]
    assert sample is None
    assert notes == ["image 2.jpg is truncated or damaged"]
    assert failure is None
    batch = collate([dataset[key] for key in keys(0, 1, 2, 3)])
    assert [target.meta.image_id for target in batch.targets] == [0, 1, 3]
    assert batch.images.shape == (3, 3, 32, 32)
    assert len(batch.notes) == 1


def test_batch_of_bad_images_only_is_empty():
    dataset = PipelineDataset(Numbered(4, bad=(0, 1)), test_pipeline(32), training=False, on_bad="skip")
    batch = collate([dataset[key] for key in keys(0, 1)])
    assert len(batch.images) == 0
    assert batch.targets == []
    assert len(batch.notes) == 2


def test_set_of_bad_images_only_stops_with_their_names_and_not_with_empty_crops():
    dataset = PipelineDataset(Numbered(3, bad=(0, 1, 2)), test_pipeline(32), training=True, on_bad="skip")
    sample, _, failure = dataset[SampleKey(0, 0, 0)]
    assert sample is None
    assert "damaged" in failure  # the crops have nothing to do with it
    assert "\n" not in failure


class Reject(Transform):
    """Rejects all images but those it is told to keep."""

    def __init__(self, keep: tuple[int, ...] = ()) -> None:
        super().__init__()
        self.keep = keep

    def forward(self, image, target):
        if target["meta"].image_id not in self.keep:
            raise EmptyCrop
        return image, target


def test_empty_crop_draws_another_image_without_a_note():
    source = Numbered(5)
    sample, notes, failure = PipelineDataset(source, Reject(keep=(3,)), training=True)[SampleKey(0, 0, 0)]
    assert sample[1]["meta"].image_id == 3
    assert notes == []
    assert failure is None
    assert source.loads[0] == 0
    assert set(source.loads) <= set(range(5))


def test_same_key_draws_the_same_replacement():
    dataset = PipelineDataset(Numbered(50), Reject(keep=tuple(range(10, 50))), training=True)
    chosen = {dataset[SampleKey(0, 5, 1)][0][1]["meta"].image_id for _ in range(5)}
    assert len(chosen) == 1
    assert len({dataset[SampleKey(0, position, 1)][0][1]["meta"].image_id for position in range(20)}) > 3


def test_endless_rejection_stops_with_a_message():
    sample, _, failure = PipelineDataset(Numbered(5), Reject(), training=True)[SampleKey(0, 0, 0)]
    assert sample is None
    assert "1000" in failure
    assert "no crop" in failure
    assert "\n" not in failure


def test_rejected_validation_image_is_left_out_and_not_replaced():
    sample, notes, failure = PipelineDataset(Numbered(5), Reject(), training=False)[SampleKey(0, 0, 0)]
    assert (sample, notes, failure) == (None, [], None)


@pytest.mark.parametrize("workers", [0, 2])
def test_failure_reaches_the_batch_also_from_a_worker(workers):
    dataset = PipelineDataset(Numbered(8, bad=(5,)), test_pipeline(32), training=True)
    loader = make_loader(dataset, TestSampler(8, 4), workers)
    failures = [batch.failure for batch in loader]
    assert failures[0] is None
    assert "5.jpg" in failures[1]


def test_programming_error_in_a_transform_is_not_taken_for_a_bad_image():
    class Broken(Transform):
        def forward(self, image, target):
            raise ValueError("a bug")

    with pytest.raises(ValueError, match="a bug"):
        PipelineDataset(Numbered(2), Broken(), training=True, on_bad="skip")[SampleKey(0, 0, 0)]


# Batches -----------------------------------------------------------------------------------------------------------------


def test_training_batch_holds_bytes_and_boxes_on_the_canvas():
    dataset = PipelineDataset(Numbered(3), test_pipeline(60), training=True)
    batch = collate([dataset[key] for key in keys(0, 1, 2)])
    assert batch.images.shape == (3, 3, 60, 60)
    assert batch.images.dtype == torch.uint8
    assert batch.images.is_contiguous(memory_format=torch.channels_last)
    # 24 x 30 fits 60 with 2: the image fills 48 rows, the rest is grey; box 2 3 20 15 doubles.
    assert batch.images[1, :, :48].unique().tolist() == [1]
    assert batch.images[1, :, 48:].unique().tolist() == [114]
    target = batch.targets[2]
    assert target.boxes.tolist() == [[4, 6, 40, 30]]
    assert type(target.boxes) is torch.Tensor  # no tv_tensor past the loader
    assert target.ignore is None
    assert target.meta.image_id == 2
    assert target.meta.scale == (2.0, 2.0)
    assert target.meta.canvas_size == (60, 60)
    assert batch.failure is None


def test_validation_batch_keeps_ground_truth_in_the_pixels_of_the_file():
    dataset = PipelineDataset(Numbered(1), test_pipeline(60), training=False)
    target = collate([dataset[SampleKey(0, 0, 0)]]).targets[0]
    assert target.boxes.tolist() == [[2, 3, 20, 15]]
    assert target.meta.scale == (2.0, 2.0)
    assert target.meta.original_size == (24, 30)


def test_fields_of_a_scored_target_reach_the_batch():
    class Scored(Numbered):
        def load(self, index):
            return make_sample(24, 30, [[2, 3, 20, 15], [1, 1, 4, 4]], seed=index, scored=True)

    target = collate([PipelineDataset(Scored(1), test_pipeline(60), training=False)[SampleKey(0, 0, 0)]]).targets[0]
    assert target.ignore.tolist() == [False, True]
    assert target.areas.tolist() == [100, 101]


def test_image_without_objects_has_empty_targets():
    class Empty(Numbered):
        def load(self, index):
            return make_sample(24, 30, [], seed=index)

    batch = collate([PipelineDataset(Empty(2), weak_pipeline(AUGMENT), training=True)[key] for key in keys(0, 1)])
    assert batch.images.shape == (2, 3, 32, 32)
    assert [tuple(target.boxes.shape) for target in batch.targets] == [(0, 4), (0, 4)]


def test_batches_come_in_the_order_of_the_sampler():
    dataset = PipelineDataset(Numbered(20), test_pipeline(32), training=False)
    for workers in (0, 3):
        seen = [
            target.meta.image_id for batch in make_loader(dataset, TestSampler(20, 3), workers) for target in batch.targets
        ]
        assert seen == list(range(20))


def test_sample_reaches_the_loader_whole():
    image, target = PipelineDataset(Numbered(3), test_pipeline(30), training=True)[SampleKey(0, 0, 2)][0]
    assert image_size(image) == (30, 30)
    assert boxes_of(target) == [[2, 3, 20, 15]]


# Workers -----------------------------------------------------------------------------------------------------------------

PROGRAM = """
import os, sys, time
sys.path.insert(0, {folder!r})
import test_loaders as t
dataset = t.PipelineDataset(t.Numbered(64), t.test_pipeline(32), training=False)
batches = iter(t.make_loader(dataset, t.TestSampler(64, 2), 2))
next(batches), next(batches)  # one of each worker: both have begun
print(*(worker.pid for worker in batches._workers), flush=True)
{ending}
"""


@pytest.mark.slow
def test_ctrl_c_is_left_to_the_parent():
    program = PROGRAM.format(
        folder=str(Path(__file__).parent),
        ending="sys.stdin.readline(); print(sum(len(b.targets) for b in batches), flush=True)",
    )
    process = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        for pid in map(int, process.stdout.readline().split()):
            os.kill(pid, signal.SIGINT)
        output, _ = process.communicate("go on\n", timeout=60)
    finally:
        if process.poll() is None:
            process.kill()
    assert output.strip() == "60"  # the workers went on; four images were drawn before
    assert process.returncode == 0
