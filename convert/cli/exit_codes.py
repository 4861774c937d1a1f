"""What each exit code of a command means: for its help, and for docs/contracts.md, which a test holds against this."""

from __future__ import annotations

from collections.abc import Mapping

ENDED = {130: "Ctrl-C", 143: "SIGTERM"}
DONE = {0: "done", 1: "an error", 2: "wrong usage", **ENDED}
JUDGED = {**DONE, 0: "the gate passed", 3: "drift over a limit", 4: "too few images to tell"}
VERIFIED = {**DONE, 0: "nothing differs", 1: "an error, or a damaged file", 3: "an input or a byte differs"}
AUDITED = {
    **DONE,
    1: "an error, or --target-runtime cannot run it",
    3: "--require is not met, or --bisect finds an operator",
}


def exit_codes(meanings: Mapping[int, str]) -> str:
    """Return the line of a command's help that says what its exit codes mean."""
    return f"Exit codes: {', '.join(f'{code} {meanings[code]}' for code in sorted(meanings))}."
