"""Steps of a sample: the very ones training draws, with what they drew, their caches and rejected crops."""

from __future__ import annotations

import pytest
import torch
from made_samples import assert_same_sample, make_sample
from torchvision.transforms import v2

from rtmdet_lab.analysis.pipeline_trace import LOAD, Tracer, flat
from rtmdet_lab.config.presets import resolve_augment
from rtmdet_lab.config.settings import AugmentConfig
from rtmdet_lab.core.errors import DataError, SettingError
from rtmdet_lab.data.loaders import PipelineDataset, TrainSampler
from rtmdet_lab.transforms.base import plain_boxes
from rtmdet_lab.transforms.geometric import RandomCrop, RandomFlip
from rtmdet_lab.transforms.pipelines import strong_pipeline, weak_pipeline


class Samples:
    """Images with one object each, in a corner of its own."""

    classes = ("thing",)
    title = "made samples"

    def __init__(self, count: int, side: int = 80) -> None:
        self.samples = [make_sample(side, side, [[2.0, 2, 30, 30]], seed=number) for number in range(count)]

    def __len__(self) -> int:
        return len(self.samples)

    def load(self, index):
        return self.samples[index]


def strong(source, **changes):
    config = resolve_augment(AugmentConfig(input_size=64, one_resize=False, mosaic_cache=6, mixup_cache=4, **changes), "s")
    return strong_pipeline(config, source.load, len(source))


def test_sample_is_the_one_training_draws():
    source = Samples(12)
    loader = PipelineDataset(source, strong(source), training=True, seed=3)
    expected = [loader[key][0] for keys in TrainSampler(len(source), 1, 3) for key in keys]
    tracer = Tracer(strong(source), source, seed=3)
    for position in (11, 0, 7):  # any order, once played
        assert_same_sample(tracer.steps(position)[-1].sample, expected[position])


def test_every_step_is_there_with_what_it_drew():
    source = Samples(8)
    steps = Tracer(strong(source, resize_range=(0.9, 1.1), mixup_prob=1.0), source).steps(7)
    steps = steps[max(number for number, step in enumerate(steps) if step.name == LOAD) :]
    names = [step.name for step in steps]
    assert names == ["Load", "Mosaic", "RandomResize", "RandomCrop", "RandomHSV", "RandomFlip", "Pad", "MixUp"]
    drawn = {step.name: step.drawn for step in steps}
    after = {step.name: step.sample for step in steps}
    assert len(drawn["Mosaic"]["partners"]) == 3
    assert all(32 <= at <= 96 for at in drawn["Mosaic"]["center"])  # 0.5 to 1.5 of 64
    assert 0.9 <= drawn["RandomResize"]["ratio"] <= 1.1
    resized = after["RandomResize"][0]
    assert (drawn["RandomResize"]["height"], drawn["RandomResize"]["width"]) == tuple(resized.shape[-2:])
    left, top = drawn["RandomCrop"]["left"], drawn["RandomCrop"]["top"]
    assert torch.equal(after["RandomCrop"][0], resized[:, top : top + 64, left : left + 64])
    shifts = drawn["RandomHSV"]
    assert abs(shifts["hue"]) <= 5
    assert abs(shifts["saturation"]) <= 30
    colored, flipped = after["RandomHSV"][0], after["RandomFlip"][0]
    assert torch.equal(flipped, colored.flip(-1) if drawn["RandomFlip"]["mirrored"] else colored)
    assert drawn["MixUp"]["mixed"] is True
    assert all(step.milliseconds >= 0 for step in steps)


def test_caches_hold_the_samples_before_up_to_their_size():
    source = Samples(10)
    tracer = Tracer(strong(source, cache_eviction="oldest"), source)
    order = [key.index for keys in TrainSampler(len(source), 1, 0) for key in keys]
    for position, kept in ((0, 1), (3, 4), (9, 6)):
        last = {step.name: step for step in tracer.steps(position)}
        mosaic = last["Mosaic"]
        assert mosaic.capacity == 6
        if not any(step.sample is None for earlier in range(position + 1) for step in tracer.steps(earlier)):
            # Nothing was rejected so far: exactly the images of the order, the newest last.
            expected = [source.samples[index] for index in order[position + 1 - kept : position + 1]]
            assert [one[0].data_ptr() for one in mosaic.cache] == [one[0].data_ptr() for one in expected]
        assert last["RandomFlip"].cache is None
        assert len(last["MixUp"].cache) <= last["MixUp"].capacity == 4


def test_partners_read_fresh_keep_no_cache():
    source = Samples(6)
    steps = Tracer(strong(source, partners="uncached"), source).steps(0)
    mosaic = [step for step in steps if step.name == "Mosaic"][-1]
    assert mosaic.cache is None
    assert len(mosaic.drawn["partners"]) == 3


def test_rejected_crop_is_shown_and_another_image_loaded():
    source = Samples(4, side=400)  # one object in a corner of a large image: most crops of 64 miss it
    pipeline = v2.Compose([RandomCrop(64), RandomFlip(0.5)])
    steps = next(trace for trace in map(Tracer(pipeline, source).steps, range(4)) if len(trace) > 3)
    assert [step.name for step in steps[:3]] == [LOAD, "RandomCrop", LOAD]
    assert steps[1].sample is None
    assert len(steps[-1].sample[1]["labels"]) == 1
    loader = PipelineDataset(source, pipeline, training=True)
    keys = [key for keys in TrainSampler(4, 1, 0) for key in keys]
    traces = Tracer(pipeline, source)
    for position, key in enumerate(keys):
        assert_same_sample(traces.steps(position)[-1].sample, loader[key][0])


def test_pipeline_that_rejects_everything_is_told(monkeypatch):
    monkeypatch.setattr("rtmdet_lab.analysis.pipeline_trace.MAX_REDRAWS", 20)

    class Never(RandomCrop):
        def forward(self, image, target):
            return super().forward(image[:, 40:, 40:], dict(target, boxes=plain_boxes(target) - 400))

    with pytest.raises(DataError, match="no crop of 20 images of made samples"):
        Tracer(v2.Compose([Never(16)]), Samples(3)).steps(0)


def test_position_outside_of_the_epoch_is_refused():
    source = Samples(3)
    tracer = Tracer(strong(source), source)
    for position in (-1, 3):
        with pytest.raises(SettingError, match="must be from 0 to 2"):
            tracer.steps(position)


def test_own_random_numbers_are_left_alone():
    source = Samples(5)
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    Tracer(strong(source), source).steps(4)
    assert torch.equal(torch.rand(3), expected)


def test_compositions_are_flattened():
    config = resolve_augment(AugmentConfig(input_size=64), "s")
    flip = RandomFlip()
    assert flat(v2.Compose([weak_pipeline(config), flip]))[-1] is flip
    assert flat(flip) == [flip]
