"""`irv2-benchmark`, with `--device` on devices over SSH; without, on this machine, as `edge_runtime.benchmark` does it.

It needs no package that the runtime does not need.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from convert.devices.device import prepare
from convert.devices.fleet import Fleet, Tell
from convert.devices.looking import look_at
from convert.devices.speed import speed_remarks
from convert.devices.ssh import Line
from convert.devices.state import is_throttled
from edge_runtime._cli import foreign_options
from edge_runtime.artifact import check_tflite
from edge_runtime.benchmark import NAME, build_parser, run_here, show
from edge_runtime.console import complain, prepare_streams, printable, run_command
from edge_runtime.hashing import file_sha256

PASSED_ON = ("engine", "delegate", "threads", "runs", "warmup", "save")
"""Options that mean on the device what they mean here."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code; of devices it is 1 if one of them did not answer."""
    prepare_streams()
    parser = device_parser()
    arguments = parser.parse_args(argv)
    if arguments.install and not arguments.device:
        parser.error("--install goes with --device ssh://USER@HOST")
    run = run_on_devices if arguments.device else run_here
    return run_command(NAME, lambda: run(arguments), arguments.debug)


def device_parser() -> argparse.ArgumentParser:
    """Return the command's options."""
    parser = build_parser()
    group = parser.add_argument_group("devices over SSH", "in place of this one, through the OpenSSH client")
    group.add_argument(
        "--device",
        action="append",
        metavar="ssh://USER@HOST[:PORT]",
        help="a device to time the model on; can be repeated: devices work side by side",
    )
    group.add_argument(
        "--install", action="store_true", help="install on the device what it lacks, in an environment of its own"
    )
    return parser


def run_on_devices(arguments: argparse.Namespace) -> int:
    """Time a model on devices, print what each says, and which is odd; return the exit code.

    Raises:
        EdgeError: it names the file; or the device and what it lacks, if no other is left.
    """
    model = Path(arguments.model)
    check_tflite(model, arguments.sha256)
    job = {"sha256": file_sha256(model), **_described(foreign_options(arguments))}
    options = {name: getattr(arguments, name) for name in PASSED_ON}

    def work(line: Line, _: Tell) -> dict[str, Any]:
        device = look_at(line, arguments.install)
        sha256, _hashes = prepare(device, model)
        found = device.benchmark({**job, "options": {"model": device.place(sha256), **options}})
        python = ".".join(map(str, device.facts["python"]))
        facts = {"address": device.name, "machine": device.facts["machine"], "python": python}
        return {**found, "model": arguments.model, "device": facts}

    with Fleet(arguments.device, lambda error: complain(NAME, f"error: {error}")) as fleet:
        reports = fleet.finish(fleet.start(work))
    for report in reports.values():
        if not arguments.json:
            print(_title(report))
        show(report, arguments.json)
    for line, error in fleet.failures.items() if arguments.json else ():
        print(json.dumps({"device": {"address": line.address.text}, "error": error}))
    medians = {line.address.text: report["inference"][0]["p50_ms"] for line, report in reports.items()}
    for remark in () if arguments.json else speed_remarks(medians):
        print(printable(remark))
    return int(bool(fleet.failures))


def _title(report: dict[str, Any]) -> str:
    """Return a line about a device and the state that it was in."""
    device, before, after = report["device"], report["before"], report["after"]
    parts = [device["address"], device["machine"], f"Python {device['python']}"]
    for key, unit, units in (("temperature_c", "°C", 1), ("clock_khz", "MHz", 1000)):
        if before[key] is not None and after[key] is not None:
            parts.append(f"{before[key] / units:g} -> {after[key] / units:g} {unit}")
    return printable(", ".join([*parts, *(["throttled"] if is_throttled(before, after) else [])]))


def _described(foreign: dict[str, Any]) -> dict[str, Any]:
    """Return as JSON values what the device is told of a model without a card."""
    labels = foreign.get("labels")
    return (
        {} if not foreign else {"spec": foreign["spec"].to_json(), "labels": None if labels is None else list(labels)}
    )


if __name__ == "__main__":
    sys.exit(main())
