"""What a `listen` says becomes a bound socket, or an error that says who is in the way.

Pains kept: "port still in use after a restart" (bacon #351), "stale unix socket path" (systemfd #20).
"""

import contextlib
import os
import socket
import stat
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from answering import PATIENCE_S, descriptors

from hotpipe.config.model import Listen, Server
from hotpipe.errors import SocketError
from hotpipe.server import inherit, listener, sockets
from hotpipe.server.listener import Listener, listeners_of
from hotpipe.server.opening import open_sockets

NOBODY = 65534
REPOSITORY = Path(__file__).parent.parent


@contextlib.contextmanager
def held(*specs: str | dict[str, object]) -> Iterator[tuple[tuple[Listener, socket.socket], ...]]:
    """Each with its first member."""
    listens = tuple(map(Listen.of, specs))
    with contextlib.ExitStack() as stack:
        made = listeners_of(Server(run="x", listen=listens), os.getcwd(), {})
        for each in made:
            stack.callback(each.close)
        yield tuple((each, each.join()) for each in made)


@pytest.fixture
def near(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is the working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def as_nobody(near: Path) -> Iterator[None]:
    """Without the privileges of root, where the tests run as root."""
    uid = os.geteuid()
    if uid == 0:
        os.seteuid(NOBODY)
    yield
    os.seteuid(uid)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


def backlog(listening: socket.socket) -> int:
    """What `ss -ltn` shows as Send-Q: tcpi_sacked of a listening socket, <linux/tcp.h>."""
    info = listening.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
    return int(struct.unpack_from("I", info, 28)[0])


# --- internet sockets ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "spec, addr, target",
    [
        ("http::0", "127.0.0.1:{}", "127.0.0.1"),
        ("0", "127.0.0.1:{}", "127.0.0.1"),
        ("tcp::127.0.0.2:0", "127.0.0.2:{}", "127.0.0.2"),
        ("http::0.0.0.0:0", "0.0.0.0:{}", "127.0.0.1"),
        ("http::[::1]:0", "[::1]:{}", "::1"),
        ("http::[::]:0", "[::]:{}", "::1"),
    ],
)
def test_a_socket_listens_where_its_spec_says(spec: str, addr: str, target: str) -> None:
    with held(spec) as ((one, member),):
        port = member.getsockname()[1]
        assert one.addr == addr.format(port)
        assert one.target == (target, port)
        with socket.create_connection(one.target, PATIENCE_S):
            pass


def test_a_host_may_be_a_name() -> None:
    with held("http::localhost:0") as ((one, _),):
        assert one.host in {"127.0.0.1", "::1"}
        with socket.create_connection(("localhost", one.port), PATIENCE_S):
            pass


@pytest.mark.parametrize("opens", [sockets.claim, sockets.opened, inherit.open_socket])
@pytest.mark.parametrize("host", ["nowhere.invalid", "a..b"])
def test_a_name_that_nobody_has_is_said_to_be_one(opens: Callable[[Listen], object], host: str) -> None:
    with pytest.raises(SocketError, match=rf"cannot listen on {host}:0: no such host"):
        opens(Listen("tcp", host, 0))


def test_the_port_is_the_one_asked_for() -> None:
    port = free_port()
    with held(f"http::{port}") as ((one, member),):
        assert one.port == member.getsockname()[1] == port


def test_sockets_are_named_by_type_or_by_table() -> None:
    with held("http::0", "0", {"name": "admin", "tcp": "127.0.0.1:0"}, "http::0") as opened:
        assert [one.name for one, _ in opened] == ["http", "tcp", "admin", "http2"]
        assert len({one.port for one, _ in opened}) == 4


def test_many_clients_may_wait() -> None:
    largest = int(Path("/proc/sys/net/core/somaxconn").read_text())
    with held("http::0", {"tcp": "0", "backlog": 7}) as ((_, usual), (_, small)):
        assert backlog(usual) == min(4096, largest)
        assert backlog(small) == 7


def test_accepted_connections_do_not_wait_for_more_to_send() -> None:
    with held("http::0") as ((one, member),), socket.create_connection(one.target, PATIENCE_S):
        accepted, _ = member.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


@pytest.mark.parametrize("opens", [sockets.claim, sockets.opened])
def test_a_taken_port_is_reported_with_who_holds_it(opens: Callable[[Listen], object]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SocketError) as refused:
            opens(Listen.of(f"http::{port}"))
    who = f"{psutil.Process().name()} (pid {os.getpid()})"
    assert refused.value.message == f"cannot listen on 127.0.0.1:{port}: the port is taken by {who}"
    assert "0 is a free one" in refused.value.hint


def test_a_port_taken_by_a_group_is_taken() -> None:
    """SO_REUSEPORT must not let two hotpipes share a port by accident."""
    with held("http::0") as ((one, _),):
        one.join()
        with pytest.raises(SocketError, match="the port is taken"):
            sockets.claim(Listen.of(f"http::{one.port}"))


def test_who_shares_a_socket_is_reported_by_who_handed_it_down() -> None:
    holder = "import socket, os, sys; s = socket.create_server(('127.0.0.1', 0)); child = os.fork();"
    holder += "print(s.getsockname()[1], flush=True) if child else 0; sys.stdin.read()"
    command = (sys.executable, "-c", holder)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as first:
        port = int(first.stdout.readline())
        try:
            with pytest.raises(SocketError) as refused:
                sockets.claim(Listen.of(f"http::{port}"))
        finally:
            first.stdin.close()
    assert f"(pid {first.pid})" in refused.value.message


def test_a_taken_port_leaves_none_of_the_others_open() -> None:
    free = free_port()
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(SocketError),
        held(str(free), str(taken.getsockname()[1])),
    ):
        pass
    with held(str(free)):
        pass


def test_a_privileged_port_needs_privileges(as_nobody: None) -> None:
    first_free = int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())
    if first_free == 0:
        pytest.skip("this kernel has no privileged ports: net.ipv4.ip_unprivileged_port_start is 0")
    with pytest.raises(SocketError, match="Permission denied") as refused:
        sockets.claim(Listen.of(f"http::{first_free - 1}"))
    assert refused.value.hint == "ports below 1024 need privileges; take a higher one"


def test_an_address_of_another_machine_is_no_address_of_ours() -> None:
    with pytest.raises(SocketError, match=r"cannot listen on 192\.0\.2\.1:0: Cannot assign requested address"):
        sockets.claim(Listen.of("http::192.0.2.1:0"))


# --- unix sockets ----------------------------------------------------------------------------------------------------


def test_a_path_is_relative_to_the_root(near: Path) -> None:
    os.mkdir("run")
    (one,) = listeners_of(Server(run="x", listen=(Listen.of("unix::run/web.sock"),)), str(near), {})
    os.chdir("/")
    with contextlib.closing(one):
        one.join()
        assert stat.S_ISSOCK(os.stat(near / "run" / "web.sock").st_mode)


def test_a_path_that_nobody_listens_on_is_taken_over(near: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind("s")
    with held("unix::s"), socket.socket(socket.AF_UNIX) as client:
        client.connect("s")


def test_a_path_that_somebody_listens_on_is_refused(near: Path) -> None:
    with socket.socket(socket.AF_UNIX) as live:
        live.bind("s")
        live.listen()
        with pytest.raises(SocketError, match="somebody does already"), held("unix::s"):
            pass
    assert os.listdir() == ["s"]


def test_who_listens_with_a_full_queue_listens(near: Path) -> None:
    with socket.socket(socket.AF_UNIX) as live, socket.socket(socket.AF_UNIX) as waiting:
        live.bind("s")
        live.listen(0)
        waiting.connect("s")
        with pytest.raises(SocketError, match="somebody does already"):
            sockets.claim_path("s")


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_is_no_socket_is_refused(near: Path, kind: str) -> None:
    Path("s").write_text("precious") if kind == "file" else os.mkdir("s")
    with pytest.raises(SocketError, match=r"/s: it is no socket") as refused, held("unix::s"):
        pass
    assert refused.value.hint == "move it away, or change listen"
    assert os.listdir() == ["s"]


@pytest.mark.parametrize("stale", [False, True], ids=["nothing there", "something stale"])
def test_a_folder_that_cannot_be_written_is_named(near: Path, request: pytest.FixtureRequest, stale: bool) -> None:
    os.mkdir("closed")
    if stale:
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind("closed/s")
        os.chmod("closed/s", 0o777)
    os.chmod("closed", 0o555)
    os.chmod(near, 0o755)
    request.getfixturevalue("as_nobody")
    if not os.access(".", os.X_OK, effective_ids=True):
        pytest.skip("nobody may look into pytest's own folder here")
    with pytest.raises(SocketError, match="Permission denied"), held("unix::closed/s"):
        pass


def test_a_folder_that_is_missing_is_named(near: Path) -> None:
    with pytest.raises(SocketError, match="No such file") as refused, held("unix::run/s"):
        pass
    assert refused.value.hint == "make the folder: mkdir -p run"


def test_a_path_that_is_too_long_is_said_to_be(near: Path) -> None:
    with pytest.raises(SocketError, match="at most 107 bytes"), held(f"unix::{'ü' * 60}"):
        pass


# --- all sockets of all servers --------------------------------------------------------------------------------------


@pytest.fixture
def handed(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., list[int]]]:
    """Hand sockets to this process, by name, as systemd does; gives their descriptors."""
    undo = contextlib.ExitStack()

    def hand(**named: socket.socket) -> list[int]:
        first = max(map(int, os.listdir("/dev/fd"))) + 10
        numbers = list(range(first, first + len(named)))
        for number, given in zip(numbers, named.values(), strict=True):
            os.dup2(given.fileno(), number)
            given.close()
            undo.callback(close_if_open, number)
        given = {"FDS": len(named), "PID": os.getpid(), "FDS_FIRST_FD": first, "FDNAMES": ":".join(named)}
        for name, value in given.items():
            monkeypatch.setenv(f"LISTEN_{name}", str(value))
        return numbers

    with undo:
        yield hand


def close_if_open(number: int) -> None:
    with contextlib.suppress(OSError):
        os.close(number)


def is_open(number: int) -> bool:
    with contextlib.suppress(OSError):
        os.fstat(number)
        return True
    return False


def servers(**listens: tuple[str, ...]) -> dict[str, Server]:
    return {name: Server(run="x", listen=tuple(map(Listen.of, specs))) for name, specs in listens.items()}


def listening() -> socket.socket:
    return socket.create_server(("127.0.0.1", 0))


def test_handed_in_sockets_go_to_their_servers(handed: Callable[..., list[int]], near: Path) -> None:
    path = socket.socket(socket.AF_UNIX)
    path.bind("s")
    path.listen()
    tcp = listening()
    wanted = tcp.getsockname()
    numbers = handed(second=tcp, unix=path)
    both = servers(one=("http::0",), two=("unix::elsewhere", {"name": "second", "tcp": "0"}))
    with open_sockets(both, str(near)) as opened:
        assert [type(each).__name__ for each in opened.cutovers["one"].listeners] == ["Group"]
        unix, second = opened.cutovers["two"].listeners
        assert (unix.addr, second.addr) == ("unix:s", f"127.0.0.1:{wanted[1]}")
        (warning,) = opened.warnings
        assert warning.code == "cutover.shared"
        assert f"two: all generations share one socket, unix:s, 127.0.0.1:{wanted[1]}" in warning.message
        assert "LISTEN_FDS" not in os.environ
    assert not any(map(is_open, numbers))


def test_a_handed_in_socket_that_nobody_wants_is_closed_and_named(handed: Callable[..., list[int]]) -> None:
    (number,) = handed(stranger=socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    with open_sockets(servers(one=("http::0",)), "/") as opened:
        assert [each.code for each in opened.warnings] == ["socket.unwanted"]
        assert "'stranger'" in opened.warnings[0].message
        assert not is_open(number)


@pytest.mark.parametrize("fails", ["early", "late"])
def test_none_stays_open_where_one_fails(handed: Callable[..., list[int]], fails: str) -> None:
    with listening() as taken:
        wrong = (f"tcp::{taken.getsockname()[1]}",)
        fine = (f"http::{free_port()}", {"name": "given", "tcp": "0"})
        before = descriptors()
        numbers = handed(given=listening(), stranger=socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        both = servers(one=wrong, two=fine) if fails == "early" else servers(one=fine, two=wrong)
        with pytest.raises(SocketError), open_sockets(both, "/"):
            pass
        assert not any(map(is_open, numbers))
        assert descriptors() == before


def test_a_body_that_fails_leaves_none_open(handed: Callable[..., list[int]]) -> None:
    numbers = handed(given=listening())
    with pytest.raises(KeyError), open_sockets(servers(one=("http::0", "http::0")), "/"):
        raise KeyError
    assert not any(map(is_open, numbers))


# --- a kernel that leads nobody --------------------------------------------------------------------------------------

# seccomp(2), <linux/seccomp.h>: setsockopt with SO_ATTACH_REUSEPORT_CBPF gives ENOPROTOOPT, as gVisor does.
WITHOUT = """
import ctypes, errno, os, platform, socket, struct, sys
number = {"x86_64": 54, "aarch64": 208}[platform.machine()]
load, equal, give = (0x20, 0, 0), 0x15, (0x06, 0, 0)
program = [(*load, 0), (equal, 0, 3, number), (*load, 32), (equal, 0, 1, 51),
           (*give, 0x00050000 | errno.ENOPROTOOPT), (*give, 0x7FFF0000)]
code = b"".join(struct.pack("HBBI", *each) for each in program)
buffer = ctypes.create_string_buffer(code, len(code))
fprog = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(program), ctypes.addressof(buffer)))
libc = ctypes.CDLL(None, use_errno=True)
if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, fprog, 0, 0):
    sys.exit(77)
from hotpipe.config.model import Listen, Server
from hotpipe.server.listener import is_kernel_able
from hotpipe.server.opening import open_sockets
server = Server(run="x", listen=tuple(map(Listen.of, ("http::0", "udp::0", "unix::s"))))
with open_sockets({"web": server}, os.getcwd()) as opened:
    print(is_kernel_able(), *(type(each).__name__ for each in opened.cutovers["web"].listeners))
    print(*(each.code for each in opened.warnings))
    print(opened.warnings[0].message)
    with socket.create_connection(opened.cutovers["web"].listeners[0].target, 10):
        print("connected")
"""


@pytest.mark.skipif(not listener.is_kernel_able(), reason="this kernel is one")
def test_where_the_kernel_leads_nobody_generations_share_a_socket(near: Path) -> None:
    command = (sys.executable, "-c", WITHOUT)
    said = subprocess.run(
        command, env={"PYTHONPATH": str(REPOSITORY)}, capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    if said.returncode == 77:
        pytest.skip("seccomp(2) is not to be had here")
    able, codes, message, connected = said.stdout.splitlines() or pytest.fail(said.stderr)
    assert able == "False Shared Shared Path"
    assert codes == "cutover.shared"
    assert message.startswith("web: all generations share one socket, 127.0.0.1:")
    assert "unix:" not in message
    assert connected == "connected"
