"""One generation: its process, its output, the proof that it is ready, its end."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import anyio

from hotpipe.config.file import Project
from hotpipe.config.model import Server
from hotpipe.errors import SpawnError
from hotpipe.events import Emit, ServerOutput, Stream
from hotpipe.process.command import Command, environment
from hotpipe.process.system import Processes, Running
from hotpipe.server import lifecycle, ready
from hotpipe.server.sockets import Held

FIRST_DESCRIPTOR = 3  # SD_LISTEN_FDS_START, sd_listen_fds(3)
_PLACEHOLDER = re.compile(r"\{(fd(?::[^{}]+)?|host|port|addr|url)\}")


@dataclass(frozen=True, slots=True)
class Setting:
    """All that the generations of one server have in common."""

    project: Project
    name: str
    server: Server
    sockets: tuple[Held, ...]
    processes: Processes
    emit: Emit


def command_of(setting: Setting, generation: lifecycle.Generation) -> Command:
    """What to start, with the placeholders filled in and the environment of sd_listen_fds(3)."""
    own = {
        "HOTPIPE_SERVER": setting.name,
        "HOTPIPE_GENERATION": str(generation.number),
        "HOTPIPE_TREE": generation.tree or "",
    }
    if setting.sockets:
        own["LISTEN_FDNAMES"] = ":".join(held.name for held in setting.sockets)
    run = setting.server.run
    words = _words(setting.sockets)
    filled = _fill(run, words) if isinstance(run, str) else tuple(_fill(part, words) for part in run)
    return Command(
        filled,
        setting.project.path(setting.server.cwd),
        environment(setting.server.env, own),
        tuple(held.socket.fileno() for held in setting.sockets),
    )


async def attend(
    setting: Setting,
    generation: lifecycle.Generation,
    scope: anyio.CancelScope,
    tell: Callable[[lifecycle.Input], None],
) -> None:
    """Start the generation and report on it, to its end. Cancelling `scope` stops it, with its whole tree."""
    number = generation.number
    try:
        child = setting.processes.spawn(command_of(setting, generation))
    except SpawnError as error:
        tell(lifecycle.NotSpawned(number, f"{error.message}{f' ({error.hint})' if error.hint else ''}"))
        return
    tell(lifecycle.Spawned(number, child.pid))
    async with anyio.create_task_group() as listening:
        # To the very end: a server that is being stopped may have something to say, and SIGPIPE would cut it short.
        listening.start_soon(child.finish, _output(setting, number))
        with scope:
            await _until_ended(setting, number, child, tell)
        with anyio.CancelScope(shield=True):
            killed = await _clear(setting, child)
        listening.cancel_scope.cancel()
    for held in setting.sockets:
        held.renew()
    ended = child.exit
    tell(lifecycle.Ended(number, ended.code if ended else None, ended.signal if ended else None, killed))


async def _until_ended(setting: Setting, number: int, child: Running, tell: Callable[[lifecycle.Input], None]) -> None:
    async with anyio.create_task_group() as watching:
        watching.start_soon(_watch_readiness, setting, number, tell)
        await child.wait()
        watching.cancel_scope.cancel()


async def _clear(setting: Setting, child: Running) -> bool:
    """End all that descends from it, also if it ended first: what lives on would go on accepting."""
    return await setting.processes.stop(child, setting.server.stop_signal, setting.server.stop_timeout)


async def _watch_readiness(setting: Setting, number: int, tell: Callable[[lifecycle.Input], None]) -> None:
    with anyio.move_on_after(setting.server.ready_timeout):
        how = await ready.accepting(setting.sockets)
        for held in setting.sockets:
            held.listen_again()
        tell(lifecycle.Ready(number, how))
        return
    hint = "" if not setting.sockets or _uses_sockets(setting.server.run) else "; does its run use the socket, {fd}?"
    tell(lifecycle.Expired(number, f"accepted no connection within {setting.server.ready_timeout}{hint}"))


def _output(setting: Setting, number: int) -> Callable[[Stream, str], None]:
    def line(stream: Stream, text: str) -> None:
        setting.emit(ServerOutput(server=setting.name, generation=number, stream=stream, text=text))

    return line


def _uses_sockets(run: str | tuple[str, ...]) -> bool:
    return _PLACEHOLDER.search(run if isinstance(run, str) else " ".join(run)) is not None


def _words(sockets: Sequence[Held]) -> Mapping[str, str]:
    """What the placeholders stand for: those of the first socket, and each descriptor by its name."""
    words = {f"fd:{held.name}": str(FIRST_DESCRIPTOR + place) for place, held in enumerate(sockets)}
    if sockets:
        first = sockets[0]
        words |= {"fd": str(FIRST_DESCRIPTOR), "host": first.host, "port": str(first.port)}
        words |= {"addr": first.addr, "url": first.url}
    return words


def _fill(text: str, words: Mapping[str, str]) -> str:
    """Only the known names are replaced; every other brace stays as it is."""
    return _PLACEHOLDER.sub(lambda found: words.get(found[1], found[0]), text)
