"""A real OpenSSH server on this machine: its own configuration, port, key and home; the machine's own is left alone."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

PROGRAMS = ("sh",)
USER = "tester"
NOT_ROOT = ("unshare", "--user", "--map-user=1000", "--map-group=1000")
"""A server that is root wants a folder and a user of the machine's own."""


@dataclass(frozen=True)
class Server:
    """A server and what its users see: `home` is theirs, `programs` is all of their PATH."""

    port: int
    folder: Path
    home: Path
    programs: Path
    process: subprocess.Popen[bytes]

    @property
    def address(self) -> str:
        return f"ssh://{USER}@127.0.0.1:{self.port}"

    def offer(self, name: str, script: str) -> None:
        """Put a program there."""
        path = self.programs / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def sessions(self) -> list[str]:
        """The programs of Python that are running there, as commands."""
        found = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                command = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
                environment = path.with_name("environ").read_bytes().split(b"\0")
            except OSError:
                continue
            if f"HOME={self.home}".encode() in environment and "python" in command:
                found.append(command)
        return found


def environment_for(servers: Sequence[Server]) -> dict[str, str]:
    """That of a host whose `ssh` has the keys and the configuration of these servers."""
    client = servers[0].folder / "client"
    client.mkdir(exist_ok=True)
    known = " ".join(str(server.folder / "known") for server in servers)
    keys = "".join(f"IdentityFile {server.folder}/user\n" for server in servers)
    (client / "config").write_text(f"{keys}IdentitiesOnly yes\nUserKnownHostsFile {known}\nStrictHostKeyChecking yes\n")
    (client / "ssh").write_text(f'#!/bin/sh\nexec /usr/bin/ssh -F {client}/config "$@"\n')
    (client / "ssh").chmod(0o755)
    return {"PATH": f"{client}:{os.environ['PATH']}"}


@contextmanager
def serving(root: Path, folder: Path) -> Iterator[Server]:
    """Serve until the block ends; `root` has Debian's packages."""
    home, programs = folder / "home", folder / "programs"
    for each in (home, programs):
        each.mkdir(parents=True)
    folder.chmod(0o755)
    for name in PROGRAMS:
        (programs / name).symlink_to(Path("/bin") / name)
    for key in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / key], check=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    user, group, wrapped = (1000, 1000, NOT_ROOT) if os.getuid() == 0 else (os.getuid(), os.getgid(), ())
    (folder / "passwd").write_text(f"{USER}:x:{user}:{group}::{home}:/bin/sh\n")
    (folder / "group").write_text(f"{USER}:x:{group}:\n")
    (folder / "sshd_config").write_text(
        f"ListenAddress 127.0.0.1\nPort {port}\nHostKey {folder}/host\nAuthorizedKeysFile {folder}/user.pub\n"
        f"PidFile none\nUsePAM no\nStrictModes no\nPasswordAuthentication no\nPermitRootLogin yes\n"
        "KbdInteractiveAuthentication no\n"
        f"SetEnv HOME={home} PATH={programs}\n"
    )
    (folder / "known").write_text(f"[127.0.0.1]:{port} {(folder / 'host.pub').read_text()}")
    libraries = next(root.glob("usr/lib/*/libnss_wrapper.so")).parent
    environment = {
        "LD_LIBRARY_PATH": str(libraries),
        "LD_PRELOAD": str(libraries / "libnss_wrapper.so"),
        "NSS_WRAPPER_PASSWD": str(folder / "passwd"),
        "NSS_WRAPPER_GROUP": str(folder / "group"),
        "PATH": os.environ["PATH"],
    }
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [*wrapped, root / "usr/sbin/sshd", "-D", "-e", "-f", folder / "sshd_config"], env=environment, stderr=log
        )
        try:
            _wait(port, process, folder / "log")
            yield Server(port, folder, home, programs, process)
        finally:
            process.kill()
            process.wait()


def _wait(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(100):
        with socket.socket() as tried:
            if tried.connect_ex(("127.0.0.1", port)) == 0:
                return
        if process.poll() is not None:
            break
        time.sleep(0.1)
    raise RuntimeError(f"sshd does not serve: {log.read_text()}")
