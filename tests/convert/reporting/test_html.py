"""The page as a browser would parse it: what it shows, what it leaves out, and that names are only ever text.

`tests/browser/` opens it in a real one.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from convert.drift.comparison import Comparison
from convert.errors import ConvertError
from convert.reporting import html as page
from convert.reporting import sections
from convert.reporting.classes import FEW_CLASSES
from convert.reporting.explanations import EXPLANATIONS
from tests.convert.comparisons import DEVICE, comparison, everything, report
from tests.convert.reporting.pages import Parsed, file_names, flipped, words

HEADINGS = [
    "Changed answers", "Images with a changed answer", "Results by class", "Fewer right answers ", "No change ",
    "Confidence and layers", "Layers with the lowest accumulated SQNR", "Schemes in this run", "Float fallbacks",
    "Where the drift comes from", "What was compared",
]  # fmt: skip


def save_pictures(folder: Path, count: int) -> list[str]:
    """Names of pictures in a folder of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"{i:03}.png" for i in range(count)]
    for i, name in enumerate(names):
        Image.fromarray(np.full((30, 40, 3), 5 * i, np.uint8)).save(folder / name)
    return names


def test_the_verdict_comes_first() -> None:
    text = Parsed(page.render(report(comparison([0] * 200, [0] * 200)), None)).text
    assert text.index("Pass") < text.index("top-1 agreement 100.00%") < text.index("Size") < text.index("SHA-256")


@pytest.mark.parametrize(
    ("changed", "word", "tone"), [(0, "Pass", "pass"), (190, "Fail", "fail"), (9, "Inconclusive", "inconclusive")]
)
def test_the_verdict_is_a_word_and_a_colour(changed: int, word: str, tone: str) -> None:
    compared = comparison([0] * 200, [0] * (200 - changed) + [1] * changed)
    found = Parsed(page.render(report(compared), compared))
    assert found.every("header")[0]["class"] == f"verdict {tone}"
    assert f"{word}: net.int8.tflite" in found.text


def test_every_section_has_its_place() -> None:
    compared = comparison([0, 1, 2, 3] * 50, [0, 1, 2, 2] * 50, [0, 1, 2, 3] * 50)
    value = everything(compared)
    found = Parsed(page.render(value, compared, [report(None, scheme="none")], thumbnails=False))
    assert found.headings == HEADINGS
    charts = [each["aria-label"] or "" for each in found.every("svg") if each.get("role") == "img"]
    assert [label.split(" ")[0] for label in charts] == ["Scatter", "Line", "Line"]
    assert "lowest is 29.0 dB, in layer 12, block_11/add" in charts[1]
    assert {link["href"] for link in found.every("a")} == {
        f"#{section['id']}" for section in found.every("section") if "id" in section
    }


def test_sections_without_figures_are_left_out() -> None:
    compared = comparison([0, 1], [0, 1])
    assert Parsed(page.render(report(compared) | {"blame": []}, compared)).headings == [
        "Changed answers", "Results by class", "No change ", "Confidence and layers", "What was compared",
    ]  # fmt: skip
    unmeasured = Parsed(page.render(report(None), None))
    assert unmeasured.headings == ["What was compared"]
    assert "Not measured" in unmeasured.text


def test_a_drift_check_knows_no_conversion() -> None:
    compared = comparison([0, 1, 2, 3], [0, 1, 2, 2])
    converted = report(compared)
    checked = {key: converted[key] for key in ("artifact", "drift", "gate", "blame", "environment")}
    assert "Drift of the candidate from the reference" in words(checked, compared)


def test_where_nothing_changed_there_is_no_matrix() -> None:
    compared = comparison([0, 1, 2], [0, 1, 2])
    html = page.render(report(compared), compared)
    assert "None: float and int8 predict the same class for every image." in html
    assert '<table class="matrix' not in html


def test_layers_may_be_equal() -> None:
    compared = comparison([0, 1], [0, 1])
    equal = {"name": "a", "operator": "ADD", "sqnr_db": None, "range_use": None, "saturation": None}
    value = report(compared) | {"layers": [equal, equal | {"name": "b", "sqnr_db": 31.0}]}
    assert "31.0 dB" in Parsed(page.render(value, compared)).text
    assert "Line chart" not in page.render(report(compared) | {"layers": [equal]}, compared)


def test_one_calibration_image_draws_no_convergence() -> None:
    one = {"calibrator": "min-max", "images": 1, "convergence": [{"images": 1, "range_ratio": 1.0}]}
    html = page.render(report(None) | {"calibration": one}, None)
    assert "Line chart" not in html


def test_a_scheme_has_a_row_and_this_one_is_marked() -> None:
    this = report(comparison([0] * 200, [0] * 197 + [1] * 3, [0] * 198 + [1] * 2))
    large = report(None, scheme="none") | {"latency_ms": 137.2}
    large["artifact"]["bytes"] = 228_832_308
    text = words(this, None, [large])
    assert "int8 this page 59.6 MB – 99.50% -0.50 pp 98.50% " in text
    assert "none 228.8 MB 137.2 ms – – – – Not measured" in text
    assert "this page" not in words(this)


def test_attribution_has_a_row_for_each_step() -> None:
    steps = [
        {"from": "Keras", "to": "float TFLite", "sqnr_db": 121.3, "agreement": 1.0, "images": 8},
        {"from": "host", "to": "device", "sqnr_db": None, "agreement": 1.0, "images": 1000},
        {"from": "Keras", "to": "float", "sqnr_db": None, "agreement": None, "images": None},
        {"from": "float TFLite", "to": "candidate", "sqnr_db": 24.5, "agreement": None, "images": None},
    ]
    text = words(report(None) | {"blame": steps})
    assert "Keras → float TFLite 121.3 dB 100.00% 8 " in text
    assert "host → device equal outputs 100.00% 1,000 " in text
    assert "Keras → float – – – " in text
    assert "float TFLite → int8 24.5 dB" in text, "as the rest of the page"
    of_drift = {key: value for key, value in report(None).items() if key != "scheme"} | {"blame": steps}
    assert "float TFLite → the candidate 24.5 dB" in words(of_drift)


def test_a_float_fallback_shows_what_it_costs_and_gains() -> None:
    figures = {"bytes": 60_000_000, "milliseconds": 17.14, "sqnr_db": 24.8, "agreement": 0.98}
    tried = {"layers": 3, "verdict": "pass"} | figures
    assert "3 with weights 60.0 MB 17.1 ms 24.8 dB 98.00% Pass" in words(report(None) | {"recovery": [tried]})


def test_flips_show_picture_truth_and_both_top_three(tmp_path: Path) -> None:
    names = save_pictures(tmp_path / "bee", 2)
    compared = flipped(names, folder=tmp_path / "bee")
    found = Parsed(page.render(report(compared), compared))
    pictures = found.every("img")
    assert [picture["alt"] for picture in pictures] == names
    assert all(str(picture["src"]).startswith("data:image/webp;base64,") for picture in pictures)
    for shown in ("ant 70.0%", "bee 10.0%", "bee 70.0%", "ant 10.0%", "gained"):
        assert shown in " ".join(found.text.split())


def test_a_changed_answer_is_lost_gained_or_still_wrong() -> None:
    compared = comparison([0, 0, 0], [1, 1, 1], [0, 1, 2])
    found = Parsed(page.render(report(compared), compared, thumbnails=False))
    effects = sorted(str(each["class"]) for each in found.every("em") if "class" in each)
    assert effects == ["gained", "lost", "still-wrong"]
    unlabelled = comparison([0, 0, 0], [1, 1, 1])
    assert Parsed(page.render(report(unlabelled), unlabelled, thumbnails=False)).every("em") == []


def test_names_are_relative_to_what_all_images_share(tmp_path: Path) -> None:
    for folder in ("ant", "bee"):
        save_pictures(tmp_path / folder, 1)
    compared = flipped(["ant/000.png", "bee/000.png"], folder=tmp_path)
    assert [each["alt"] for each in Parsed(page.render(report(compared), compared)).every("img")] == [
        "ant/000.png",
        "bee/000.png",
    ]


def test_a_picture_that_is_gone_is_said_to_be_gone(tmp_path: Path) -> None:
    compared = flipped(["gone.png"], folder=tmp_path)
    found = Parsed(page.render(report(compared), compared))
    assert found.every("img") == []
    assert "cannot be read" in found.text


def test_without_thumbnails_no_picture_and_no_folder_is_told(tmp_path: Path) -> None:
    folder = tmp_path / "private"
    compared = flipped(save_pictures(folder, 3), folder=folder)
    html = page.render(report(compared, path=f"{folder}/net.int8.tflite"), compared, thumbnails=False)
    found = Parsed(html)
    assert found.every("img") == []
    assert "data:image" not in html
    assert "private" not in html
    assert str(tmp_path) not in html
    assert sorted(file_names(found)) == ["000.png", "001.png", "002.png"]
    assert "net.int8.tflite" in found.text
    assert "cannot be read" not in found.text


def test_of_many_flips_some_are_shown_and_all_are_counted() -> None:
    compared = flipped([f"{i}.png" for i in range(1200)])
    found = Parsed(page.render(report(compared), compared, thumbnails=False))
    assert f"Showing {page.MOST_FLIPS} of 1,200." in found.text
    assert len(file_names(found)) == page.MOST_FLIPS


def test_of_many_classes_only_pairs_are_shown() -> None:
    few, many = ([f"class {i}" for i in range(n)] for n in (FEW_CLASSES, FEW_CLASSES + 1))
    assert "Rows: class predicted by float" in page.render(*_report_of(list(range(30)), few))
    html = page.render(*_report_of([*range(31)], many))
    assert "Rows: class predicted by float" not in html
    assert "19 more pairs" in html
    assert "19 more classes" in html


def _report_of(truth: list[int], labels: list[str]) -> tuple[dict[str, Any], Comparison]:
    """Every answer changes to the next class."""
    after = [(i + 1) % len(labels) for i in truth]
    compared = comparison(truth, after, truth, labels=labels)
    return report(compared), compared


def test_every_figure_has_its_explanation_beside_it() -> None:
    compared = comparison([0, 1, 2, 3] * 50, [0, 1, 2, 2] * 50, [0, 1, 2, 3] * 50)
    found = Parsed(page.render(everything(compared), compared, thumbnails=False))
    explained = {str(each["aria-label"]) for each in found.every("summary") if "aria-label" in each}
    assert {f"What it means: {figure.title}" for figure in sections.key_figures(report(compared))} <= explained
    text = " ".join(found.text.split())
    for term in ("SQNR", "McNemar's p", "95% interval", "Agreement", "Bootstrap", "Saturated", "Lowest accumulated"):
        sentence = EXPLANATIONS[term].format(reference="float", candidate="int8")
        assert sentence in text


def test_the_device_has_a_section_of_its_own() -> None:
    compared = comparison([0] * 200, [0] * 197 + [1] * 3)
    found = Parsed(page.render(report(compared) | {"device": DEVICE}, compared))
    assert "On the device" in found.headings
    text = " ".join(found.text.split())
    assert "Device ssh://pi@raspberrypi, aarch64, Python 3.11.2 " in text
    assert text.count("ssh://pi@raspberrypi") == 1
    for name in ("Host to device", "Time of an image"):
        assert EXPLANATIONS[name] in text
    assert "On the device" not in Parsed(page.render(report(compared), compared)).headings


def test_nothing_comes_from_elsewhere() -> None:
    compared = comparison([0, 1, 2, 3], [0, 1, 2, 2])
    found = Parsed(page.render(everything(compared), compared, thumbnails=False))
    assert "script" not in {tag for tag, _ in found.tags}
    policy = next(each["content"] for each in found.every("meta") if each.get("http-equiv"))
    assert policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    addresses = [value for _, each in found.tags for key, value in each.items() if key in ("src", "href", "xlink:href")]
    assert addresses
    assert all(str(address).startswith(("#", "data:")) for address in addresses)
    assert not [key for _, each in found.tags for key in each if key.startswith("on")]


def test_the_page_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    target = page.beside(tmp_path / "net.int8.tflite")
    assert target.name == "net.int8.tflite.report.html"
    html = page.render(report(None), None)
    assert page.write(html, target).read_text("utf-8") == html
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").touch()
    with pytest.raises(ConvertError, match="folder cannot be written"):
        page.write(html, tmp_path / "folder")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", target.name]


@pytest.mark.parametrize("command", ["convert.cli.convert", "convert.cli.drift"])
def test_commands_start_without_what_draws_the_page(command: str) -> None:
    code = f"import sys, {command}; assert not {{'jinja2', 'matplotlib', 'PIL.WebPImagePlugin'}} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
