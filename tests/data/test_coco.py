"""COCO files: what is read, what is left out, what is refused and how."""

from __future__ import annotations

import json
import math
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from made_samples import boxes_of
from made_sets import annotation, assert_one_sentence, content, image, write_annotations
from PIL import Image

from rtmdet_lab.core.errors import DataError
from rtmdet_lab.data.coco import CocoDataset
from rtmdet_lab.data.coco_file import read_coco
from rtmdet_lab.transforms.base import image_size


@pytest.fixture
def path(tmp_path):
    return tmp_path / "instances.json"


@pytest.fixture
def images(tmp_path):
    """Returns a folder with black images 1.png to 4.png of 64 x 64."""
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(1, 5):
        Image.fromarray(np.zeros((64, 64, 3), dtype=np.uint8)).save(folder / f"{number}.png")
    return folder


def refused(path: Path, what, *words: str, read=read_coco) -> str:
    """Returns the one sentence with which a file is refused."""
    write_annotations(path, what)
    with pytest.raises(DataError) as error:
        read(path)
    return assert_one_sentence(error.value, str(path), *words)


def problems_of(path: Path, *entries, **options) -> list[str]:
    write_annotations(path, content([image(1), image(2)], entries, **options))
    return read_coco(path).problems


# What a good file becomes ------------------------------------------------------------------------------------------------


def test_objects_of_a_file_by_hand(path):
    known = [{"id": 7, "name": "tall"}, {"id": 3, "name": "wide"}]
    write_annotations(
        path,
        content(
            [image(5, (48, 64)), image(2)],
            [annotation(10, 2, 3, (1, 2, 30, 4)), annotation(11, 5, 7, (10.5, 20, 5, 6.25), area=9), annotation(12, 2, 7)],
            known,
        ),
    )
    file = read_coco(path)
    assert file.title == "a set made for a test"
    assert file.classes == ("tall", "wide")  # the file's order, not that of the ids
    assert file.category_ids == (7, 3)
    assert [record.image_id for record in file.images] == [5, 2]
    first, second = file.images
    assert first.size == (48, 64)
    assert first.boxes == [[10.5, 20, 15.5, 26.25]]
    assert first.areas == [9]
    assert second.labels == [1, 0]
    assert second.boxes == [[1, 2, 31, 6], [8, 8, 40, 24]]
    assert second.crowd == [False, False]
    assert file.problems == []
    assert not file.dropped


def test_gaps_in_category_ids_become_labels_without_gaps(path):
    known = [{"id": number, "name": f"class {number}"} for number in (1, 5, 90)]
    write_annotations(path, content([image(1)], [annotation(1, 1, 90), annotation(2, 1, 5)], known))
    file = read_coco(path)
    assert file.images[0].labels == [2, 1]
    assert file.category_ids == (1, 5, 90)


def test_chosen_classes_give_the_label_order_and_drop_the_rest(path):
    known = [{"id": number, "name": name} for number, name in ((1, "person"), (2, "dog"), (4, "cat"))]
    write_annotations(path, content([image(1)], [annotation(1, 1, 1), annotation(2, 1, 2), annotation(3, 1, 4)], known))
    file = read_coco(path, ["cat", "person"])
    assert file.classes == ("cat", "person")
    assert file.category_ids == (4, 1)
    assert file.images[0].labels == [1, 0]


def test_missing_info_and_optional_fields_have_defaults(path):
    bare = {"images": [{"id": 1, "file_name": "1.png"}], "categories": [{"id": 1, "name": "thing"}]}
    bare["annotations"] = [
        {"image_id": 1, "category_id": 1, "bbox": [0, 0, 4, 5]},
        {"image_id": 1, "category_id": 1, "bbox": [1, 1, 2, 2]},
    ]
    write_annotations(path, bare)
    file = read_coco(path)
    assert file.title == path.name
    assert file.problems == []
    assert file.images[0].size is None
    assert file.images[0].areas == [20, 4]
    assert file.images[0].crowd == [False, False]


@pytest.mark.parametrize("info", [None, {}, {"description": ""}, {"description": None}])
def test_title_falls_back_to_the_file_name(path, info):
    write_annotations(path, content([image(1)], [], info=info))
    assert read_coco(path).title == path.name


@pytest.mark.parametrize("info", ["made by hand", ["a", "list"], 5])
def test_odd_info_does_not_stop_the_reading(path, info):
    write_annotations(path, content([image(1)], [annotation(1, 1)], info=info))
    assert read_coco(path).images[0].labels == [0]


def test_file_with_byte_order_mark_is_read(path):
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(content([image(1)], [annotation(1, 1)])).encode())
    assert len(read_coco(path).images) == 1


def test_large_file_is_read_in_seconds(path):
    # Seven annotations per image as in the real set, a twentieth of its number.
    count = 40_000
    images = [image(number) for number in range(count // 7)]
    entries = [annotation(number, number % len(images), 3 if number % 3 else 7) for number in range(count)]
    write_annotations(path, content(images, entries))
    begin = time.process_time()
    file = read_coco(path)
    assert time.process_time() - begin < 2
    assert sum(len(record.labels) for record in file.images) == count


# A file that cannot be used as a whole -----------------------------------------------------------------------------------


def test_missing_file_and_folder_in_its_place(path):
    with pytest.raises(DataError) as error:
        read_coco(path)
    assert_one_sentence(error.value, str(path), "does not exist")
    path.mkdir()
    with pytest.raises(DataError) as error:
        read_coco(path)
    assert_one_sentence(error.value, str(path), "is a folder", "COCO file")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is empty"),
        ("   \n", "is empty"),
        ('{"images": [', "not valid JSON"),
        ("<xml/>", "not valid JSON"),
        ('{"images": [],\n "annotations": [}', "line 2"),
        ("\x00\x01\x02", "not valid JSON"),
        ("[" * 200_000, "not valid JSON"),
    ],
    ids=["empty", "blank", "truncated", "xml", "line", "binary", "deep"],
)
def test_what_is_not_json_is_refused(path, text, words):
    refused(path, text, words)


def test_text_that_is_not_unicode_is_refused(path):
    path.write_bytes(b'{"images": "\xff\xfe"}')
    with pytest.raises(DataError) as error:
        read_coco(path)
    assert_one_sentence(error.value, str(path), "not valid JSON")


@pytest.mark.parametrize("what", [[], "text", 5, None], ids=["list", "text", "number", "null"])
def test_json_of_another_form_is_refused(path, what):
    refused(path, json.dumps(what), "COCO")


@pytest.mark.parametrize("key", ["images", "annotations", "categories"])
@pytest.mark.parametrize("value", ["left out", None, {}, "text"], ids=["left out", "null", "object", "text"])
def test_missing_section_is_named(path, key, value):
    what = content([image(1)], [annotation(1, 1)])
    if value == "left out":
        del what[key]
    else:
        what[key] = value
    refused(path, what, repr(key))


def test_repeated_image_id_is_named(path):
    refused(path, content([image(1), image(17), image(17)], []), "image id 17", "twice")


def test_repeated_category_id_is_named(path):
    refused(path, content([image(1)], [], [{"id": 4, "name": "a"}, {"id": 4, "name": "b"}]), "category id 4", "twice")


def test_two_classes_of_one_name_with_objects_are_refused(path):
    # They cannot be told apart by name: choosing the class would silently lose one of them.
    known = [{"id": 4, "name": "car"}, {"id": 5, "name": "car"}]
    refused(path, content([image(1)], [annotation(1, 1, 4), annotation(2, 1, 5)], known), "'car'", "id 4 with 1", "id 5")


@pytest.mark.parametrize("used", [4, 5])
def test_unused_class_of_the_same_name_is_left_out_with_a_word(path, used):
    known = [{"id": 4, "name": "car"}, {"id": 5, "name": "car"}, {"id": 6, "name": "bus"}]
    write_annotations(path, content([image(1)], [annotation(1, 1, used)], known))
    file = read_coco(path)
    assert (set(file.classes), len(file.classes)) == ({"car", "bus"}, 2)
    assert file.category_ids[file.classes.index("car")] == used
    assert_one_sentence(file.notes[0], "'car'", f"id {9 - used}", "left out")


def test_root_that_only_groups_others_is_left_out_unless_it_is_chosen(path):
    known = [{"id": 0, "name": "fruit", "supercategory": "none"}, {"id": 1, "name": "fig", "supercategory": "fruit"}]
    write_annotations(path, content([image(1)], [annotation(1, 1, 1)], known))
    file = read_coco(path)
    assert file.classes == ("fig",)
    assert_one_sentence(file.notes[0], "'fruit'", "id 0", "left out")
    assert read_coco(path, ["fruit", "fig"]).classes == ("fruit", "fig")
    write_annotations(path, content([image(1)], [annotation(1, 1, 1), annotation(2, 1, 0)], known))
    assert read_coco(path).classes == ("fruit", "fig")
    person = [{"id": 1, "name": "person", "supercategory": "person"}, {"id": 3, "name": "car", "supercategory": "vehicle"}]
    write_annotations(path, content([image(1)], [annotation(1, 1, 3)], person))
    assert read_coco(path).classes == ("person", "car"), "a group of its own name, as in COCO"


@pytest.mark.parametrize(
    "entry", [{"name": "x"}, {"id": "a", "name": "x"}, {"id": 1}, "text", None, {"id": 1.5, "name": "x"}]
)
def test_odd_category_is_named_by_number(path, entry):
    refused(path, content([image(1)], [], [{"id": 3, "name": "wide"}, entry]), "category number 1")


def test_file_without_categories_is_refused(path):
    refused(path, content([image(1)], [], []), "no categories")


@pytest.mark.parametrize(
    "entry", [{"file_name": "x.png"}, {"id": 9}, {"id": "a", "file_name": "x"}, {"id": 9, "file_name": 4}, "text", None]
)
def test_odd_image_is_refused(path, entry):
    refused(path, content([image(1), entry], []), "id", "file_name")


def test_class_that_the_file_does_not_have_gets_a_suggestion(path):
    message = refused(
        path,
        content([image(1)], [], [{"id": 1, "name": "person"}, {"id": 2, "name": "dog"}]),
        "'persn'",
        "did you mean 'person'?",
        "person, dog",
        read=lambda file: read_coco(file, ["dog", "persn"]),
    )
    assert "  " not in message
    message = refused(path, content([image(1)], []), "'zebra'", "wide, tall", read=lambda file: read_coco(file, ["zebra"]))
    assert "  " not in message  # nothing is near: no gap where the suggestion would be


def test_class_named_twice_is_refused(path):
    write_annotations(path, content([image(1)], []))
    with pytest.raises(DataError) as error:
        read_coco(path, ["wide", "tall", "wide"])
    assert_one_sentence(error.value, "'wide'", "twice")


# Single annotations that cannot be used ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"image_id": 99}, "image 99"),
        ({"image_id": "1"}, "image '1'"),
        ({"image_id": None}, "image None"),
        ({"image_id": [1]}, "image [1]"),
        ({"category_id": 4}, "category 4"),
        ({"category_id": "3"}, "category '3'"),
        ({"category_id": {}}, "category {}"),
        ({"bbox": [1, 2, 3]}, "bbox [1, 2, 3]"),
        ({"bbox": []}, "bbox []"),
        ({"bbox": None}, "bbox None"),
        ({"bbox": "1 2 3 4"}, "bbox '1 2 3 4'"),
        ({"bbox": [1, 2, "3", 4]}, "four finite numbers"),
        ({"bbox": [1, 2, None, 4]}, "four finite numbers"),
        ({"bbox": [1, 2, True, 4]}, "four finite numbers"),
        ({"bbox": [math.nan, 2, 3, 4]}, "four finite numbers"),
        ({"bbox": [1, 2, math.inf, 4]}, "four finite numbers"),
        ({"bbox": [1, 2, -3, 4]}, "negative size"),
        ({"bbox": [1, 2, 3, -0.5]}, "negative size"),
        ({"area": math.nan}, "area"),
        ({"area": "large"}, "area"),
        ({"area": "512"}, "area '512'"),
        ({"area": True}, "area True"),
        ({"area": [9]}, "area [9]"),
        ({"area": -math.inf}, "area -inf"),
        ({"bbox": [1, 2, 3, 1e300]}, "no place in an image"),
        ({"bbox": {"x": 1}}, "four finite numbers"),
        ({"iscrowd": "maybe"}, "iscrowd 'maybe'"),
        ({"iscrowd": 2}, "iscrowd 2"),
        ({"iscrowd": -1}, "iscrowd -1"),
        ({"iscrowd": math.nan}, "iscrowd nan"),
        ({"iscrowd": []}, "iscrowd []"),
        ({"ignore": "2"}, "ignore '2'"),
        ({"ignore": {}}, "ignore {}"),
        ({"image_id": True}, "image True"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_malformed_annotation_is_listed_with_its_id(path, change, words):
    (problem,) = problems_of(path, annotation(41, 1), annotation(42, 1) | change)
    assert_one_sentence(problem, "42", words)


@pytest.mark.parametrize("key", ["image_id", "category_id", "bbox"])
def test_annotation_without_a_key_is_listed(path, key):
    entry = annotation(42, 1)
    del entry[key]
    (problem,) = problems_of(path, entry)
    assert_one_sentence(problem, "42", key)


@pytest.mark.parametrize("entry", ["text", 5, None, []], ids=str)
def test_annotation_that_is_no_object_is_listed_by_number(path, entry):
    (problem,) = problems_of(path, annotation(1, 1), entry)
    assert_one_sentence(problem, "annotation", "number 1")


def test_annotation_without_an_id_is_fine_and_named_by_number_if_bad(path):
    good, bad = annotation(1, 1), annotation(2, 1, bbox=(0, 0, -1, 1))
    del good["id"], bad["id"]
    (problem,) = problems_of(path, good, bad)
    assert_one_sentence(problem, "number 1")


def test_repeated_annotation_ids_are_listed_and_strings_are_ids_too(path):
    (problem,) = problems_of(path, annotation(7, 1), annotation(7, 2))
    assert_one_sentence(problem, "7", "before")
    assert problems_of(path, annotation("a", 1), annotation("b", 2)) == []
    assert len(problems_of(path, annotation("a", 1), annotation("a", 2))) == 1


@pytest.mark.parametrize("bad_id", [1.5, None, [1], {}], ids=str)
def test_unusable_annotation_id_is_listed(path, bad_id):
    (problem,) = problems_of(path, annotation(1, 1) | {"id": bad_id})
    assert_one_sentence(problem, "id")


@pytest.mark.parametrize("change", [{"image_id": 1.0}, {"category_id": 3.0}, {"id": 8.0}], ids=str)
def test_float_id_is_taken_or_refused_for_what_it_is(path, change):
    # Tables with gaps write whole numbers as floats; "image 1.0, which the file does not list" would send people searching.
    for problem in problems_of(path, annotation(1, 1) | change):
        assert_one_sentence(problem, "whole number")


def test_objects_without_area_or_outside_are_counted_by_reason(path):
    entries = [
        annotation(1, 1, bbox=(5, 5, 0, 9)),
        annotation(2, 1, bbox=(5, 5, 9, 0)),
        annotation(3, 1, bbox=(64, 0, 5, 5)),  # begins at the right border of 64
        annotation(4, 1, bbox=(0, -9, 5, 9)),  # ends at the upper border
        annotation(5, 1, bbox=(-5, -5, 6, 6)),  # one pixel is inside
        annotation(6, 1, bbox=(60, 60, 50, 50)),
        *(annotation(number, 1) for number in range(7, 12)),
        annotation(12, 1, bbox=(5, 5, 0.9, 9)),
        annotation(13, 1, ignore=1),
        annotation(14, 1, ignore="1"),
    ]
    write_annotations(path, content([image(1)], entries))
    file = read_coco(path)
    assert dict(file.dropped) == {
        "without area": 2,
        "outside their image": 2,
        "thinner than a pixel": 1,
        "marked ignore": 2,
    }
    assert file.problems == []


# The data set ------------------------------------------------------------------------------------------------------------


def open_set(images, path, entries, pictures=None, **options) -> CocoDataset:
    write_annotations(path, content(pictures or [image(number) for number in range(1, 5)], entries))
    return CocoDataset(images, path, **options)


ODD = [
    annotation(1, 1, bbox=(8, 8, 32, 16)),
    annotation(2, 1, 7, bbox=(5, 5, 40, 40), iscrowd=1),
    annotation(3, 1, bbox=(5, 5, 0.5, 9)),
    annotation(4, 1, bbox=(70, 5, 9, 9)),
    annotation(5, 1, bbox=(5, 5, 9, 9), area=0, ignore=1),
    annotation(6, 2, 7, bbox=(5, 5, 9, 9), iscrowd=1),
]


def test_training_leaves_out_crowds_specks_and_images_without_objects(images, path):
    with pytest.warns(UserWarning, match="1 thinner than a pixel, 1 outside their image"):
        data = open_set(images, path, ODD, training=True)
    assert [record.image_id for record in data.records] == [1]
    _, target = data.load(0)
    assert boxes_of(target) == [[8, 8, 40, 24]]
    assert "ignore" not in target
    assert "areas" not in target


def test_evaluation_keeps_everything_that_the_benchmark_counts(images, path):
    with pytest.warns(UserWarning, match="1 objects have an area of 0 or less"):
        data = open_set(images, path, ODD)
    assert len(data) == 4
    _, target = data.load(0)
    assert len(target["labels"]) == 5
    assert target["ignore"].tolist() == [False, True, False, False, False]
    assert target["areas"].tolist() == [512, 1600, 4.5, 81, 81]
    assert data.load(2)[1]["boxes"].shape == (0, 4)


def test_empty_and_small_images_stay_on_request(images, path):
    pictures = [image(1), image(2, (20, 64)), image(3)]
    entries = [annotation(1, 1), annotation(2, 2)]
    assert [one.image_id for one in open_set(images, path, entries, pictures, training=True).records] == [1]
    data = open_set(images, path, entries, pictures, training=True, skip_empty=False, min_image_size=0)
    assert [one.image_id for one in data.records] == [1, 2, 3]
    assert len(open_set(images, path, entries, pictures, training=True, min_image_size=20)) == 2


def test_chosen_classes_decide_which_training_images_are_empty(images, path):
    entries = [annotation(1, 1, 3), annotation(2, 2, 7)]
    data = open_set(images, path, entries, classes=["tall"], training=True)
    assert [one.image_id for one in data.records] == [2]
    assert data.records[0].labels.tolist() == [0]
    assert len(open_set(images, path, entries, classes=["tall"])) == 4


def test_loaded_sample_has_types_sizes_and_meta(images, path):
    data = open_set(images, path, [annotation(1, 3, 7, (1, 2, 3, 4))])
    picture, target = data.load(2)
    assert image_size(picture) == (64, 64)
    assert target["boxes"].dtype == torch.float32
    assert target["boxes"].canvas_size == (64, 64)
    assert target["labels"].dtype == torch.int64
    assert target["labels"].tolist() == [1]
    meta = target["meta"]
    assert (meta.image_id, meta.original_size, meta.canvas_size) == (3, (64, 64), (64, 64))
    assert meta.path == str(images / "3.png")


def test_image_file_of_another_size_than_annotated_is_refused(images, path):
    data = open_set(images, path, [annotation(1, 1)], [image(1, (480, 640))])
    with pytest.raises(DataError) as error:
        data.load(0)
    assert_one_sentence(error.value, "1.png", "64 x 64", "640 x 480")


def test_file_names_may_have_folders(tmp_path, images, path):
    (images / "deep").mkdir()
    (images / "1.png").rename(images / "deep" / "1.png")
    data = open_set(images, path, [annotation(1, 1)], [image(1, file_name="deep/1.png")])
    assert image_size(data.load(0)[0]) == (64, 64)


def test_malformed_annotations_are_refused_with_the_way_out(images, path):
    entries = [annotation(1, 1), annotation(2, 77), annotation(3, 1, 99)]
    with pytest.raises(DataError) as error:
        open_set(images, path, entries)
    assert_one_sentence(error.value, str(path), "annotation 2", "image 77", "1 more", "data check", "on_bad=skip")


def test_malformed_annotations_are_skipped_with_a_warning(images, path):
    entries = [annotation(1, 1), annotation(2, 77)]
    with pytest.warns(UserWarning, match=r"annotation 2 belongs to image 77") as caught:
        data = open_set(images, path, entries, on_bad="skip")
    assert_one_sentence(caught[0].message, str(path))
    assert sum(len(record.labels) for record in data.records) == 1


@pytest.mark.parametrize("training", [True, False])
def test_set_without_images_is_refused(images, path, training):
    write_annotations(path, content([], []))
    with pytest.raises(DataError) as error:
        CocoDataset(images, path, training=training)
    assert_one_sentence(error.value, str(path), "no images")


def test_training_set_without_any_object_is_refused(images, path):
    with pytest.raises(DataError) as error:
        open_set(images, path, [], training=True)
    assert_one_sentence(error.value, str(path), "wide, tall", "train")


def test_missing_image_folder_is_named(tmp_path, path):
    write_annotations(path, content([image(1)], []))
    with pytest.raises(DataError) as error:
        CocoDataset(tmp_path / "nowhere", path)
    assert_one_sentence(error.value, "nowhere", "folder")
    with pytest.raises(DataError) as error:
        CocoDataset(path, path)  # a file in place of the folder
    assert_one_sentence(error.value, str(path), "folder")


def test_missing_image_is_named_when_it_is_read(images, path):
    data = open_set(images, path, [annotation(1, 1)], [image(1, file_name="gone.png")])
    with pytest.raises(DataError) as error:
        data.load(0)
    assert_one_sentence(error.value, "gone.png", "does not exist")


@pytest.mark.parametrize("flag", ["0", "false", " 0 ", 0.0, False, None, ""], ids=repr)
def test_crowd_flags_of_any_type_mean_what_they_say(images, path, flag):
    data = open_set(
        images, path, [annotation(1, 1, iscrowd=flag), annotation(2, 1, iscrowd="1"), annotation(3, 1, ignore=flag)]
    )
    assert data.load(0)[1]["ignore"].tolist() == [False, True, False]
    assert len(open_set(images, path, [annotation(1, 1, iscrowd=flag, ignore=flag)], training=True)) == 1


def test_objects_marked_ignore_are_not_learned_and_count(images, path):
    entries = [annotation(1, 1), annotation(2, 1, ignore=1)]
    assert open_set(images, path, entries).load(0)[1]["ignore"].tolist() == [False, False], "as pycocotools counts"
    with pytest.warns(UserWarning, match="1 marked ignore"):
        assert len(open_set(images, path, entries, training=True).load(0)[1]["labels"]) == 1


@pytest.mark.parametrize("area", [0, -512, None], ids=str)
def test_areas_of_nothing_are_measured_again_and_told(images, path, area):
    triangle = [[8.0, 8.0, 40.0, 8.0, 40.0, 24.0]]
    entries = [annotation(1, 1, area=area), annotation(2, 1, area=area, segmentation=triangle), annotation(3, 1, area=7)]
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        data = open_set(images, path, entries)
    assert data.load(0)[1]["areas"].tolist() == [512, 256, 7]
    file = read_coco(path)
    words = "no area in the file" if area is None else "area of 0 or less"
    assert any("2 objects have" in text and words in text for text in file.notes + file.doubts)
    assert len(told) == (area is not None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert len(open_set(images, path, entries, training=True).load(0)[1]["labels"]) == 3


def test_scraps_beside_good_polygons_are_dropped_and_the_object_stays(images, path):
    square = [8.0, 8.0, 40.0, 8.0, 40.0, 24.0, 8.0, 24.0]
    entries = [annotation(1, 1, segmentation=[square, [9.0, 9.0, 10.0, 10.0], []]), annotation(2, 1, segmentation=[square])]
    data = open_set(images, path, entries, outlines=True)
    assert data.load(0)[1]["masks"].sum((1, 2)).tolist() == [512, 512]
    assert_one_sentence(data.file.notes[0], "2 polygons", "fewer than 3 points")


@pytest.mark.parametrize("side", ["64", 64.5, -64, True, [64], 10**7], ids=str)
def test_odd_image_sides_are_refused(path, side):
    refused(path, content([image(1) | {"width": side}], []), "image 1", "width", "whole number of pixels")


def test_file_without_masks_is_refused_for_masks(images, path):
    with pytest.raises(DataError) as error:
        open_set(images, path, [annotation(1, 1, segmentation=[])], outlines=True, on_bad="skip")
    assert_one_sentence(error.value, str(path), "no segmentations")
