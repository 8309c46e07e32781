"""The records that travel between floors: lengths checked, rows chosen together, moved together."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch.testing import assert_close

from rtmdet_lab.core.structures import Assignment, DensePredictions, Detections, ImageMeta, Priors, Targets

META = ImageMeta(image_id=7, original_size=(30, 40), scale=(2.0, 2.0))


def make_targets(count: int = 4) -> Targets:
    return Targets(
        boxes=torch.arange(count * 4, dtype=torch.float32).reshape(count, 4),
        labels=torch.arange(count),
        masks=torch.arange(count)[:, None, None] == torch.arange(count)[None, :, None],  # (G, G, 1), one row set each
        ignore=torch.arange(count) % 2 == 1,
        areas=torch.arange(count) * 10.0,
        meta=META,
    )


def make_detections(count: int = 3) -> Detections:
    return Detections(torch.rand(count, 4), torch.rand(count), torch.zeros(count, dtype=torch.int64), meta=META)


def make_predictions(batch: int = 2, classes: int = 3, **optional) -> DensePredictions:
    # 4 + 2 + 1 points at strides 8, 16, 32.
    strides = torch.tensor([8.0] * 4 + [16.0] * 2 + [32.0])
    priors = Priors(torch.arange(14, dtype=torch.float32).reshape(7, 2), strides)
    logits = torch.arange(batch * 7 * classes, dtype=torch.float32).reshape(batch, 7, classes)
    boxes = torch.arange(batch * 7 * 4, dtype=torch.float32).reshape(batch, 7, 4)
    return DensePredictions(logits, boxes, priors, **optional)


def tensors(record) -> dict[str, torch.Tensor]:
    values = {item.name: getattr(record, item.name) for item in dataclasses.fields(record)}
    return {name: value for name, value in values.items() if isinstance(value, torch.Tensor)}


# ---- lengths


@pytest.mark.parametrize("field", ["labels", "masks", "ignore", "areas"])
def test_targets_of_unequal_lengths_are_refused_with_all_lengths(field):
    shorter = {field: getattr(make_targets(4), field)[:3]}
    with pytest.raises(ValueError, match=rf"Targets needs fields of one length, got .*boxes 4.*{field} 3"):
        dataclasses.replace(make_targets(4), **shorter)


@pytest.mark.parametrize("field", ["scores", "labels"])
def test_detections_of_unequal_lengths_are_refused(field):
    with pytest.raises(ValueError, match=f"Detections needs fields of one length, got .*{field} 2"):
        dataclasses.replace(make_detections(3), **{field: getattr(make_detections(3), field)[:2]})


def test_priors_of_unequal_lengths_are_refused():
    with pytest.raises(ValueError, match="Priors needs fields of one length, got points 3, strides 2"):
        Priors(torch.zeros(3, 2), torch.ones(2))


def test_lengths_count_objects():
    assert (len(make_targets(4)), len(make_detections(3)), len(Priors(torch.zeros(5, 2), torch.ones(5)))) == (4, 3, 5)


# ---- choosing rows


INDICES = {
    "bool mask": (torch.tensor([True, False, False, True]), [0, 3]),
    "int tensor": (torch.tensor([2, 0]), [2, 0]),
    "repeated": (torch.tensor([1, 1]), [1, 1]),
    "list": ([3, 1], [3, 1]),
    "slice": (slice(1, 3), [1, 2]),
    "step": (slice(None, None, 2), [0, 2]),
    "int": (2, [2]),
    "negative int": (-1, [3]),
    "no row (mask)": (torch.zeros(4, dtype=torch.bool), []),
    "no row (index)": (torch.zeros(0, dtype=torch.int64), []),
    "no row (slice)": (slice(0, 0), []),
}


@pytest.mark.parametrize("index", INDICES)
def test_indexing_chooses_the_same_rows_of_every_field(index):
    given, rows = INDICES[index]
    targets = make_targets(4)
    chosen = targets[given]
    assert isinstance(chosen, Targets)
    assert len(chosen) == len(rows)
    for name, value in tensors(targets).items():
        assert torch.equal(getattr(chosen, name), value[torch.tensor(rows, dtype=torch.int64)]), name
    assert chosen.meta is META


def test_indexing_leaves_absent_fields_absent():
    chosen = Targets(torch.zeros(3, 4), torch.zeros(3, dtype=torch.int64))[1:]
    assert (chosen.masks, chosen.ignore, chosen.areas, chosen.meta) == (None, None, None, None)


def test_row_past_the_end_is_an_index_error():
    with pytest.raises(IndexError):
        make_targets(4)[4]


def test_iterating_yields_objects_one_by_one_and_ends():
    assert [one.labels.tolist() for one in make_targets(3)] == [[0], [1], [2]]


def test_detections_can_be_filtered_by_score():
    found = Detections(torch.rand(3, 4), torch.tensor([0.9, 0.5, 0.1]), torch.tensor([4, 5, 6]))
    assert found[found.scores > 0.3].labels.tolist() == [4, 5]


# ---- learnable, empty


def test_learnable_leaves_out_what_is_ignored():
    assert make_targets(4).learnable().labels.tolist() == [0, 2]


def test_learnable_without_marks_is_everything():
    targets = Targets(torch.zeros(3, 4), torch.zeros(3, dtype=torch.int64))
    assert targets.learnable() is targets


def test_learnable_may_be_empty():
    targets = Targets(torch.zeros(2, 4), torch.zeros(2, dtype=torch.int64), ignore=torch.tensor([True, True]))
    assert len(targets.learnable()) == 0


@pytest.mark.parametrize("size", [4, 5])
def test_empty_targets_have_shapes_and_types(size):
    targets = Targets.empty(size, META)
    assert targets.boxes.shape == (0, size)
    assert targets.boxes.dtype == torch.float32
    assert targets.labels.dtype == torch.int64
    assert len(targets) == 0
    assert targets.meta is META


# ---- moving


def test_to_moves_every_tensor_and_keeps_the_rest():
    moved = make_targets(4).to("meta")
    assert all(value.device.type == "meta" for value in tensors(moved).values())
    assert len(tensors(moved)) == 5
    assert moved.meta is META


def test_to_moves_nested_priors():
    moved = make_predictions(mask_features=torch.zeros(2, 8, 1, 1)).to("meta")
    assert moved.priors.points.device.type == "meta"
    assert moved.priors.strides.device.type == "meta"
    assert moved.mask_features.device.type == "meta"
    assert moved.kernels is None


def test_to_a_float_type_converts_boxes():
    moved = make_detections(3).to(torch.float64)
    assert moved.boxes.dtype == torch.float64


def test_to_returns_a_copy_of_the_record():
    targets = make_targets(2)
    assert targets.to("cpu") is not targets
    assert_close(targets.to("cpu").boxes, targets.boxes, rtol=0, atol=0)


# ---- dense predictions


def test_predictions_that_do_not_belong_together_are_refused_with_their_shapes():
    good = make_predictions(2)
    with pytest.raises(ValueError, match=r"logits \(1, 7, 3\), boxes \(2, 7, 4\) and 7 priors do not belong together"):
        dataclasses.replace(good, logits=good.logits[:1])
    with pytest.raises(ValueError, match=r"boxes \(2, 6, 4\)"):
        dataclasses.replace(good, boxes=good.boxes[:, :6])
    with pytest.raises(ValueError, match="and 6 priors"):
        dataclasses.replace(good, priors=good.priors[:6])


def test_length_of_predictions_is_the_number_of_images():
    assert len(make_predictions(2)) == 2


def test_level_sizes_count_points_per_stride():
    assert make_predictions().level_sizes() == [4, 2, 1]


@pytest.mark.parametrize(("index", "rows"), [(1, [1]), (-1, [1]), (slice(0, 1), [0]), (torch.tensor([True, False]), [0])])
def test_indexing_predictions_chooses_images_and_keeps_priors(index, rows):
    kernels, features = torch.rand(2, 7, 5), torch.rand(2, 8, 2, 2)
    predictions = make_predictions(2, kernels=kernels, mask_features=features)
    chosen = predictions[index]
    assert chosen.priors is predictions.priors
    for name, value in tensors(predictions).items():
        assert torch.equal(getattr(chosen, name), value[rows]), name


def test_detached_predictions_share_values_and_carry_no_gradient():
    predictions = make_predictions()
    predictions.logits.requires_grad_()
    predictions.boxes.requires_grad_()
    detached = predictions.detach()
    assert not detached.logits.requires_grad
    assert not detached.boxes.requires_grad
    assert detached.logits.data_ptr() == predictions.logits.data_ptr()
    assert predictions.logits.requires_grad


# ---- assignment


def test_positive_points_are_those_with_an_object():
    assignment = Assignment(torch.tensor([[-1, 0, 2], [-1, -1, -1]]), torch.tensor([[0.0, 0.5, 0.0], [0.0, 0.0, 0.0]]))
    assert assignment.positive.tolist() == [[False, True, True], [False, False, False]]
    assert len(assignment) == 2


def test_indexing_an_assignment_keeps_the_batch_axis():
    assignment = Assignment(torch.tensor([[0, -1], [-1, 1]]), torch.tensor([[0.5, 0.0], [0.0, 0.25]]))
    assert assignment[1].gt_index.tolist() == [[-1, 1]]
    assert assignment[:1].quality.tolist() == [[0.5, 0.0]]


def test_image_meta_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        META.image_id = 8
