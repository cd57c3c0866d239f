"""Run a simulated venue as a process: one API port, one control port, both on loopback.

Prints exactly one JSON line with its ports and its process id when it is ready, and serves until
SIGTERM, SIGINT, a shutdown call on the control port, or, when asked to, the end of its parent.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import json
import os
import signal
import sys
from pathlib import Path

from clock import SystemClock
from simulator.exchange import Exchange
from simulator.reasons import Rejected
from simulator.seeds import load_seed
from simulator.wire.control_port import build_control, seed_service
from simulator.wire.dialects import DIALECTS
from simulator.wire.server import build_api, listen, require_loopback
from simulator.wire.service import Service

PARENT_CHECK_S = 0.5
GARBAGE = 50_000
"""Objects between two collections of garbage: one in the middle of fifty orders would look like a
venue that is slow with them."""


def parse_arguments(arguments: list[str]) -> argparse.Namespace:
    """Read the command line; wrong usage exits with 2."""
    parser = argparse.ArgumentParser(prog="python3 -m simulator", description=__doc__)
    parser.add_argument("--venue", choices=sorted(DIALECTS), default="binance")
    parser.add_argument("--host", default="127.0.0.1", help="a literal loopback address")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--control-port", type=int, default=0)
    parser.add_argument("--seed-account", type=Path, action="append", default=[])
    parser.add_argument(
        "--realtime",
        action="store_true",
        help="follow the wall clock even after a control call set a time",
    )
    parser.add_argument(
        "--exit-with-parent",
        action="store_true",
        help="end when standard input closes or the parent process goes away",
    )
    return parser.parse_args(arguments)


async def serve(options: argparse.Namespace) -> None:
    """Serve until asked to stop. Raises ValueError or Rejected for a seed that cannot be used."""
    clock = SystemClock()
    exchange = Exchange(now=clock.now())
    service = Service(exchange, DIALECTS[options.venue](exchange), clock, realtime=options.realtime)
    for path in options.seed_account:
        seed_service(service, load_seed(path))
    gc.freeze()
    gc.set_threshold(GARBAGE)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, service.stop)
    api, port = await listen(build_api(service), host=options.host, port=options.port)
    control, control_port = await listen(
        build_control(service), host=options.host, port=options.control_port
    )
    watcher = asyncio.create_task(_watch_parent(service)) if options.exit_with_parent else None
    ready = {
        "venue": options.venue,
        "port": port,
        "control_port": control_port,
        "pid": os.getpid(),
    }
    print(json.dumps(ready), flush=True)
    await service.stopping.wait()
    if watcher is not None:
        watcher.cancel()
    await asyncio.gather(api.cleanup(), control.cleanup())


async def _watch_parent(service: Service) -> None:
    """Stop the service when standard input ends or somebody else becomes the parent."""
    loop = asyncio.get_running_loop()
    descriptor = sys.stdin.fileno()

    def read() -> None:
        if not os.read(descriptor, 1024):
            loop.remove_reader(descriptor)
            service.stop()

    # A regular file or /dev/null cannot be watched; the parent's id still tells.
    with contextlib.suppress(OSError):
        loop.add_reader(descriptor, read)
    parent = os.getppid()
    while os.getppid() == parent:
        await service.sleep(PARENT_CHECK_S)
    service.stop()


def main() -> int:
    """Run the command; 2 for a wrong host or seed."""
    options = parse_arguments(sys.argv[1:])
    try:
        require_loopback(options.host)
        asyncio.run(serve(options))
    except (ValueError, KeyError, Rejected) as error:
        print(f"simulator: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
