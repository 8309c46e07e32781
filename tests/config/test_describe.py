"""Every setting says what it means, once; commands, docs and panels read it from there."""

from __future__ import annotations

import inspect
import re

import griffe
import pytest

from rtmdet_lab.config import settings
from rtmdet_lab.config.describe import attribute_docstrings, descriptions, meaning_of
from rtmdet_lab.config.overrides import iter_settings
from rtmdet_lab.config.resolved import ResolvedTrain
from rtmdet_lab.config.settings import ExperimentConfig, TrainConfig

FILLER = {"a", "an", "and", "are", "as", "by", "in", "is", "it", "of", "or", "that", "the", "thi", "to", "what", "which"}


def words(text: str) -> set[str]:
    return {word.rstrip("s") for word in re.findall(r"[a-z]+", text.lower())} - FILLER


def test_every_setting_is_described_in_its_order():
    assert list(descriptions()) == [name for name, _ in iter_settings(ExperimentConfig())]
    for setting in descriptions().values():
        assert re.fullmatch(r"[A-Z\d].*\.", setting.meaning), setting.name
        assert setting.values, setting.name
        assert setting.default, setting.name


@pytest.mark.parametrize("name", descriptions())
def test_description_says_more_than_the_name(name):
    assert len(words(meaning_of(name)) - words(name.replace("_", " "))) >= 3


def test_no_sentence_stands_twice():
    sentences = [
        sentence.strip(". ")
        for setting in descriptions().values()
        for sentence in re.split(r"\.(?: |$)|: (?=[A-Z])", setting.meaning)
        if len(sentence.strip(". ").split()) > 1
    ]
    assert sorted(sentences) == sorted(set(sentences))


def test_docstrings_are_those_that_the_documentation_shows():
    module = griffe.load("rtmdet_lab.config.settings.training", try_relative_path=False)
    seen = {
        name: " ".join(attribute.docstring.value.split())
        for name, attribute in module["TrainConfig"].attributes.items()
        if attribute.docstring
    }
    assert len(seen) > 25
    assert attribute_docstrings(TrainConfig) == seen


def test_names_of_settings_inside_descriptions_exist():
    for setting in descriptions().values():
        for name in re.findall(r"\b(?:model|assigner|loss|augment|train|test|data)\.[a-z_.]*[a-z_]", setting.meaning):
            assert name in descriptions(), setting.name


def test_sources_are_sections_of_the_digest(request):
    digest = (request.config.rootpath / "docs" / "paper.md").read_text()
    for setting in descriptions().values():
        for number in re.findall(r"\d+\.\d+", setting.source):
            assert re.search(rf"^### {re.escape(number)} ", digest, re.MULTILINE), (setting.name, number)
        assert "paper.md" not in setting.meaning, setting.name


@pytest.mark.parametrize(
    ("name", "values", "default"),
    [
        ("train.ema", "true or false", "true"),
        ("model.depth", "number, positive and at most 16", "0.33 (nano s), 0.167 (tiny), 0.67 (m), 1 (l), 1.33 (x)"),
        ("model.backbone.stage_blocks", "four counts from 1 to 100", "[3, 6, 6, 3]"),
        ("model.head.sharing", "convs / all / none", "none (nano), convs (tiny s m l x)"),
        ("train.init_weights", "text", "empty"),
        ("test.tile", "whole number, a multiple of 32, at least 32", "-"),
    ],
)
def test_values_and_default_in_words(name, values, default):
    assert (descriptions()[name].values, descriptions()[name].default) == (values, default)


def test_defaults_by_task_and_recipe():
    assert "rotated: 36; rotated (mixing): 100" in descriptions()["train.epochs"].default
    assert "instance: 0.004 (tiny s m l), 0.002 (x)" in descriptions()["train.lr"].default


def test_class_without_source_has_no_docstrings(monkeypatch):
    def absent(_):
        raise OSError("could not get source code")

    monkeypatch.setattr(inspect, "getsource", absent)
    assert attribute_docstrings(TrainConfig) == {}


def test_limits_stand_in_annotations_alone():
    # A check in a constructor would be missing from what is listed; those that compare two settings are left.
    own = {kind.__name__ for kind in vars(settings).values() if isinstance(kind, type) and "__post_init__" in vars(kind)}
    assert own == {"Settings", "AssignerConfig"}
    assert ResolvedTrain.limits == TrainConfig.limits
    assert TrainConfig.limits["lr_floor"].words == "between 0 and 1"
