"""TensorBoard with its profile plugin, over HTTP and in a real browser."""

import gzip
import json
import shutil
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request

import pytest

from tests.commands import TINY, run_module

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def address(three_events, tmp_path_factory):
    """A TensorBoard that serves the logs of a profiled run."""
    folder = tmp_path_factory.mktemp("pages")
    flags = [*TINY, f"--file={three_events}", f"--aux_file={three_events}", f"--output_dir={folder}", "--run_id=pages"]
    run_module("train", *flags, "--iterations=6", "--profile=4,5", "--noxla", "--aux_epochs=4")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "tensorboard.main", f"--logdir={folder}/pages/logs", f"--port={port}"]
    server = subprocess.Popen(
        [*command, "--host=127.0.0.1"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=folder
    )
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(300):
            try:
                if ask(f"{url}/data/plugin/profile/runs"):
                    break
            except OSError:
                pass
            assert server.poll() is None, "TensorBoard ended"
            time.sleep(1)
        yield url
    finally:
        server.terminate()
        server.wait(30)


def ask(url, body=None):
    """The JSON that an address answers."""
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"} if body else {})
    with urllib.request.urlopen(request, timeout=120) as answer:
        content = answer.read()
        zipped = answer.headers.get("Content-Encoding") == "gzip"
    return json.loads(gzip.decompress(content) if zipped else content)


@pytest.mark.slow
def test_the_profile_plugin_lists_the_run_and_opens_its_pages(address):
    (run,) = ask(f"{address}/data/plugin/profile/runs")
    assert run.startswith("train/")
    quoted = urllib.parse.quote(run, safe="")
    tools = ask(f"{address}/data/plugin/profile/run_tools?run={quoted}")
    assert "overview_page" in tools and "trace_viewer@" in tools
    overview = ask(f"{address}/data/plugin/profile/data?run={quoted}&tag=overview_page&host=")
    steps = next(table for table in overview if table["cols"][0]["id"] == "stepnum")
    assert [row["c"][0]["v"] for row in steps["rows"]] == ["train 4", "train 5"]
    (host,) = ask(f"{address}/data/plugin/profile/hosts?run={quoted}&tag=overview_page")
    trace = ask(f"{address}/data/plugin/profile/data?run={quoted}&tag=trace_viewer@&host={host['hostname']}")
    assert len(trace["traceEvents"]) > 100


@pytest.mark.slow
def test_the_hyperparameters_come_with_their_results(address):
    wanted = {"allowedStatuses": ["STATUS_UNKNOWN"], "startIndex": 0, "sliceSize": 5}
    answer = ask(f"{address}/data/plugin/hparams/session_groups", json.dumps(wanted).encode())
    (group,) = answer["sessionGroups"]
    assert group["hparams"]["network.network_depth"] == 1
    assert {value["name"]["tag"] for value in group["metricValues"]} == {"loss", "mean_iou"}


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium here")
@pytest.mark.parametrize(
    "page",
    ["overview_page", "hparams", *(pytest.param(p, marks=pytest.mark.exhaustive) for p in ("trace_viewer@", "images"))],
)
def test_the_pages_render_in_a_browser(address, page, tmp_path):
    import matplotlib.pyplot as plt

    profile = page in ("overview_page", "trace_viewer@")
    (run,) = ask(f"{address}/data/plugin/profile/runs")
    (host,) = ask(f"{address}/data/plugin/profile/hosts?run={urllib.parse.quote(run, safe='')}&tag=overview_page")
    place = f"?run={run}&tool={page}&host={host['hostname']}#profile" if profile else f"#{page}"
    options = ["headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-background-networking"]
    options += ["disable-component-update", "disable-sync", "window-size=1200,900", "virtual-time-budget=40000"]
    picture = tmp_path / "page.png"
    command = [CHROMIUM, *(f"--{option}" for option in options), f"--user-data-dir={tmp_path}/browser"]
    subprocess.run([*command, f"--screenshot={picture}", f"{address}/{place}"], check=True, timeout=300)
    shown = plt.imread(picture)[..., :3]
    # Below the bar and right of the menu, where the page itself is, there is more than an empty background.
    content = shown[120:, 330:]
    background = content[-1, -1]
    assert (abs(content - background).max(axis=-1) > 0.2).mean() > 0.005
