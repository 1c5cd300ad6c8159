"""`lisp-map-server`: the mapping system on plain sockets, without a controller and without Ryu."""

from __future__ import annotations

import logging
import random
import socket
import sys
from pathlib import Path

import click
from pydantic import TypeAdapter, ValidationError

from lisp_sdn import config as configuration
from lisp_sdn.address import Endpoint
from lisp_sdn.cli.datagrams import listen
from lisp_sdn.cli.serve import Flusher, Worker
from lisp_sdn.cli.workers import Copy, Replicas
from lisp_sdn.config import Config, EndpointField
from lisp_sdn.errors import ConfigError, StoreError
from lisp_sdn.mapping.fastpath import FastPath
from lisp_sdn.mapping.sqlite_store import SqliteStore
from lisp_sdn.mapping.store import MemoryStore, Store
from lisp_sdn.mapping.system import MapSystem
from lisp_sdn.policy import PolicyEngine, Sites

LOGGER = logging.getLogger("lisp_sdn.map_server")

MAX_WORKERS = 64

_MODULE = "lisp_sdn.cli.map_server"
_ENDPOINT: TypeAdapter[Endpoint] = TypeAdapter(EndpointField)


def _endpoint(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> list[Endpoint]:
    try:
        return [_ENDPOINT.validate_python(value) for value in values]
    except ValidationError as error:
        message = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise click.BadParameter(message) from None


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--config",
    "config_path",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    envvar="LISP_SDN_CONFIG",
    required=True,
    help="Sites, policies, limits, store; the same file as for the controller.",
)
@click.option(
    "--listen",
    "listen_on",
    metavar="ADDRESS:PORT",
    multiple=True,
    callback=_endpoint,
    help="UDP address instead of the configuration's control.listen; may be repeated.",
)
@click.option(
    "--workers",
    type=click.IntRange(1, MAX_WORKERS),
    default=1,
    show_default=True,
    help="Processes that share the port; one for each core.",
)
@click.option("--verbose", is_flag=True, help="Log registrations too, not only refusals.")
@click.option("--copy-of", type=int, hidden=True, help="Descriptor of the stream to worker 0.")
def main(
    config_path: Path,
    listen_on: list[Endpoint],
    workers: int,
    verbose: bool,
    copy_of: int | None,
) -> None:
    """Serve as LISP Map-Server and Map-Resolver (RFC 9301) until SIGTERM or SIGINT."""
    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING,
        format="%(asctime)s %(levelname)s %(message)s",
        stream=sys.stderr,
    )
    try:
        config = configuration.load(config_path.read_text(), str(config_path))
    except (ConfigError, OSError, UnicodeDecodeError) as error:
        raise click.ClickException(str(error)) from None
    endpoints = listen_on or list(config.control.listen)
    shared = _for_worker(config, endpoints, workers)
    try:
        if copy_of is not None:
            _run_copy(shared, endpoints, copy_of)
        else:
            _run(shared, endpoints, workers, config_path, verbose)
    except StoreError as error:
        raise click.ClickException(str(error)) from None


def _for_worker(config: Config, endpoints: list[Endpoint], workers: int) -> Config:
    """The configuration of one worker: each has its part of the total rate."""
    total = max(1, config.limits.map_requests_total // workers)
    return config.model_copy(
        update={
            "limits": config.limits.model_copy(update={"map_requests_total": total}),
            "control": config.control.model_copy(update={"listen": tuple(endpoints)}),
        }
    )


def _system(config: Config, store: Store) -> MapSystem:
    policy = PolicyEngine(config.policies, Sites.from_config(config))
    return MapSystem(config, store=store, policy=policy, rng=random.SystemRandom())


def _bind(endpoints: list[Endpoint], *, shared: bool) -> list[socket.socket]:
    sockets: list[socket.socket] = []
    for endpoint in endpoints:
        try:
            sockets.append(listen(endpoint, reuse_port=shared))
        except OSError as error:
            if endpoint.address.version == 6 and endpoint.address.is_unspecified and sockets:
                LOGGER.warning("not listening on %s: %s", endpoint, error.strerror)
                continue
            raise click.ClickException(f"UDP {endpoint}: {error.strerror}") from None
    return sockets


def _run(
    config: Config, endpoints: list[Endpoint], workers: int, path: Path, verbose: bool
) -> None:
    """Worker 0."""
    sockets = _bind(endpoints, shared=workers > 1)
    store: MemoryStore | SqliteStore
    flusher = None
    if config.store.path is None:
        store = MemoryStore(retain=False)
    else:
        store = SqliteStore(config.store.path)
        flusher = Flusher(store)
    system = _system(config, store)
    worker = Worker(system, FastPath(system), store, flusher=flusher)
    worker.stop_on_signals()
    worker.start()
    for sock in sockets:
        worker.add_socket(sock)
    replicas = None
    if workers > 1:
        command = [sys.executable, "-m", _MODULE, "--config", str(path)]
        command += [f"--listen={endpoint}" for endpoint in worker.endpoints]
        command += [f"--workers={workers}", *(["--verbose"] if verbose else [])]
        replicas = Replicas(workers - 1, worker, lambda fd: [*command, f"--copy-of={fd}"])
        store.on_append = replicas.publish
        worker.every_turn(replicas.check)
    _announce(worker, replicas, workers)
    try:
        worker.run()
    finally:
        if replicas is not None:
            replicas.stop()
        worker.close()


def _announce(worker: Worker, replicas: Replicas | None, workers: int) -> None:
    """Say "ready" on standard output once every worker serves."""
    where = ", ".join(map(str, worker.endpoints))

    def say() -> bool:
        if replicas is not None and replicas.ready < workers - 1:
            return False
        click.echo(f"ready: {where}, workers {workers}")
        return True

    worker.until_done(say)


def _run_copy(config: Config, endpoints: list[Endpoint], descriptor: int) -> None:
    """Any other worker."""
    store = MemoryStore(retain=False)
    system = _system(config, store)

    def serve() -> None:
        for sock in _bind(endpoints, shared=True):
            worker.add_socket(sock)

    copy = Copy(socket.socket(fileno=descriptor), serve)
    worker = Worker(system, FastPath(system), store, hand_over=copy.hand_over)
    worker.stop_on_signals()
    worker.start()
    copy.attach(worker)
    worker.run()
    worker.close()


if __name__ == "__main__":
    main()
