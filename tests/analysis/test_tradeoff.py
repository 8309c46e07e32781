"""Which peers lie above the curve, worked out by hand."""

from __future__ import annotations

import math

import pytest

from rtmdet_lab.analysis.tradeoff import describe_peers, height_of_curve, peers_above
from rtmdet_lab.experiment.table import load_table

CURVE = [(10.0, 40.0), (40.0, 50.0), (160.0, 52.0)]


@pytest.mark.parametrize(
    ("cost", "height"),
    [(10, 40), (20, 45), (40, 50), (80, 51), (160, 52), (1000, 52), (9.99, None)],
)
def test_curve_is_straight_over_the_logarithm_and_level_beyond_its_end(cost, height):
    found = height_of_curve(CURVE, cost)
    assert found is None if height is None else math.isclose(found, height)


def numbers(cost, ap):
    return {"macs_G": str(cost), "AP": str(ap)}


OWN = {"s": numbers(10, 40), "m": numbers(40, 50)}


@pytest.mark.parametrize(
    ("cost", "ap", "above", "compared"),
    [
        (20, 45.5, 0.5, 1),
        (20, 44.5, None, 1),
        (20, 45.0, None, 1),  # on the curve is not above it
        (50, 50.5, 0.5, 1),  # dearer than all: beside the dearest
        (50, 49.0, None, 1),
        (5, 41.0, 1.0, 1),  # cheaper than all and better than the cheapest
        (5, 30.0, None, 0),
    ],
)
def test_a_peer_is_above_where_its_ap_is(cost, ap, above, compared):
    found, count = peers_above(OWN, {"peer": {"a": numbers(cost, ap), "no cost": {"AP": "99"}}}, "macs_G")
    assert found == ({} if above is None else {"peer a": pytest.approx(above)})
    assert count == compared


def test_sentences_say_supported_or_contradicted_and_by_whom():
    assert describe_peers(OWN, {}) == []
    below = {"peer": {"a": numbers(20, 44), "b": numbers(30, 45)}}
    assert describe_peers(OWN, below) == [
        "RTMDet lies above all 2 peers at equal multiply-adds: supported by published numbers"
    ]
    (sentence,) = describe_peers(OWN, {"peer": {"a": numbers(20, 44), "b": numbers(30, 50)}})
    assert "contradicted by published numbers; above its curve: peer b (+2.1)" in sentence


def test_the_printed_peers_above_the_curve_of_figure_1():
    """YOLOv7 and the distilled YOLOv6-l by both costs; PPYOLOE by multiply-adds in all sizes but the largest."""
    table = load_table("figure1_tradeoff")
    by_macs, compared = peers_above(table.published, table.peers, "macs_G")
    assert {"YOLOv7 base", "YOLOv6 0.2 l, distilled", "PPYOLOE s", "PPYOLOE m", "PPYOLOE l"} == set(by_macs)
    by_params, _ = peers_above(table.published, table.peers, "params_M")
    assert set(by_params) == {"YOLOv7 base", "YOLOv6 0.2 l, distilled"}
    assert compared == 17
    assert all(distance > 0.1 for distance in (*by_macs.values(), *by_params.values()))
