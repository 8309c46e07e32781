"""COCO's compressed run lengths, unpacked and checked for many masks at once.

A character holds five bits, lowest first, above 48; bit 5 says that more follow, bit 4 of the last one is the sign. From the
fourth count on, the difference to the last but one is kept. pycocotools checks nothing: it decodes a text that is too short
without a word and leaves the other pixels as they were in memory, and texts of random characters keep it busy for ever.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

LONGEST = 12  # characters of a number: 60 bits, far more than any image has pixels
LARGEST = 2**40


def unpack_counts(texts: Sequence[str | bytes]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns the counts of all texts in a row, which text each belongs to, and which texts cannot be unpacked.

    Returns:
        counts (N,) int64, owners (N,) int64 in ascending order, damaged (len(texts),) bool: a character or number that is
        none of the format's, or a number that ends with the text. The counts of damaged texts have no meaning.

    >>> counts, owners, damaged = unpack_counts(["04", "1", "x"])
    >>> counts.tolist(), owners.tolist(), damaged.tolist()
    ([0, 4, 1, 8], [0, 0, 1, 2], [False, False, True])
    """
    packed = [_characters(text) for text in texts]
    lengths = np.array([len(text) for text in packed], dtype=np.int64)
    damaged = np.zeros(len(texts), dtype=bool)
    ends = np.cumsum(lengths)
    bits = np.frombuffer(b"".join(packed), dtype=np.uint8) - np.uint8(48)
    if not len(bits):
        return np.zeros(0, np.int64), np.zeros(0, np.int64), damaged
    damaged[np.searchsorted(ends, np.flatnonzero(bits >= 64), side="right")] = True
    more = (bits & 32) != 0
    filled = lengths > 0
    damaged[filled] |= more[ends[filled] - 1]

    begins = np.ones(len(bits), dtype=bool)
    begins[1:] = ~more[:-1]
    begins[(ends - lengths)[filled]] = True
    start = np.flatnonzero(begins)
    per_text = np.diff(np.searchsorted(start, ends), prepend=0)
    owners = np.repeat(np.arange(len(texts)), per_text)
    length = np.diff(np.append(start, len(bits)))
    damaged[owners[length > LONGEST]] = True
    length = np.minimum(length, LONGEST)
    values = (bits[start] & 31).astype(np.int64)
    for place in range(1, int(length.max())):
        longer = np.flatnonzero(length > place)
        values[longer] |= (bits[start[longer] + place] & 31).astype(np.int64) << (5 * place)
    negative = np.flatnonzero(bits[start + length - 1] & 16)
    values[negative] -= np.int64(1) << (5 * length[negative])
    far = np.abs(values) > LARGEST
    damaged[owners[far]] = True
    values[far] = 0

    place = np.arange(len(values)) - np.repeat(np.cumsum(per_text) - per_text, per_text)  # of a count in its own text
    odd = place % 2 == 1
    for chosen, first in ((np.flatnonzero(odd), 1), (np.flatnonzero(~odd & (place > 0)), 2)):
        differences = values[chosen]
        sums = np.cumsum(differences)
        begin = np.maximum.accumulate(np.where(place[chosen] == first, np.arange(len(chosen)), 0))
        values[chosen] = sums - (sums - differences)[begin]
    return values, owners, damaged


def unfit_masks(texts: Sequence[str | bytes], pixels: Sequence[int]) -> np.ndarray:
    """Returns which compressed masks (len(texts),) bool are damaged or do not cover their images' ``pixels`` exactly."""
    counts, owners, damaged = unpack_counts(texts)
    damaged[owners[counts < 0]] = True
    totals = np.bincount(owners, weights=np.where(damaged[owners], 0, counts), minlength=len(texts))
    return damaged | (totals != np.asarray(pixels))


def _characters(text: str | bytes) -> bytes:
    if isinstance(text, bytes):
        return text
    try:
        return text.encode("ascii")
    except UnicodeEncodeError:
        return b"\xff"  # none of the format's
