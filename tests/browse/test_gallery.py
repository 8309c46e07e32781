from __future__ import annotations

import pytest
import torch
from made_sources import SIZE, made_source
from matplotlib import pyplot as plt

from rtmdet_lab.browse.dataset import put
from rtmdet_lab.browse.gallery import box_of, labels_of, view_field, view_gallery
from rtmdet_lab.browse.saved_views import open_view

pytestmark = pytest.mark.usefixtures("database")


@pytest.mark.parametrize("kind", ["bbox", "segm", "rotated"])
def test_gallery_names_images_and_kinds(tmp_path, kind):
    dataset, _ = put([made_source(tmp_path, kind=kind)], f"gallery {tmp_path}")
    figure = view_gallery(open_view(dataset, "duplicates"), "k5", "duplicates", most=1)
    assert figure._suptitle.get_text() == "duplicates: 1 of 2 images"
    shown = [text.get_text() for ax in figure.axes for text in ax.texts]
    assert "cat 0.80, duplicate" in shown
    truth = view_gallery(dataset, "ground_truth")
    assert len([ax for ax in truth.axes if ax.get_title().startswith("image ")]) == 3
    plt.close("all")


def test_boxes_come_back_as_they_were_put(tmp_path):
    for kind, wanted in (("bbox", [20, 20, 36, 28]), ("rotated", [20, 20, 16, 8, 0.5])):
        dataset, _ = put([made_source(tmp_path / kind, kind=kind)], f"gallery {tmp_path} {kind}")
        label = labels_of(dataset.first(), "ground_truth")[0]
        torch.testing.assert_close(box_of(label, SIZE), torch.tensor(wanted, dtype=torch.float32), atol=1e-4, rtol=0)


def test_empty_view_says_so_and_views_are_about_their_field(tmp_path):
    dataset, _ = put([made_source(tmp_path), made_source(tmp_path, "k7")], f"gallery {tmp_path}")
    figure = view_gallery(open_view(dataset, "k5: class confusions"), "k5", "confusions")
    assert figure._suptitle.get_text() == "confusions: 0 of 0 images"
    assert "no image" in [text.get_text() for text in figure.texts]
    assert view_field(dataset, "k7: duplicates") == "k7"
    assert view_field(dataset, "k7: missed large objects") == "ground_truth"
    assert view_field(dataset, "k5 found, k7 missed") == "ground_truth"
    plt.close("all")
