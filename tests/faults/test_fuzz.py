"""What `make soak` fuzzes with: every input it starts from is sound, so that mutations begin behind the first check."""

from __future__ import annotations

import warnings

import fuzz_parsers
import pytest

CASES = [(name, seed) for name, make in fuzz_parsers.SEEDS.items() for seed in make()]


@pytest.mark.parametrize(("name", "seed"), CASES, ids=[f"{name}-{number}" for number, (name, _) in enumerate(CASES)])
def test_inputs_to_start_from_are_read(tmp_path, name, seed):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        getattr(fuzz_parsers, f"_{name}")(tmp_path)(seed)


@pytest.mark.parametrize("name", fuzz_parsers.TARGETS)
def test_refusals_are_no_findings_and_other_errors_are(tmp_path, monkeypatch, name):
    fuzz_parsers._target(name, tmp_path)(b"\xff\x00 = [")

    def broken(folder):
        return lambda data: [][0]

    monkeypatch.setattr(fuzz_parsers, f"_{name}", broken)
    with pytest.raises(IndexError):
        fuzz_parsers._target(name, tmp_path)(b"")
