"""Which picture annotations were made for: the turned or the stored one."""

from __future__ import annotations

import pytest
from PIL import Image

from rtmdet_lab.data.exif import is_turned, turn_doubt
from rtmdet_lab.data.images import read_image
from rtmdet_lab.transforms.base import image_size

STORED, UPRIGHT = (300, 400), (400, 300)  # (height, width)
LOW, WIDE, BOTH = (200.0, 390.0), (390.0, 200.0), (200.0, 200.0)  # x, y that fit only turned, only stored, both


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
@pytest.mark.parametrize(
    ("size", "reach", "turned", "doubted"),
    [
        (UPRIGHT, LOW, True, False),
        (STORED, WIDE, False, False),
        (UPRIGHT, BOTH, True, False),
        (STORED, BOTH, False, True),
        (STORED, LOW, True, True),  # the file has the sides of the stored picture, its boxes do not
        (UPRIGHT, WIDE, False, True),
        (None, LOW, True, False),
        (None, WIDE, False, False),
        (None, BOTH, True, True),
        (STORED, (200.0, 303.0), False, True),  # three pixels past the border are careless, no proof
    ],
)
def test_boxes_decide_then_the_size_then_what_viewers_show(orientation, size, reach, turned, doubted):
    assert is_turned(STORED, orientation, size, reach) is turned
    assert (turn_doubt(STORED, orientation, size, reach) is not None) is doubted


@pytest.mark.parametrize(("stored", "orientation"), [(STORED, 3), (STORED, 2), ((300, 300), 6)])
def test_turns_that_keep_the_sides_are_made_and_doubted(stored, orientation):
    assert is_turned(stored, orientation, stored, BOTH)
    assert "keeps its sides" in turn_doubt(stored, orientation, stored, BOTH)
    assert turn_doubt(stored, 1, stored, BOTH) is None


def test_image_is_read_as_its_boxes_need_it(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (400, 300)).save(tmp_path / "a.jpg", exif=exif)
    assert image_size(read_image(tmp_path / "a.jpg", STORED, LOW)) == UPRIGHT
    assert image_size(read_image(tmp_path / "a.jpg", UPRIGHT, WIDE)) == STORED
    assert image_size(read_image(tmp_path / "a.jpg", None, WIDE)) == STORED
