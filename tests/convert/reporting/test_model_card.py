"""`irv2-convert card`: what is known of an artifact, in Markdown, and front matter that a YAML reader reads back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from convert.system.installation import install_command_elsewhere
from tests.conftest import run_command
from tests.convert.cli.commands import run_here
from tests.convert.reporting.described import FEW_CHANGES, MANIFEST, MANY_CHANGES, artifact, with_report
from tests.convert.reporting.outcomes import measured
from tests.edge_runtime.tiny_model import LABELS

HOSTILE = "a: [b](http://x) | <img src=x> `c`\x1b[2J # - *d* \x85 😀"


def card(path: Path, *arguments: object) -> str:
    done = run_here("irv2-convert", "card", path, *arguments)
    assert done.code == 0, done.err
    return done.out


def hub(path: Path) -> dict[str, Any]:
    """The front matter, as another program reads it."""
    _, front, _ = card(path, "--format", "huggingface").split("---\n", 2)
    return dict(yaml.safe_load(front))


def section(text: str, heading: str) -> str:
    return text.split(f"## {heading}\n")[1].split("\n## ", maxsplit=1)[0]


def test_the_front_matter_has_what_was_measured(tmp_path: Path) -> None:
    assert hub(artifact(tmp_path / "net.tflite", FEW_CHANGES)) == {
        "library_name": "litert",
        "pipeline_tag": "image-classification",
        "tags": ["tflite", "image-classification", "irv2-edge", "int8", "quantized", "mean colour"],
        "metrics": ["accuracy"],
        "model-index": [
            {
                "name": "tiny",
                "results": [
                    {
                        "task": {"type": "image-classification"},
                        "dataset": {
                            "type": "imagefolder",
                            "name": f"200 labelled images, manifest SHA-256 {MANIFEST}",
                        },
                        "metrics": [
                            {"type": "accuracy", "name": "top-1 accuracy", "value": 0.99},
                            {"type": "agreement", "name": "agreement with the float network", "value": 0.99},
                        ],
                    }
                ],
            }
        ],
    }


def test_among_two_classes_nothing_is_said_of_a_top_5(tmp_path: Path) -> None:
    path = artifact(tmp_path / "net.tflite", FEW_CHANGES)
    assert "| agreement | 99.00% " in card(path)
    assert "top-5" not in card(path, "--format", "huggingface")


def test_without_labels_there_is_no_accuracy(tmp_path: Path) -> None:
    path = artifact(tmp_path / "net.tflite", measured(2, labelled=False))
    front = hub(path)
    assert "metrics" not in front
    (result,) = front["model-index"][0]["results"]
    assert [metric["type"] for metric in result["metrics"]] == ["agreement"]
    assert "Its accuracy is not known" in section(card(path), "Limits")


def test_what_was_not_measured_is_left_out(tmp_path: Path) -> None:
    path = artifact(tmp_path / "net.tflite", scheme="none")
    assert set(hub(path)) == {"library_name", "pipeline_tag", "tags"}
    assert hub(path)["tags"][-1] != "quantized"
    text = card(path)
    assert "None were measured." in section(text, "Figures")
    assert "was not measured" in section(text, "Limits")
    assert "%" not in text


def test_nothing_is_invented(tmp_path: Path) -> None:
    done = run_here("irv2-convert", "card", artifact(tmp_path / "net.tflite"), "--format", "huggingface")
    assert not {"license", "datasets", "base_model", "language"} & set(yaml.safe_load(done.out.split("---\n")[1]))
    assert done.err == "note: not known, so left out: license, datasets, base_model; add them yourself\n"


def test_plain_markdown_is_the_same_text_without_front_matter(tmp_path: Path) -> None:
    path = artifact(tmp_path / "net.tflite", FEW_CHANGES)
    text = card(path)
    assert text.startswith("# tiny, int8\n")
    assert card(path, "--format", "huggingface").endswith(text)


def test_the_report_beside_the_artifact_adds_what_the_card_lacks(tmp_path: Path) -> None:
    path = artifact(tmp_path / "net.tflite", FEW_CHANGES)
    assert "12.5 ms" not in card(path)
    with_report(path, FEW_CHANGES)
    assert "| time | 12.5 ms per image |" in section(card(path), "Figures")
    assert "Time: median of one image on the CPU of one machine" in section(card(path), "How they were measured")


def test_a_report_of_another_file_is_left_out_and_said(tmp_path: Path) -> None:
    path = with_report(artifact(tmp_path / "net.tflite", MANY_CHANGES), MANY_CHANGES)
    artifact(path, FEW_CHANGES)
    done = run_here("irv2-convert", "card", path)
    assert "| agreement | 99.00% " in done.out
    assert "12.5 ms" not in done.out
    assert done.err == f"note: {path}.report.json is of another file than {path}: left out\n"


def test_a_failed_artifact_says_so(tmp_path: Path) -> None:
    text = card(artifact(tmp_path / "net.failed.tflite", MANY_CHANGES))
    assert "Verdict: **fail**" in text
    assert "It did not pass its limits: fail." in section(text, "Limits")


def test_how_to_use_it_is_what_runs(tmp_path: Path) -> None:
    from PIL import Image

    path = artifact(tmp_path / "my net.tflite")
    Image.new("RGB", (9, 9), (200, 0, 0)).save(tmp_path / "photo.jpg")
    text = section(card(path), "How to use it")
    line = text.split("```sh\n")[1].splitlines()[1]
    assert line.startswith("irv2-predict 'my net.tflite' photo.jpg --sha256 ")
    assert f"{install_command_elsewhere()}\n" in text
    done = run_command("irv2-predict", path, tmp_path / "photo.jpg", *line.split()[-2:])
    assert done.code == 0, done.err
    code = text.split("```python\n")[1].split("```")[0]
    compile(code, "card", "exec")
    assert f"| labels | {', '.join(LABELS)} |" in text


def test_names_stay_text(tmp_path: Path) -> None:
    path = artifact(tmp_path / "net.tflite", FEW_CHANGES, name=HOSTILE, architecture=HOSTILE)
    front, text = hub(path), card(path)
    shown = HOSTILE.replace("\x1b", "\\x1b").replace("\x85", "\\x85")
    assert front["model-index"][0]["name"] == shown
    assert front["tags"][-1] == shown
    assert "\x1b" not in text
    assert "<img" not in text
    assert "\\[b\\](http" in text


def test_many_labels_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("convert.reporting.model_card.MOST_LABELS", 2)
    assert "| labels | 3, in `labels.txt` in the zip" in card(artifact(tmp_path / "net.tflite"))


def test_a_compiled_file_says_what_was_measured(tmp_path: Path) -> None:
    source = {"compiled_from": "0" * 64, "compiled_for": ["edgetpu-custom-op"], "build": {}}
    text = card(artifact(tmp_path / "net.tflite", FEW_CHANGES, source=source))
    assert "Compiled for an Edge TPU; what was measured is the file that it was compiled from." in text


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "is not what irv2-convert or irv2-drift wrote"),
        ('{"artifact": 1}', "is not what irv2-convert or irv2-drift wrote"),
        ('{"artifact": {"path": "x", "sha256": "0"}, "drift": null, "gate": null}', "its artifact is not beside it"),
    ],
)
def test_a_strange_report_is_one_line(content: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "net.tflite.report.json"
    path.write_text(content)
    done = run_here("irv2-convert", "card", path)
    assert (done.code, done.out, len(done.err.splitlines())) == (1, "", 1)
    assert said in done.err


def test_a_card_with_strange_values_is_one_line(tmp_path: Path) -> None:
    strange = artifact(tmp_path / "net.tflite", source={"build": {}, "keras_sqnr_db": "much"})
    done = run_here("irv2-convert", "card", strange)
    assert (done.code, done.out, len(done.err.splitlines())) == (1, "", 1)


def test_the_installed_command_writes_a_file(tmp_path: Path) -> None:
    path = artifact(tmp_path / "net.tflite", FEW_CHANGES)
    done = run_command("irv2-convert", "card", path, "--output", tmp_path / "README.md")
    assert (done.code, done.out) == (0, f"{tmp_path / 'README.md'}\n"), done.err
    assert (tmp_path / "README.md").read_text("utf-8") == card(path)
