"""COCO annotation files that are not JSON, not COCO, or say what cannot be."""

from __future__ import annotations

import json
from typing import Any

from made_faults import Case
from made_sets import CATEGORIES, annotation, content, image


def coco(*annotations: Any, images: Any = None, **extra: Any) -> dict:
    """Returns a file of one image, with annotations."""
    return content([image(1)] if images is None else images, annotations, **extra)


def one(**changes: Any) -> dict:
    return coco(annotation(1, 1) | changes)


def without(key: str) -> dict:
    return coco({name: value for name, value in annotation(1, 1).items() if name != key})


def outlined(segmentation: Any) -> dict:
    return one(segmentation=segmentation)


GOOD = json.dumps(one())
FIX = "--on-bad skip"
TEXTS: list[tuple[str, Any, tuple[str, ...]]] = [
    ("empty", "", ("is empty",)),
    ("blank", " \n\t\n", ("is empty",)),
    ("cut off", GOOD[: len(GOOD) // 2], ("not valid JSON", "line 1")),
    ("text", "images: none", ("not valid JSON", "line 1")),
    ("bytes", b"\x80\x81\xfe\xff", ("not valid JSON",)),
    ("another encoding", GOOD.replace("wide", "br\u00fcck").encode("latin-1") + b"\xfc", ("not valid JSON",)),
    ("100,000 lists in lists", "[" * 100_000, ("not valid JSON",)),
    ("100,000 objects in objects", '{"a":' * 100_000, ("not valid JSON",)),
    ("number of 10,000 digits", GOOD.replace('"id": 1', '"id": ' + "1" * 10_000), ("10,000 characters", "line 1")),
    ("list", [1, 2], ("holds a list", "not a COCO object")),
    ("null", "null", ("not a COCO object",)),
    ("nothing but a number", "3", ("not a COCO object",)),
    ("without images", {"annotations": [], "categories": CATEGORIES}, ("no list 'images'",)),
    ("without annotations", {"images": [], "categories": CATEGORIES}, ("no list 'annotations'",)),
    ("without categories", {"images": [], "annotations": []}, ("no list 'categories'",)),
    ("images as a mapping", coco() | {"images": {"1": image(1)}}, ("no list 'images'",)),
    ("categories that are empty", coco(categories=[]), ("no categories",)),
    ("category without name", coco(categories=[{"id": 1}]), ("category number 0", "a name")),
    ("category whose id is text", coco(categories=[{"id": "1", "name": "wide"}]), ("category number 0", "whole number")),
    ("category that is null", coco(categories=[None]), ("category number 0",)),
    ("two categories of one id", coco(categories=[CATEGORIES[0]] * 2), ("category id 3 twice", "unique")),
    (
        "two categories of one name",
        coco(annotation(1, 1), annotation(2, 1, 9), categories=[*CATEGORIES, {"id": 9, "name": "wide"}]),
        ("category 'wide' more than once", "its own name"),
    ),
    ("image without file name", coco(images=[{"id": 1}]), ("image 1", "file_name")),
    ("image whose id is text", coco(images=[image(1) | {"id": "one"}]), ("image 'one'", "whole number")),
    ("image whose id is a list", coco(images=[image(1) | {"id": [1]}]), ("image [1]", "whole number")),
    ("image that is a number", coco(images=[7]), ("image 7",)),
    ("two images of one id", coco(images=[image(1)] * 2), ("image id 1 twice", "unique")),
    ("annotation that is a number", coco(5), ("annotation number 0 is not an object", FIX)),
    ("annotation without image", without("image_id"), ("annotation 1 has no image_id", FIX)),
    ("annotation without category", without("category_id"), ("annotation 1 has no category_id", FIX)),
    ("annotation without box", without("bbox"), ("annotation 1 has no bbox", FIX)),
    ("annotation of an unknown image", one(image_id=4), ("image 4, which the file does not list", FIX)),
    ("annotation of an unknown category", one(category_id=1), ("category 1, which the file does not list", FIX)),
    ("annotation whose image is a list", one(image_id=[1]), ("image [1], which is not a whole number", FIX)),
    ("annotation whose category is a mapping", one(category_id={}), ("category {}, which is not", FIX)),
    ("annotation whose id is a list", one(id=[]), ("neither a whole number nor text", FIX)),
    ("two annotations of one id", coco(annotation(1, 1), annotation(1, 1)), ("id that occurs before", FIX)),
    ("box of three numbers", one(bbox=[1, 2, 3]), ("[1, 2, 3]", "four finite numbers", FIX)),
    ("box of text", one(bbox=["1", 2, 3, 4]), ("four finite numbers", FIX)),
    ("box that is null", one(bbox=None), ("bbox None", FIX)),
    ("box that is not a number", one(bbox=[float("nan"), 2, 3, 4]), ("nan", "four finite numbers", FIX)),
    ("box without end", one(bbox=[0, 0, float("inf"), 4]), ("inf", "four finite numbers", FIX)),
    ("box of truth values", one(bbox=[True, True, True, True]), ("four finite numbers", FIX)),
    ("box of a number past floats", one(bbox=[0, 0, 10**400, 4]), ("401 characters", "line 1")),
    ("box of negative width", one(bbox=[9, 9, -4, 4]), ("negative size (-4 x 4)", FIX)),
    ("area that is text", one(area="large"), ("area 'large'", "finite number", FIX)),
    ("10,000 bad annotations", coco(*[{}] * 10_000), ("annotation number 0", "and 9999 more", FIX)),
]
# Found when the images are read, or against the classes of weights.
SCORED: list[tuple[str, Any, tuple[str, ...]]] = [
    (
        "category of another name",
        coco(categories=[{"id": 3, "name": "wde"}]),
        ("none of the classes wide, tall", "it has wde"),
    ),
    ("no images", coco(images=[]), ("no images",)),
    ("image that does not exist", coco(images=[image(77)]), ("77.png", "does not exist")),
    ("image whose name is empty", coco(images=[image(1, file_name="")]), ("image", "val")),
    ("image that is a device", coco(images=[image(1, file_name="/dev/zero")]), ("/dev/zero", "not a file")),
    ("image with a zero byte in its name", coco(images=[image(1, file_name="a\0b")]), ("cannot read image",)),
    ("image of another size", coco(images=[image(1, (80, 64))]), ("64 x 64 pixels", "64 x 80", "correct its width")),
]
OUTLINES: list[tuple[str, Any, tuple[str, ...]]] = [
    ("that is missing", one(), ("has no segmentations",)),
    ("that is empty", outlined([]), ("has no segmentations",)),
    ("of two points", outlined([[1, 1, 9, 9]]), ("annotation 1", "polygon of 2 points", "at least 3")),
    ("of an odd count", outlined([[1, 1, 9, 9, 3]]), ("annotation 1", "finite x, y pairs")),
    ("of text", outlined([["a"] * 6]), ("annotation 1", "finite x, y pairs")),
    ("far away", outlined([[1, 1, 9, 9, 1e9, 4]]), ("annotation 1", "1e+09", "no place in an image")),
    ("of a number past floats", outlined([[1, 1, 9, 9, 10**400, 4]]), ("401 characters", "line 1")),
    ("that disagrees with its box", outlined([[60, 60, 63, 60, 63, 63]]), ("annotation 1", "disagrees with its bbox")),
    ("of runs without size", outlined({"counts": [4096]}), ("annotation 1", "without a size")),
    ("of runs of another size", outlined({"size": [2, 2], "counts": [4]}), ("annotation 1", "size [2, 2]", "[64, 64]")),
    ("of too few runs", outlined({"size": [64, 64], "counts": [4]}), ("annotation 1", "4 pixels in all", "64 x 64")),
    ("of too many runs", outlined({"size": [64, 64], "counts": [2**60]}), ("annotation 1", "pixels in all", "64 x 64")),
    ("of negative runs", outlined({"size": [64, 64], "counts": [-5, 4101]}), ("annotation 1", "not whole numbers")),
    (
        "of runs that cannot be unpacked",
        outlined({"size": [64, 64], "counts": "\u20ac"}),
        ("annotation 1", "cannot be unpacked"),
    ),
    ("of runs without end", outlined({"size": [64, 64], "counts": "o" * 50}), ("annotation 1", "cannot be unpacked")),
]
CASES = [
    *(
        Case(f"COCO: {name}", lambda place, what=what: place.train_on(place.file("coco.json", what), "rtmdet-nano"), words)
        for name, what, words in TEXTS
    ),
    *(
        Case(f"COCO: {name}", lambda place, what=what: place.score(place.file("coco.json", what)), words)
        for name, what, words in SCORED
    ),
    *(
        Case(
            f"outline {name}",
            lambda place, what=what: place.train_on(place.file("coco.json", what), "rtmdet-ins-tiny"),
            ("coco.json", *words),
        )
        for name, what, words in OUTLINES
    ),
]
