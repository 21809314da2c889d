"""Flags to configs: values, flagfiles, and one line for every mistake."""

import importlib
import re
import subprocess
import sys
from dataclasses import fields
from functools import partial

import pytest

from cosmictagger_tf import config
from cosmictagger_tf.cli.command import run_command
from cosmictagger_tf.cli.flags import parse
from cosmictagger_tf.config import (
    DataConfig,
    DisplayConfig,
    ExecutionConfig,
    NetworkConfig,
    OptimizerConfig,
    OutputConfig,
    SimulateConfig,
    TrainConfig,
)
from cosmictagger_tf.errors import ConfigError
from cosmictagger_tf.networks.presets import PRESETS
from cosmictagger_tf.runs import RunFolder
from tests.commands import ROOT


def one(argv, group):
    return parse(argv, (group,)).configs[0]


def test_defaults_are_the_configs_own():
    assert one([], NetworkConfig) == NetworkConfig()
    assert one([], DataConfig) == DataConfig()


def test_values_of_every_kind():
    data = one(["--file=a.h5,b.h5", "--downsample=3", "--reader=larcv"], DataConfig)
    assert (data.file, data.downsample, data.reader) == (("a.h5", "b.h5"), 3, "larcv")
    assert one(["--epochs=2.5"], TrainConfig).epochs == 2.5
    assert one(["--noxla"], ExecutionConfig).xla is False


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_overridden_by_explicit_flags_only(name):
    changed = one([f"--preset={name}", "--blocks_final=1"], NetworkConfig)
    assert changed.blocks_final == 1
    assert changed.n_initial_filters == PRESETS[name].n_initial_filters


NETWORK_FLAGFILES = ROOT / "flags/networks"


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_has_its_flagfile(name):
    assert one([f"--flagfile={NETWORK_FLAGFILES}/{name}.flags"], NetworkConfig) == PRESETS[name]


def test_polaris_is_for_full_resolution():
    data, network = parse(
        [f"--flagfile={NETWORK_FLAGFILES.parent}/polaris.flags"], (DataConfig, NetworkConfig, TrainConfig)
    ).configs[:2]
    assert network == PRESETS["polaris"] and data.downsample == 0


def test_explicit_options_are_those_that_were_set():
    parsed = parse(["--downsample=1", "--preset=a21"], (DataConfig, NetworkConfig))
    assert parsed.explicit["downsample"] == 1 and "connections" in parsed.explicit
    assert "minibatch_size" not in parsed.explicit


def test_a_jobs_flagfile_serves_a_door_that_needs_a_part_of_it(tmp_path):
    (tmp_path / "job.flags").write_text("--downsample=3\n--iterations=5\n--no_summary_images\n")
    flags = [f"--flagfile={tmp_path}/job.flags"]
    with pytest.raises(ConfigError, match="iterations"):
        parse(flags, (DataConfig,))
    assert parse(flags, (DataConfig,), (TrainConfig,)).configs[0].downsample == 3
    with pytest.raises(ConfigError, match="iterations"):
        parse([*flags, "--iterations=5"], (DataConfig,), (TrainConfig,))


def test_flagfiles_nest_relative_to_themselves_and_yield_to_the_command_line(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/net.flags").write_text("# an architecture\n--network_depth=3\n--blocks_final=1\n")
    (tmp_path / "job.flags").write_text("--flagfile=sub/net.flags\n\n--blocks_final=2\n")
    network = one(["--blocks_per_layer=1", f"--flagfile={tmp_path}/job.flags"], NetworkConfig)
    assert (network.network_depth, network.blocks_final, network.blocks_per_layer) == (3, 2, 1)
    assert one([f"--flagfile={tmp_path}/job.flags", "--network_depth=4"], NetworkConfig).network_depth == 4
    assert one(["--network_depth=4", "--flagfile", f"{tmp_path}/job.flags"], NetworkConfig).network_depth == 4


@pytest.mark.parametrize(
    ("argv", "group", "message"),
    [
        (["--network_dept=3"], NetworkConfig, "network_dept"),
        (["--network_depth=99"], NetworkConfig, "network_depth=99"),
        (["--network_depth=three"], NetworkConfig, "network_depth=three"),
        (["--conv_mode=4D"], NetworkConfig, "2D|3D|sparse"),
        (["--preset=a22"], NetworkConfig, "preset"),
        (["--filter_size_deepest=4"], NetworkConfig, "odd"),
        (["--blocks_by_level=1,2"], NetworkConfig, "must be 6 numbers"),
        (["--network_depth=2", "--blocks_by_level=1,-2"], NetworkConfig, "must be 2 numbers"),
        (["--network_depth=2", "--blocks_by_level=1,many"], NetworkConfig, "must be 2 numbers"),
        (["--conv_mode=sparse", "--data_format=channels_first"], NetworkConfig, "--data_format"),
        (["--network_depth=2", "--row_exchange=1,2"], NetworkConfig, "must be levels from 0 to 1"),
        (["--row_exchange=all"], NetworkConfig, "must be levels from 0 to 5"),
        (["--conv_mode=3D", "--descend_charge=15"], NetworkConfig, "--descend_charge: is for --conv_mode=sparse"),
        (["3"], NetworkConfig, "'3' is no flag"),
        (["--weight_decay=nan"], NetworkConfig, "weight_decay"),
        (["--weight_decay=1e39"], NetworkConfig, "in float32 too"),
        (["--minibatch_size=99999999999999999999"], DataConfig, "must be at most 2147483647"),
        (["--ema_momentum=1"], OptimizerConfig, "--ema_momentum=1.0"),
        (["--synthetic", "--file=x.h5"], DataConfig, "--synthetic"),
        ([], TrainConfig, "--iterations and --epochs"),
        (["--iterations=1", "--epochs=1"], TrainConfig, "--iterations and --epochs"),
        (["--run_id=a/b"], OutputConfig, "plain folder name"),
        (["--flagfile=/nowhere.flags"], NetworkConfig, "/nowhere.flags"),
        (["--flagfile=a\0b.flags"], NetworkConfig, "not a text file"),
        (["--seed=4294967296"], ExecutionConfig, "--seed"),
        (["--simulation_seed=9223372036854775808"], SimulateConfig, "--simulation_seed"),
        (["--entries=\u00b2"], DisplayConfig, "is no entry number"),
        (["--file=a.h5,"], DataConfig, "--file=a.h5,: an item of the list is empty"),
        (["--file"], DataConfig, "--file: needs a value"),
        (["--file", "--synthetic"], DataConfig, "--file: needs a value"),
        (["--file=~no_such_user/a.h5"], DataConfig, "--file=~no_such_user/a.h5: there is no such user"),
        (["--file=a\nb.h5"], DataConfig, "line break"),
        (["--output_dir="], OutputConfig, "--output_dir=: needs a value"),
        (["--noxla=true"], ExecutionConfig, "--noxla"),
        (["--flagfile"], DataConfig, "--flagfile: needs a value"),
    ],
)
def test_a_mistake_is_one_line_that_names_the_flag(argv, group, message):
    with pytest.raises(ConfigError) as error:
        parse(argv, (group,))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_flagfile_that_includes_itself_is_refused(tmp_path):
    for dashes in ("-", "--"):
        (tmp_path / "a.flags").write_text(f"{dashes}flagfile=a.flags\n")
        with pytest.raises(ConfigError, match="includes itself"):
            parse([f"--flagfile={tmp_path}/a.flags"], (NetworkConfig,))


def test_a_line_that_is_no_flag_is_refused(tmp_path):
    (tmp_path / "a.flags").write_text("network_depth=3\n")
    with pytest.raises(ConfigError, match="is no flag"):
        parse([f"--flagfile={tmp_path}/a.flags"], (NetworkConfig,))


@pytest.mark.parametrize("path", sorted((ROOT / "flags").rglob("*.flags")), ids=lambda path: path.name)
@pytest.mark.parametrize(
    "command", ["train", "evaluate", "calibrate", "predict", "display", "export", "iotest", "benchmark", "scaling"]
)
def test_every_flagfile_here_serves_every_command(command, path):
    groups = importlib.import_module(f"cosmictagger_tf.{command}").GROUPS
    needed = ["--iterations=1", "--epochs=0"] if command == "train" else []
    parse([f"--flagfile={path}", *needed], groups, () if command == "train" else config.RUN)


def test_a_list_given_twice_adds_up_and_the_command_line_replaces_a_flagfiles(tmp_path):
    (tmp_path / "two.flags").write_text("--file=c.h5\n")
    (tmp_path / "one.flags").write_text("--flagfile=two.flags\n--file=a.h5\n--file=b.h5\n")
    flags = f"--flagfile={tmp_path}/one.flags"
    assert one(["--file=a.h5", "--file=b.h5,c.h5"], DataConfig).file == ("a.h5", "b.h5", "c.h5")
    assert one([flags], DataConfig).file == ("a.h5", "b.h5")
    assert one([flags, "--file=x.h5", "--file", "y.h5"], DataConfig).file == ("x.h5", "y.h5")
    assert one(["--downsample=1", "--downsample=3"], DataConfig).downsample == 3


@pytest.mark.parametrize(
    ("typed", "value"),
    [([], "auto"), (["--xla"], True), (["--noxla"], False), (["--xla=auto"], "auto"), (["--xla=false"], False)],
)
def test_a_switch_may_have_a_word_of_its_own(typed, value):
    xla = one(typed, ExecutionConfig).xla
    assert xla == value and type(xla) is type(value)
    assert ExecutionConfig.from_dict({"xla": value}).xla == xla, "as older runs recorded it"
    with pytest.raises(ConfigError, match=r"^--xla=maybe: must be one of auto, true, false$"):
        one(["--xla=maybe"], ExecutionConfig)
    with pytest.raises(ConfigError, match=r"^--xla=2: must be one of auto, true, false$"):
        ExecutionConfig(xla="2")
    with pytest.raises(ConfigError, match=r"^--deterministic=maybe: must be one of true, false$"):
        one(["--deterministic=maybe"], ExecutionConfig)


def path_options():
    """(config class, field) of every option that names a file or a folder."""
    groups = [g for g in vars(config).values() if isinstance(g, type) and issubclass(g, config.Config)]
    return [(group, f) for group in groups for f in fields(group) if f.metadata["path"]]


@pytest.mark.parametrize(("group", "field"), path_options())
def test_the_home_folder_is_understood_in_every_path(group, field, monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    needed = ["--iterations=1"] if group is TrainConfig else []
    endings = {"comparison_picture": "png", "report": "html", "from_": "npz", "table": "csv"}
    ending = "json" if (group, field.name) == (config.CalibrateConfig, "output") else endings.get(field.name, "h5")
    name = f"~/x.{ending}"
    value = getattr(one([*needed, f"--{config.flag_name(field.name)}={name}"], group), field.name)
    assert (value[0] if isinstance(value, tuple) else value) == name.replace("~", "/home/me")


def test_options_that_name_files_are_marked():
    named = {f.name for _, f in path_options()}
    assert named >= {"file", "aux_file", "output", "output_dir", "weights_location", "init_from", "from_", "report"}
    assert named >= {"export_dir", "display_dir", "json", "compare", "comparison_picture"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            b"--downsample=1\n--dwnsample=2\n",
            "line 2: --dwnsample is no flag of this command: did you mean --downsample?",
        ),
        (b'--file="a.h5\n', "line 1: No closing quotation"),
        (b"--file=a.h5 b.h5\n", "line 1: 'b.h5' is no flag"),
        (b"\n--file\n", "line 2: --file: needs a value"),
        (b"--flagfile=\n", "line 1: --flagfile=: needs a value"),
        ("--file=a.h5\n".encode("utf-16"), "not a text file in UTF-8"),
    ],
)
def test_what_a_flagfile_must_not_have_is_refused_by_line(tmp_path, text, message):
    (tmp_path / "a.flags").write_bytes(text)
    with pytest.raises(ConfigError) as error:
        one([f"--flagfile={tmp_path}/a.flags"], DataConfig)
    assert message in str(error.value) and "a.flags" in str(error.value)


@pytest.mark.parametrize(
    "text",
    [
        b"\xef\xbb\xbf--file=a.h5\n--downsample=3\n",
        b"--file=a.h5\r\n--downsample=3\r\n",
        b"--file a.h5 # largest, gr\xf6\xdfte\n--downsample=3",
        b"--file='a.h5' --downsample \"3\"\n",
        b"// both\n--file=a.h5\n\n  --downsample=3  \n",
    ],
)
def test_what_editors_and_people_write_in_flagfiles(tmp_path, text):
    (tmp_path / "a.flags").write_bytes(text)
    data = one([f"--flagfile={tmp_path}/a.flags"], DataConfig)
    assert (data.file, data.downsample) == (("a.h5",), 3)


def test_a_flagfile_of_the_home_folder_may_name_another_one_there(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "inner one.flags").write_text("--downsample=3\n")
    (tmp_path / "outer.flags").write_text("--flagfile='~/inner one.flags'\n")
    assert one(["--flagfile=~/outer.flags"], DataConfig).downsample == 3


def test_a_runs_record_gives_the_same_names_again(tmp_path):
    names = ("a,b.h5", " c d ", 'it\'s #1 "$x".h5', "lat\udce9.h5", "d\xfc.h5", "set_[0-9]*.h5", "\\~", "e\u2028f\x0c")
    data, train = DataConfig(file=names), TrainConfig(iterations=1, aux_file=("a,b.h5",), init_from="my, run#2")
    output = OutputConfig(str(tmp_path / "out put"), "first")
    folder = RunFolder(output)
    folder.prepare()
    folder.write_record({"output": output, "data": data, "train": train}, {})
    again = parse([f"--flagfile={folder.flagfile}"], (OutputConfig, DataConfig, TrainConfig)).configs
    assert again == (output, data, train)
    assert folder.config(DataConfig) == data


def test_commands_print_one_line_and_exit_with_2(capsys):
    def main(config):
        raise ConfigError(f"--network_depth={config.network_depth}: no")

    assert run_command("train", main, (NetworkConfig,), "", "", ["--network_depth=5"]) == 2
    assert capsys.readouterr().err == "cosmictagger_tf.train: --network_depth=5: no\n"
    assert run_command("train", main, (NetworkConfig,), "", "", ["--nope"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_missing_package_is_one_line_and_a_missing_module_of_ours_is_not(capsys):
    def main(name, config):
        importlib.import_module(name)

    def opened(name):
        return run_command("train", partial(main, name), (NetworkConfig,), "", "", [])

    assert opened("no_such_package.part") == 2
    message = "needs the package no_such_package, which is not installed: pip install no_such_package"
    assert capsys.readouterr().err == f"cosmictagger_tf.train: {message}\n"
    with pytest.raises(ModuleNotFoundError):
        opened("cosmictagger_tf.no_such_module")


def test_every_option_explains_itself():
    for group in vars(config).values():
        if isinstance(group, type) and issubclass(group, config.Config) and group is not config.Config:
            for f in fields(group):
                assert len(f.metadata["help"]) > 10, (group, f.name)


def test_the_page_of_flags_is_what_the_script_prints():
    script = ROOT / "scripts/flag_table"
    printed = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True).stdout
    assert (ROOT / "docs/flags.md").read_text() == printed, "scripts/flag_table > docs/flags.md"
    described = set(re.findall(r"^\| `--(\w+)` \|", printed, re.MULTILINE))
    named = set(re.findall(r"^\| `[a-zA-Z_.]+` \| `--(\w+)` \|", printed, re.MULTILINE))
    assert len(named) > 40 and named <= described
