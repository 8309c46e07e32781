"""The table of published files."""

from __future__ import annotations

import re
from urllib.parse import urlparse

import pytest

from rtmdet_lab.config.presets import SIZES, parse_model_name
from rtmdet_lab.config.tasks import TASKS
from rtmdet_lab.core.errors import UnknownNameError
from rtmdet_lab.models.zoo import ZOO, zoo_entry


def test_no_file_is_listed_twice():
    assert len({entry.url for entry in ZOO.values()}) == len(ZOO)
    assert len({entry.filename for entry in ZOO.values()}) == len(ZOO)
    assert len({entry.sha256_prefix for entry in ZOO.values()}) == len(ZOO)


@pytest.mark.parametrize("entry", ZOO.values(), ids=lambda entry: entry.name)
def test_entry_has_a_secure_address_a_hash_and_a_known_size(entry):
    address = urlparse(entry.url)
    assert address.scheme == "https"
    assert address.path.endswith(".pth")
    assert re.fullmatch("[0-9a-f]{8}", entry.sha256_prefix)
    names = {prefix + size for prefix in ("", *(facts.prefix for facts in TASKS.values())) for size in SIZES}
    assert entry.model in names
    size = entry.model.rsplit("-", 1)[-1]
    assert size in re.split("[-_]", entry.filename)  # what is typed and what is fetched are of one size
    assert size in entry.name.split("-")
    assert all(20 < value < 90 for value in entry.published.values())


@pytest.mark.parametrize("size", SIZES)
def test_every_detector_has_a_file(size):
    name = "rtmdet-nano-person" if size == "nano" else f"rtmdet-{size}-coco"
    assert parse_model_name(zoo_entry(name).model) == ("detection", size)
    assert zoo_entry(name).num_classes == (1 if size == "nano" else 80)


@pytest.mark.parametrize("name", ["rtmdet-tiny-cocoo", "cspnext-tiny-imagnet"])
def test_misspelt_name_is_answered_with_the_nearest(name):
    with pytest.raises(UnknownNameError, match=r"did you mean '(rtmdet-tiny-coco|cspnext-tiny-imagenet)'"):
        zoo_entry(name)
