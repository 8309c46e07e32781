"""Who mosaic and mixup mix with."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from made_samples import make_sample

from rtmdet_lab.transforms.partners import CachedPartners, DatasetPartners


def fill(partners: CachedPartners, count: int) -> list[int]:
    for number in range(count):
        partners.remember(number)
    return partners.samples


def test_oldest_leaves_first():
    assert fill(CachedPartners(4, "oldest"), 10) == [6, 7, 8, 9]


def test_random_eviction_may_take_any_image_the_newest_included():
    left = Counter()
    for seed in range(1200):
        torch.manual_seed(seed)
        kept = fill(CachedPartners(3, "random"), 4)
        assert len(kept) == 3
        assert kept == sorted(kept)
        left.update({0, 1, 2, 3} - set(kept))
    assert sorted(left) == [0, 1, 2, 3]
    assert min(left.values()) > 300 - 75  # five deviations of sqrt(1200 * 1/4 * 3/4) = 15
    assert max(left.values()) < 300 + 75


def test_cache_never_exceeds_its_size_and_keeps_all_until_then():
    partners = CachedPartners(5, "random")
    for number in range(20):
        partners.remember(number)
        assert len(partners.samples) == min(number + 1, 5)


@pytest.mark.parametrize("min_size", [1, 2, 5])
def test_too_young_a_cache_gives_no_partners(min_size):
    partners = CachedPartners(10, "random", min_size)
    for count in range(1, 8):
        partners.remember(count)
        assert bool(partners.draw(3)) == (count >= min_size)


def test_partners_are_drawn_evenly_and_with_replacement():
    partners = CachedPartners(4, "random", 1)
    fill(partners, 4)
    torch.manual_seed(0)
    draws = [partners.draw(3) for _ in range(1000)]
    assert {len(drawn) for drawn in draws} == {3}
    # All three different: 1 * 3/4 * 2/4 = 0.375.
    assert np.mean([len(set(drawn)) == 3 for drawn in draws]) == pytest.approx(0.375, abs=0.08)
    counts = Counter(one for drawn in draws for one in drawn)
    assert min(counts.values()) > 750 - 120
    assert max(counts.values()) < 750 + 120


def test_drawing_removes_nothing():
    partners = CachedPartners(4, "oldest", 1)
    fill(partners, 4)
    for _ in range(10):
        partners.draw(3)
    assert partners.samples == [0, 1, 2, 3]


def test_new_epoch_starts_with_an_empty_cache():
    partners = CachedPartners(4, "oldest", 1)
    fill(partners, 4)
    partners.start_epoch()
    assert partners.draw(1) == []


def test_remembered_sample_is_the_one_that_is_drawn():
    partners = CachedPartners(4, "oldest", 1)
    sample = make_sample(5, 5, [[0, 0, 1, 1]])
    partners.remember(sample)
    assert partners.draw(1)[0] is sample


def test_uncached_partners_are_read_fresh_from_the_whole_set():
    read = []

    def load(index):
        read.append(index)
        return index

    partners = DatasetPartners(load, 6)
    partners.remember("ignored")
    partners.start_epoch()
    torch.manual_seed(0)
    for _ in range(100):
        drawn = partners.draw(3)
        assert drawn == read[-3:]
    assert sorted(set(read)) == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize(("max_size", "min_size"), [(10, 5), (4, 5), (1, 1), (3, 2)])
def test_cache_says_beforehand_whether_it_will_have_partners(max_size, min_size):
    partners = CachedPartners(max_size, "oldest", min_size)
    for number in range(12):
        expected = partners.will_draw()
        partners.remember((number, {}))
        assert bool(partners.draw(3)) == expected
