"""No file crashes, hangs or fills the memory of what opens it: it is answered rightly, or refused as one of our errors.

Some hundred files in `make test`, all of them in `make fuzz`. What fails is made again with
`python -m tests.hostile.trial artifacts 1 NUMBER`.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from edge_runtime import ArtifactError, Classifier, InputSpec, engines
from edge_runtime.artifact import open_artifact
from tests.edge_runtime.commands import environment
from tests.edge_runtime.tiny_model import SPEC
from tests.hostile import artifacts, foreign, operators, pictures, unusual

SAMPLE = {"artifacts": 200, "unusual": 100, "foreign": 100, "operators": 300, "pictures": 100}
TARGETS = {
    "artifacts": {"classify", "inspect", "judge"},
    "unusual": {"classify_unusual", "inspect"},
    "foreign": {"classify_foreign"},
    "operators": {"compute"},
    "pictures": {"look", "look_at_a_fraction"},
}


def trial(kind: str, count: int) -> dict[str, Any]:
    """The summary of so many files."""
    command = [sys.executable, "-m", "tests.hostile.trial", kind, str(count)]
    done = subprocess.run(command, capture_output=True, env=environment(), timeout=3600, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return dict(json.loads(done.stdout))


def check(summary: dict[str, Any], kind: str, count: int) -> None:
    """Nothing failed, everything was opened, and both ways of ending well were seen."""
    assert summary["failures"] == []
    assert set(summary["outcomes"]) == TARGETS[kind]
    for seen in summary["outcomes"].values():
        assert sum(seen.values()) == count
        assert min(seen["answered"], seen["refused"]) > 0
    assert summary["most_bytes"] < 2**30
    assert summary["most_seconds"] < 10


@pytest.mark.parametrize("kind", SAMPLE)
def test_hundreds_of_hostile_files(kind: str) -> None:
    check(trial(kind, SAMPLE[kind]), kind, SAMPLE[kind])


@pytest.mark.fuzz
@pytest.mark.parametrize(
    ("kind", "count"),
    [
        ("artifacts", artifacts.COUNT),
        ("unusual", unusual.COUNT),
        ("foreign", foreign.COUNT),
        ("operators", operators.COUNT),
        ("pictures", pictures.COUNT),
    ],
)
def test_thousands_of_hostile_files(kind: str, count: int) -> None:
    check(trial(kind, count), kind, count)


def test_a_sample_holds_every_way_to_spoil_a_file() -> None:
    seen = {artifacts.artifact_file(number)[1] for number in range(SAMPLE["artifacts"])}
    assert seen == {way.__name__.strip("_") for way in (*artifacts.DAMAGES, *artifacts.SIGNED_AGAIN)}
    numbers = [number for number in range(SAMPLE["pictures"]) if number % pictures.BOMBS_EVERY]
    assert len(numbers) < SAMPLE["pictures"]
    seen = {pictures.picture_file(number)[1].rpartition(" ")[2] for number in numbers}
    assert seen == {way.__name__.strip("_") for way in pictures.WAYS}


def test_the_same_number_is_the_same_file() -> None:
    assert [artifacts.artifact_file(n) for n in range(40)] == [artifacts.artifact_file(n) for n in range(40)]
    assert pictures.picture_file(7) == pictures.picture_file(7)


def test_files_signed_again_get_past_the_checksums_and_the_others_do_not(tmp_path: Path) -> None:
    """Half of the files are for the parser: its defence, not the checksum's, is what they try."""
    path, sound = tmp_path / "hostile.tflite", {artifacts.whole(artifact) for artifact in artifacts.sound_artifacts()}
    passed = {True: 0, False: 0}
    for number in range(160):
        content, _ = artifacts.artifact_file(number)
        path.write_bytes(content)
        try:
            artifact = open_artifact(path)
        except ArtifactError:
            continue
        passed[artifacts.is_signed_again(number)] += 1
        if not artifacts.is_signed_again(number):  # changes behind the zip or in its timestamps do not count
            assert content in sound or content[: artifact.flatbuffer_bytes] in {
                artifact.flatbuffer for artifact in artifacts.sound_artifacts()
            }
    assert passed[True] > 40


@pytest.mark.parametrize("spec", [None, SPEC], ids=["as an artifact", "as a foreign model"])
def test_what_the_checksum_does_not_hold_for_never_gets_to_native_code(
    spec: InputSpec | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = bytearray(artifacts.whole(artifacts.sound_artifacts()[0]))
    content[len(artifacts.sound_artifacts()[0].flatbuffer) // 2] ^= 1
    path = tmp_path / "damaged.tflite"
    path.write_bytes(content)
    monkeypatch.setattr(engines, "import_interpreter", lambda _: pytest.fail("native code was loaded"))
    with pytest.raises(ArtifactError, match="checksum of the flatbuffer does not match"):
        Classifier.open(path, spec=spec)


PROGRAM = """
import json, os, time
from dataclasses import asdict
from tests.hostile import trial
trial.SECONDS = 1
print(json.dumps(asdict(trial.in_a_process(lambda: {body}))))
"""


@pytest.mark.parametrize(
    ("body", "kind", "what"),
    [
        ("trial.ANSWERED", "answered", ""),
        ("os.abort()", "failed", "killed by SIGABRT"),
        ("time.sleep(30)", "failed", "killed by SIGALRM"),
        ("bytearray(2**31)", "failed", "MemoryError"),
        ("os._exit(3)", "failed", "exit code 3"),
        ("1 / 0", "failed", "ZeroDivisionError"),
    ],
)
def test_the_trial_notices(body: str, kind: str, what: str) -> None:
    command = [sys.executable, "-c", PROGRAM.format(body=body)]
    done = subprocess.run(command, capture_output=True, env=environment(), timeout=60, check=True)
    outcome = json.loads(done.stdout)
    assert outcome["kind"] == kind
    assert what in outcome["what"]
