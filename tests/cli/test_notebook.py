"""``rtmdet-lab notebook``: found by name, parameters by type, mistakes and Ctrl-C in a sentence."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import nbformat
import pytest
from made_calls import call, fails, process
from made_sets import TINY, write_set

from rtmdet_lab.cli.notebook import find_notebook, given_parameters
from rtmdet_lab.core.errors import SettingError, UnknownNameError

PRINTS = '# parameters\nwhere = "../runs/x"\ncount = 1\n'
CHECKS = "from rtmdet_lab.notebook.parameters import check_parameters\nprint(sorted(check_parameters().items()), where)"


def write_notebook(path: Path, *cells: str) -> Path:
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    notebook.cells[0].metadata["tags"] = ["parameters"]
    nbformat.write(notebook, path)
    return path


def test_list_has_every_notebook(capsys):
    code, out, _ = call(capsys, "notebook")
    assert code == 0
    assert "00_quickstart" in out
    assert "30_train                  Train one configuration" in out


def test_found_by_name_or_path():
    assert find_notebook("30_train") == find_notebook("notebooks/30_train.ipynb").resolve()
    with pytest.raises(UnknownNameError, match="did you mean '30_train'"):
        find_notebook("30_trian")


def test_parameters_keep_their_types():
    pairs = [["a", "1"], ["b", "1.5"], ["c", "true"], ["d", "text"], ["e", "None"]]
    assert given_parameters(pairs, ["{a: 7, f: [1, x]}"]) == {
        "a": 1,
        "b": 1.5,
        "c": True,
        "d": "text",
        "e": None,
        "f": [1, "x"],
    }
    with pytest.raises(SettingError, match="no YAML mapping"):
        given_parameters([], ["[1, 2"])


def test_default_paths_stay_inside_the_checkout_wherever_it_runs(capfd, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source = write_notebook(tmp_path / "own.ipynb", PRINTS, CHECKS)
    checkout = find_notebook("30_train").parents[1]
    code, _, _ = call(capfd, "notebook", source, tmp_path / "out.ipynb", "-p", "count", 2)
    assert code == 0
    (cell,) = [cell for cell in nbformat.read(tmp_path / "out.ipynb", 4).cells if "check_parameters" in cell.source]
    printed = cell.outputs[0].text
    assert "('count', 2)" in printed
    assert (tmp_path / printed.split()[-1]).resolve() == checkout / "runs" / "x"


def test_mistake_in_a_parameter_and_failing_cell_are_one_sentence(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source = write_notebook(tmp_path / "own.ipynb", PRINTS, CHECKS)
    call(capsys, "notebook", source, "out.ipynb", "-p", "cuont", 2)
    code, _, err = call(capsys, "notebook", source, "out.ipynb", "-p", "cuont", 2)
    assert code == 2
    last = err.strip().splitlines()[-1]
    assert last.startswith("rtmdet-lab notebook: UnknownNameError: no parameter 'cuont': did you mean 'count'?")
    fails(capsys, "notebook", source, words=["name the file of the executed notebook"])
    fails(capsys, "notebook", source, source, words=["another name"])


@pytest.mark.slow
def test_ctrl_c_saves_the_training_and_the_same_command_goes_on(tmp_path):
    overrides = {name: value for name, value in TINY.items() if name != "model.size"} | {"train.epochs": 6}
    given = {"model": "rtmdet-nano", "data_dir": str(write_set(tmp_path / "data")), "out_dir": str(tmp_path / "run")}
    given |= {"device": "cpu", "overrides": overrides}
    command = ["notebook", "30_train", tmp_path / "out.ipynb", "-y", json.dumps(given)]
    child = process(*command)
    for line in child.stdout:
        if line.startswith("epoch 1/6"):
            break
    begin = time.monotonic()
    child.send_signal(signal.SIGINT)
    _, err = child.communicate(timeout=120)
    assert child.returncode == 130
    assert time.monotonic() - begin < 30
    sentence = err.strip().splitlines()[-1]
    assert sentence.startswith("rtmdet-lab notebook: stopped; a training has saved its state, and the same command goes on")
    assert "Traceback" not in err
    assert (tmp_path / "run" / "last.state").exists()
    again = process(*command)
    out, _ = again.communicate(timeout=240)
    assert again.returncode == 0
    assert "epoch 6/6" in out
    assert "epoch 1/6" not in out
