"""What earlier versions wrote and called: arguments, fields, options, parameters and files under their first names."""

import json

from made_sweeps import write_experiment, write_record

import rtmdet_lab
from rtmdet_lab import ExperimentConfig, read_record
from rtmdet_lab.cli.main import read_arguments
from rtmdet_lab.experiment.scale import Scale
from rtmdet_lab.experiment.sweep.plan import plan, read_order, written_record
from rtmdet_lab.notebook.parameters import check_parameters

ROWS = {"a": {}, "b": {"model.kernel_size": 7}}


def test_table_is_made_and_read_by_its_first_names(tmp_path):
    scales = {"smoke": Scale("smoke", {"train.epochs": 3})}
    table = rtmdet_lab.PaperItem(
        item="t", claim="c.", base=ExperimentConfig(), rows=ROWS, published={}, source="s", budgets=scales
    )
    assert isinstance(table, rtmdet_lab.Table)
    assert (table.item, table.budgets, table.budget("smoke")) == ("t", scales, table.scale("smoke"))
    config = rtmdet_lab.variant_config(item=table, row="b", budget="smoke")
    assert config == rtmdet_lab.row_config(table, "b", "smoke")
    assert config.train.epochs == 3


def test_experiment_file_of_an_earlier_version_is_loaded(tmp_path):
    path = write_experiment(tmp_path)
    path.write_text(path.read_text().replace("TABLE", "ITEM").replace("Table", "PaperItem").replace("title=", "item="))
    assert rtmdet_lab.load_experiment(path).title == "own"


def test_record_and_run_file_of_an_earlier_sweep_are_recognised(tmp_path):
    (first, _) = plan(write_experiment(tmp_path), "smoke", [0], tmp_path / "out")
    write_record(first)
    spec = first.write()
    for path in (spec, spec.with_name("results.json")):
        content = json.loads(path.read_text())
        content["budget"] = content.pop("scale")
        path.write_text(json.dumps(content))
    assert read_order(path.with_name("run.json")) == first
    assert read_record(path).scale == "smoke"
    assert written_record(first) is not None


def test_option_and_notebook_parameter_keep_their_first_name():
    for verb in ("sweep", "report"):
        assert read_arguments([verb, "kernel_size", "--budget", "smoke"]).scale == "smoke"
    cells = ['# parameters\nscale = "laptop"\nseed = 0', '# Parameters\nbudget = "smoke"']
    assert check_parameters(cells) == {"scale": "smoke", "seed": 0}


def test_names_of_the_file_that_this_folder_was_are_found_there():
    from rtmdet_lab import experiment
    from rtmdet_lab.experiment import open_data, run

    assert (open_data, experiment.prepare) == (run.open_data, run.prepare)
    assert not hasattr(experiment, "open_file")
