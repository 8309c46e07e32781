"""Compressed run lengths: unpacked as a slow reading of the format does it, and never trusted."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch

from rtmdet_lab.geometry.masks import encode_masks
from rtmdet_lab.geometry.run_lengths import unfit_masks, unpack_counts


def slow_counts(text: str) -> list[int]:
    """Reads the format character by character."""
    counts, value, shift = [], 0, 0
    for letter in text:
        bits = ord(letter) - 48
        value += (bits % 32) * 2**shift
        shift += 5
        if bits < 32:
            value -= 2**shift if bits >= 16 else 0
            counts.append(value + (counts[-2] if len(counts) > 2 else 0))
            value = shift = 0
    return counts


def masks(count: int, height: int, width: int, share: float, seed: int) -> list[dict]:
    generator = torch.Generator().manual_seed(seed)
    return encode_masks(torch.rand(count, height, width, generator=generator) < share)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 1.0])
@pytest.mark.parametrize("size", [(1, 1), (7, 300), (480, 640)])
def test_many_masks_are_unpacked_as_one_by_one(size, share):
    texts = [mask["counts"] for mask in masks(5, *size, share, seed=3)]
    counts, owners, damaged = unpack_counts(texts)
    assert not damaged.any()
    assert [counts[owners == number].tolist() for number in range(5)] == [slow_counts(text) for text in texts]
    assert not unfit_masks(texts, [size[0] * size[1]] * 5).any()
    assert unfit_masks([text.encode() for text in texts], [size[0] * size[1] + 1] * 5).all()


def test_small_cases_by_hand():
    # "04": 0 and 4 pixels. "0PQ1": 0, then 0 + 32 * (49 - 48 = 1) = 32 from two characters ("P" = 32 | 0, "1" = 1).
    assert unpack_counts(["04", "0P1"])[0].tolist() == [0, 4, 0, 32]
    # The fourth count is the difference to the second: 3, 5, 2, and 5 + 1.
    assert unpack_counts(["3521"])[0].tolist() == [3, 5, 2, 6]
    assert unpack_counts([])[0].tolist() == []
    assert unfit_masks(["", "4"], [4, 4]).tolist() == [True, False]


@pytest.mark.parametrize(
    "text", ["o", "4o", "\u20ac", "4 ", "o" * 13 + "1", "o" * 5_000_000, "\x7f~|{z" * 1000, "~" * 12 + "1"]
)
def test_damaged_text_is_named_and_its_neighbours_are_not(text):
    fit = masks(1, 9, 11, 0.5, seed=1)[0]["counts"]
    assert unfit_masks([fit, text, fit], [99, 99, 99]).tolist() == [False, True, False]


def test_text_cut_short_or_negative_does_not_fit():
    fit = masks(1, 64, 64, 0.3, seed=2)[0]["counts"]
    assert unfit_masks([fit[:-2]], [64 * 64])[0]
    assert unfit_masks(["O5"], [4])[0]  # -1 and 5


def test_random_texts_are_answered_at_once():
    rng = np.random.default_rng(0)
    texts = ["".join(map(chr, rng.integers(48, 112, 200))) for _ in range(2000)]
    begin = time.monotonic()
    assert unfit_masks(texts, [96 * 96] * 2000).all()
    assert time.monotonic() - begin < 10
