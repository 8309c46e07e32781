"""What arrives of a batch that another process hands over, and that nothing of it stays behind."""

from __future__ import annotations

import os
import pickle
import resource
from contextlib import contextmanager

import pytest
import torch
from sources import Numbered

from rtmdet_lab.core.errors import UserError
from rtmdet_lab.core.structures import ImageMeta, Targets
from rtmdet_lab.data.handover import Lost, Outbox, address_of, open_address
from rtmdet_lab.data.loaders import Batch, PipelineDataset, TestSampler, batches_of, make_loader
from rtmdet_lab.transforms.pipelines import test_pipeline


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


def pass_on(outbox: Outbox, content):
    return pickle.loads(pickle.dumps(outbox.send(content)))


@contextmanager
def limited(files: int):
    """Allows so many more open files than there are."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (open_files() + files, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_every_kind_of_tensor_arrives_with_its_values_and_its_layout():
    images = torch.arange(2 * 5 * 4 * 3, dtype=torch.uint8).reshape(2, 5, 4, 3).permute(0, 3, 1, 2)
    tensors = [
        images,
        torch.rand(7, 4)[:, ::2],
        torch.rand(3, 6, 5) > 0.5,
        torch.tensor(3.5),
        torch.empty(0, 4),
        torch.empty(0, dtype=torch.int64),
        torch.tensor([[float("nan"), -0.0, 1e-45]]),
        torch.arange(6).reshape(2, 3).expand(4, 2, 3),
    ]
    arrived = pass_on(Outbox(1), tensors)
    for sent, tensor in zip(tensors, arrived, strict=True):
        assert tensor.dtype == sent.dtype
        assert tensor.shape == sent.shape
        assert torch.equal(tensor.nan_to_num(), sent.nan_to_num())
    assert arrived[0].is_contiguous(memory_format=torch.channels_last)
    arrived[0].fill_(1)
    assert images[0, 0, 0, 1] == 3  # nothing is shared


def test_batch_arrives_whole():
    meta = ImageMeta("é.jpg", (10, 20), (0.5, 2.0), path="a/é.jpg")
    targets = [Targets(torch.rand(2, 4), torch.tensor([0, 1]), masks=torch.rand(2, 3, 3) > 0.5, meta=meta), Targets.empty()]
    batch = Batch(torch.zeros(2, 3, 4, 4, dtype=torch.uint8), targets, ["a note"], "a failure")
    arrived = pass_on(Outbox(1), batch)
    assert (arrived.notes, arrived.failure) == (["a note"], "a failure")
    assert arrived.targets[0].meta == meta
    assert torch.equal(arrived.targets[0].masks, targets[0].masks)
    assert arrived.targets[1].masks is None


def test_receiver_keeps_no_file_open_and_sender_only_the_last_ones():
    before = open_files()
    outbox = Outbox(2)
    for number in range(20):
        arrived = pass_on(outbox, torch.full((1000,), number))
        assert arrived.unique().tolist() == [number]
        assert open_files() <= before + 2
    assert [os.fstat(handle).st_size for handle in outbox._handles] == [0, 0]  # the memory is free again


def test_parcel_is_a_message_that_is_written_at_once():
    parcel = Outbox(1).send([torch.rand(100, 100) for _ in range(3000)])
    assert len(pickle.dumps(parcel)) < 512  # bytes that a pipe takes whole


def test_parcel_whose_sender_is_gone_is_lost_and_other_files_are_not_taken_for_it(tmp_path):
    outbox = Outbox(1)
    message = pickle.dumps(outbox.send("first"))
    outbox.send("second")
    arrived = pickle.loads(message)
    assert isinstance(arrived, Lost)
    with (tmp_path / "a").open("wb") as file, (tmp_path / "b").open("wb") as other:
        path, _ = address_of(file.fileno())
        with pytest.raises(OSError, match="gone"):
            open_address((path, address_of(other.fileno())[1]))


@pytest.mark.parametrize("workers", [1, 2])
def test_large_batches_need_few_open_files_and_no_shared_memory(workers):
    # Passed as PyTorch does, each image's boxes and labels would be open files: 128 of them in a batch.
    dataset = PipelineDataset(Numbered(256), test_pipeline(32), training=True)
    with limited(60):
        batches = list(batches_of(make_loader(dataset, TestSampler(256, 64), workers)))
    seen = [target.meta.image_id for batch in batches for target in batch.targets]
    assert seen == list(range(256))
    assert not any(batch.images.is_shared() for batch in batches)


def test_loader_that_cannot_have_processes_is_a_sentence():
    dataset = PipelineDataset(Numbered(8), test_pipeline(32), training=True)
    with limited(3), pytest.raises(UserError, match=r"loader processes .*train\.workers"):
        list(batches_of(make_loader(dataset, TestSampler(8, 2), 2)))
