"""A native delegate, loaded from a plugin library through ctypes."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

from edge_runtime.console import native_stderr_silenced
from edge_runtime.errors import DelegateError


class Plugin:
    """A native delegate; an interpreter takes it as one of its `experimental_delegates`.

    It replaces the packages' own loader, which after a failure destroys a delegate that was never created.
    """

    def __init__(self, library: Path, options: dict[str, str]) -> None:
        """Load the library and let it create its delegate.

        Raises:
            DelegateError: the file is missing, is not a library or not a delegate, or refuses.
        """
        self._delegate, messages = None, []
        report_type = ctypes.CFUNCTYPE(None, ctypes.c_char_p)
        report = report_type(lambda message: messages.append((message or b"").decode(errors="replace")))
        strings = ctypes.c_char_p * len(options)
        keys, values = strings(*map(os.fsencode, options)), strings(*map(os.fsencode, options.values()))
        try:
            with native_stderr_silenced():
                native = ctypes.CDLL(os.fspath(library))
                create, self._destroy = native.tflite_plugin_create_delegate, native.tflite_plugin_destroy_delegate
                create.restype, self._destroy.restype = ctypes.c_void_p, None
                create.argtypes = [type(keys), type(values), ctypes.c_size_t, report_type]
                self._destroy.argtypes = [ctypes.c_void_p]
                self._delegate = create(keys, values, len(options), report)
        except (OSError, ValueError) as error:
            raise DelegateError(f"{library} cannot be loaded: {error}") from error
        except AttributeError as error:
            raise DelegateError(f"{library} is not a delegate: {error}") from error
        if self._delegate is None:
            raise DelegateError(f"{library} refuses: {' '.join(' '.join(messages).split()) or 'it gives no reason'}")

    def _get_native_delegate_pointer(self) -> int | None:
        """Return the delegate's address; the interpreter that asks for it keeps this object alive."""
        return self._delegate

    def __del__(self) -> None:
        if self._delegate is not None:
            self._destroy(self._delegate)
