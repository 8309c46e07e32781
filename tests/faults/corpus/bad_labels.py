"""DOTA label files and HRSC's XML with lines, numbers and structure that no object has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from made_dota import SHIP, TILTED
from made_faults import Case, Place

SQUARE = "10 10 30 10 30 20 10 20"
FIX = "--on-bad skip"
LINES: list[tuple[str, str | bytes, tuple[str, ...]]] = [
    ("seven numbers", "10 10 30 10 30 20 10 ship 0", ("line 1", "coordinate 8 is 'ship'")),
    ("numbers alone", SQUARE, ("line 1", "no class")),
    ("too few fields", "1 2 3", ("line 1", "there are 3")),
    ("too many fields", f"{SQUARE} small vehicle 0", ("line 1", "11 fields", "a name without spaces")),
    ("commas", SHIP.replace(" ", ","), ("line 1", "coordinate 1")),
    ("not a number", f"nan {SQUARE[3:]} ship 0", ("coordinate 1 is nan", "no place in an image")),
    ("infinity", f"inf {SQUARE[3:]} ship 0", ("coordinate 1 is inf", "no place")),
    ("coordinate past floats", f"1e999 {SQUARE[3:]} ship 0", ("coordinate 1 is 1e999", "no place")),
    ("coordinate past any image", f"5000000 {SQUARE[3:]} ship 0", ("5000000", "no place in an image")),
    ("underscore in a number", f"1_0 {SQUARE[3:]} ship 0", ("coordinate 1 is '1_0'",)),
    ("hexadecimal", f"0x10 {SQUARE[3:]} ship 0", ("coordinate 1 is '0x10'",)),
    ("text for difficulty", f"{SQUARE} ship easy", ("difficulty 'easy'", "0 easy, 1 difficult")),
    ("negative difficulty", f"{SQUARE} ship -1", ("difficulty '-1'",)),
    ("difficulty of 10,000 letters", f"{SQUARE} ship {'x' * 10_000}", ("line 1", "difficulty", "characters left out")),
    ("one point four times", "5 5 5 5 5 5 5 5 ship 0", ("on one line", "needs an area")),
    ("corners on a line", "0 0 5 5 10 10 15 15 ship 0", ("on one line", "needs an area")),
    ("bad line after a good one", f"{SHIP}\n\n1 2 3", ("line 3", "eight corner coordinates")),
    ("many bad lines", "1 2 3\n" * 500, ("line 1", "there are 3")),
    ("bytes", b"\xff\xfe\x00\x81" * 50, ("not text (byte 0)", "original")),
    ("UTF-16", SHIP.encode("utf-16"), ("not text (byte 0)",)),
    ("zero bytes", b"\0" * 100, ("line 1", "\\x00", "eight numbers are needed")),
    ("line without end", b"1" * 3_000_000, ("line 1", "characters left out", "no place in an image")),
    ("header lines after objects", f"{SHIP}\nimagesource:GoogleEarth", ("line 2",)),
]


def labelled(place: Place, text: str | bytes) -> list[Any]:
    """Returns the call that splits the good image with one label file of ``text``."""
    return place.split(place.file("labels/P1.txt", text).parent)


def no_partner(place: Place) -> list[Any]:
    place.file("labels/P1.txt", SHIP)
    return place.split(place.file("labels/P2.txt", SHIP).parent)


def folder_for_a_file(place: Place) -> list[Any]:
    (place.bad / "labels" / "P1.txt").mkdir(parents=True)
    return place.split(place.bad / "labels")


def two_of_a_name(place: Place) -> list[Any]:
    data = (place.aerial / "images" / "P1.png").read_bytes()
    place.file("images/P1.png", data)
    place.file("images/P1.jpg", data)
    return place.split(place.aerial / "labelTxt", place.bad / "images")


def damaged_image(place: Place) -> list[Any]:
    return place.split(place.aerial / "labelTxt", place.file("images/P1.png", b"none").parent)


def xml(place: Place, text: str | bytes) -> list[Any]:
    folder = place.file("xml/1.xml", text).parent
    return ["data", "hrsc", folder, place.out / "labels"]


def ship(**changes: str) -> str:
    fields = {"mbox_cx": "40", "mbox_cy": "30", "mbox_w": "20", "mbox_h": "10", "mbox_ang": "0.1"} | changes
    inner = "".join(f"<{name}>{value}</{name}>" for name, value in fields.items())
    return f"<HRSC_Image><HRSC_Objects><HRSC_Object>{inner}</HRSC_Object></HRSC_Objects></HRSC_Image>"


LAUGHS = '<!DOCTYPE a [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;">]><HRSC_Image>&b;</HRSC_Image>'
OUTSIDE = '<!DOCTYPE a [<!ENTITY a SYSTEM "file:///etc/passwd">]><HRSC_Image>&a;</HRSC_Image>'
XML: list[tuple[str, str | bytes, tuple[str, ...]]] = [
    ("empty", "", ("1.xml is not XML", "original")),
    ("cut off", ship()[:60], ("1.xml is not XML", "original")),
    ("another document", "<annotation/>", ("holds 'annotation'", "no HRSC file")),
    ("entities that grow", LAUGHS, ("declares a document type", "original")),
    ("entity of another file", OUTSIDE, ("declares a document type", "original")),
    ("bytes", b"\xff\xfe\xfd", ("not text (byte 0)",)),
    ("17 MiB", b"<HRSC_Image>" + b" " * (17 << 20), ("more than 16 MiB",)),
    ("100,000 elements in elements", "<HRSC_Image>" + "<a>" * 100_000, ("1.xml", "not XML")),
    ("center that is text", ship(mbox_cx="left"), ("object 1", "mbox_cx is 'left'")),
    ("angle that is no number", ship(mbox_ang="nan"), ("object 1", "mbox_ang is nan")),
    ("sides of zero", ship(mbox_w="0"), ("object 1", "0 x 10", "needs an area")),
    ("difficult that is text", ship(difficult="yes"), ("difficult is 'yes'", "0 or 1")),
]
OTHERS: list[tuple[str, Callable[[Place], list[Any]], tuple[str, ...]]] = [
    ("folder that does not exist", lambda place: place.split(place.bad / "gone"), ("no label folder", "gone")),
    ("file in place of the folder", lambda place: place.split(place.file("labels", "")), ("no label folder",)),
    ("label file without image", no_partner, ("P2.txt has no image", FIX)),
    ("folder in place of a label file", folder_for_a_file, ("cannot read label file", "P1.txt")),
    ("two images of one name", two_of_a_name, ("share a name", "rename or remove")),
    ("damaged image", damaged_image, ("P1.png", "not an image")),
    ("overlap as large as a window", lambda place: place.split(TILTED, None, "--overlap", 64), ("overlap", "64")),
]
CASES = [
    *(
        Case(f"label file: {name}", lambda place, text=text: labelled(place, text), ("P1.txt", *words))
        for name, text, words in LINES
    ),
    *(Case(f"label files: {name}", make, words) for name, make, words in OTHERS),
    *(Case(f"HRSC file: {name}", lambda place, text=text: xml(place, text), ("1.xml", *words)) for name, text, words in XML),
]
