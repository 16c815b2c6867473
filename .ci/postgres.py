#!/usr/bin/env python3
"""A PostgreSQL server of a check's own: made in a temporary folder, on a port of its own, on loopback alone."""

import contextlib
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from stack import free_port

PASSWORD = "planted-database-password"


def binaries() -> pathlib.Path:
    found = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        sys.exit("PostgreSQL's server is not installed (Debian: postgresql)")
    return found[-1].parent


class Server:
    """Runs as the user `postgres`, since the server refuses to run as root."""

    def __init__(self, port: int | None = None, settings: dict[str, str] | None = None, data: pathlib.Path | None = None) -> None:
        self.bin = binaries()
        self.port = port or free_port()
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="agw-postgres-"))
        self.data = self.folder / "data"
        self.settings = {"fsync": "on", "max_connections": "60", **(settings or {})}
        self.process: subprocess.Popen | None = None
        self.log = open(self.folder / "log", "ab")
        shutil.chown(self.folder, "postgres") if os.getuid() == 0 else None
        if data is None:
            password = self.folder / "password"
            password.write_text(PASSWORD)
            password.chmod(0o644)
            self.run("initdb", "-D", self.data, "-U", "postgres", "-A", "scram-sha-256", "--pwfile", password, "-E", "UTF8", "--locale=C.UTF-8")
        else:
            self.data = data

    def as_postgres(self, command: list) -> list[str]:
        command = [str(part) for part in command]
        return ["runuser", "-u", "postgres", "--", *command] if os.getuid() == 0 else command

    def run(self, tool: str, *arguments, check: bool = True) -> subprocess.CompletedProcess:
        environment = {**os.environ, "PGPASSWORD": PASSWORD, "LC_ALL": "C.UTF-8", "PGOPTIONS": "-c default_transaction_read_only=off"}
        done = subprocess.run(self.as_postgres([self.bin / tool, *arguments]), env=environment, capture_output=True, text=True, cwd=self.folder, timeout=120)
        if check and done.returncode != 0:
            sys.exit(f"{tool} failed: {done.stdout}{done.stderr}")
        return done

    def start(self) -> "Server":
        settings = {"listen_addresses": "127.0.0.1", "port": str(self.port), "unix_socket_directories": str(self.folder), **self.settings}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        self.process = subprocess.Popen(self.as_postgres([self.bin / "postgres", "-D", self.data, *options]), stdout=self.log, stderr=self.log, cwd=self.folder, start_new_session=True)
        deadline = time.monotonic() + 60
        while self.run("pg_isready", "-h", "127.0.0.1", "-p", self.port, check=False).returncode != 0:
            if time.monotonic() > deadline or self.process.poll() is not None:
                sys.exit(f"PostgreSQL does not start: {(self.folder / 'log').read_text()[-2000:]}")
            time.sleep(0.1)
        return self

    def postmaster(self) -> int:
        return int((self.data / "postmaster.pid").read_text().split()[0])

    def stop(self, how: int = signal.SIGINT) -> None:
        """SIGINT: the fast shutdown."""
        if self.process and self.process.poll() is None:
            os.kill(self.postmaster(), how)
            self.process.wait(timeout=60)
        self.process = None

    def sql(self, text: str, database: str = "postgres") -> str:
        done = self.run("psql", "-h", "127.0.0.1", "-p", self.port, "-U", "postgres", "-d", database, "-v", "ON_ERROR_STOP=1", "-At", "-c", text)
        return done.stdout.strip()

    def url(self, database: str) -> str:
        return f"postgres://postgres:{PASSWORD}@127.0.0.1:{self.port}/{database}"

    def create(self, database: str) -> str:
        self.sql(f'CREATE DATABASE "{database}"')
        return self.url(database)

    def remove(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.stop()
        self.log.close()
        shutil.rmtree(self.folder, ignore_errors=True)


@contextlib.contextmanager
def server(**settings):
    made = Server(**settings)
    try:
        yield made.start()
    finally:
        made.remove()


if __name__ == "__main__":
    # Runs a command with TEST_DATABASE_URL, the address of a server that is there for it alone.
    with server(settings={"fsync": "off", "max_connections": "300"}) as made:
        environment = {**os.environ, "TEST_DATABASE_URL": made.url("postgres")}
        sys.exit(subprocess.run(sys.argv[1:], env=environment).returncode)
