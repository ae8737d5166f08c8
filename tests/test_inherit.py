"""Sockets handed to hotpipe: what is taken, what is refused, and which stands in for which.

The sockets are real, and so is the systemd-socket-activate that hands them over in the last tests.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from hotpipe.config.model import Listen
from hotpipe.errors import SocketError, UsageError
from hotpipe.server import inherit
from hotpipe.server.inherit import Inherited

PATIENCE_S = 60.0
OWN_PID = 4242


@pytest.fixture
def own() -> Iterator[ExitStack]:
    """Closes what a test has opened."""
    with ExitStack() as stack:
        yield stack


def opened(own: ExitStack, *specs: str) -> list[socket.socket]:
    return [own.enter_context(inherit.open_socket(Listen.of(spec))) for spec in specs]


def in_a_row(own: ExitStack, *sockets: socket.socket) -> int:
    """Copies of them on neighbouring descriptors, inheritable, as a parent hands them over; the first one's number."""
    first = max(map(int, os.listdir("/dev/fd"))) + 10
    for number, handed in enumerate(sockets, first):
        os.dup2(handed.fileno(), number)
        own.callback(close_if_open, number)
    return first


def close_if_open(descriptor: int) -> None:
    try:
        os.close(descriptor)
    except OSError:
        return


def environ(first: int, count: int, **more: str) -> dict[str, str]:
    return {"LISTEN_FDS": str(count), "LISTEN_PID": str(OWN_PID), "LISTEN_FDS_FIRST_FD": str(first), **more}


def taken(own: ExitStack, variables: dict[str, str]) -> list[Inherited]:
    found = inherit.received(variables, OWN_PID)
    for one in found:
        own.enter_context(one.socket)
    return list(found)


class TestReceived:
    def test_nothing_announced_is_nothing_taken(self) -> None:
        assert inherit.received({}, OWN_PID) == ()

    def test_each_socket_comes_with_its_name_and_kind_in_order(self, own: ExitStack, tmp_path: Path) -> None:
        first = in_a_row(own, *opened(own, "http::0", "udp::0", f"unix::{tmp_path}/s", "tcp::[::1]:0"))
        found = taken(own, environ(first, 4, LISTEN_FDNAMES="web:dns::six"))
        assert [(i.name, i.kind) for i in found] == [
            ("web", "stream"),
            ("dns", "datagram"),
            ("unknown", "unix"),
            ("six", "stream"),
        ]
        assert [i.socket.fileno() for i in found] == list(range(first, first + 4))
        assert [i.socket.family for i in found] == [
            socket.AF_INET,
            socket.AF_INET,
            socket.AF_UNIX,
            socket.AF_INET6,
        ]

    def test_without_names_they_are_unknown(self, own: ExitStack) -> None:
        first = in_a_row(own, *opened(own, "0", "0"))
        assert [i.name for i in taken(own, environ(first, 2))] == ["unknown", "unknown"]

    def test_what_is_taken_is_closed_on_exec_and_accepts(self, own: ExitStack) -> None:
        first = in_a_row(own, *opened(own, "0"))
        assert os.get_inheritable(first)
        (one,) = taken(own, environ(first, 1))
        assert not os.get_inheritable(first)
        with socket.create_connection(one.socket.getsockname(), PATIENCE_S):
            one.socket.accept()[0].close()

    def test_what_is_for_another_process_is_left_alone(self, own: ExitStack) -> None:
        first = in_a_row(own, *opened(own, "0"))
        assert inherit.received(environ(first, 1, LISTEN_PID=str(OWN_PID + 1)), OWN_PID) == ()
        assert os.get_inheritable(first)

    @pytest.mark.parametrize("pid", [None, ""])
    def test_without_a_pid_they_are_for_whoever_reads_it(self, own: ExitStack, pid: str | None) -> None:
        first = in_a_row(own, *opened(own, "0"))
        variables = environ(first, 1) | ({} if pid is None else {"LISTEN_PID": pid})
        if pid is None:
            del variables["LISTEN_PID"]
        assert len(taken(own, variables)) == 1

    @pytest.mark.parametrize("count", ["", "0"])
    def test_an_empty_count_is_none(self, count: str) -> None:
        assert inherit.received({"LISTEN_FDS": count, "LISTEN_FDNAMES": "left:over"}, OWN_PID) == ()

    @pytest.mark.parametrize(
        "variables, said",
        [
            ({"LISTEN_FDS": "two"}, "LISTEN_FDS='two': it must be a number"),
            ({"LISTEN_FDS": "-1"}, "LISTEN_FDS='-1': it must be a number"),
            ({"LISTEN_FDS": "1_0"}, "LISTEN_FDS='1_0': it must be a number"),
            ({"LISTEN_FDS": "٣"}, "LISTEN_FDS='٣': it must be a number"),
            ({"LISTEN_FDS": "9" * 5000}, "it must be a number"),
            ({"LISTEN_PID": "me"}, "LISTEN_PID='me': it must be a number"),
            ({"LISTEN_FDS_FIRST_FD": "1"}, "LISTEN_FDS_FIRST_FD='1': sockets begin at descriptor 3"),
            ({"LISTEN_FDNAMES": "a:b"}, "LISTEN_FDNAMES='a:b': 2 names, separated by colons, for the 1 of LISTEN_FDS"),
        ],
    )
    def test_a_malformed_value_is_named_with_the_way_out(
        self, own: ExitStack, variables: dict[str, str], said: str
    ) -> None:
        first = in_a_row(own, *opened(own, "0"))
        with pytest.raises(UsageError) as caught:
            inherit.received(environ(first, 1) | variables, OWN_PID)
        assert said in caught.value.message
        assert f"unset {next(iter(variables))}" in caught.value.hint

    def test_a_descriptor_that_is_not_open_is_refused_and_none_is_taken(self, own: ExitStack) -> None:
        first = in_a_row(own, *opened(own, "0"))
        with pytest.raises(UsageError, match=f"LISTEN_FDS='2': descriptor {first + 1} is not open"):
            inherit.received(environ(first, 2), OWN_PID)
        assert os.get_inheritable(first)

    def test_a_descriptor_that_is_no_socket_is_refused(self, own: ExitStack) -> None:
        first = in_a_row(own, *opened(own, "0"))
        with open(os.devnull, "rb") as file:
            os.dup2(file.fileno(), first)
        with pytest.raises(UsageError, match=f"descriptor {first} is no socket"):
            inherit.received(environ(first, 1), OWN_PID)

    def test_a_connection_is_refused(self, own: ExitStack) -> None:
        ends = socket.socketpair()
        for end in ends:
            own.enter_context(end)
        first = in_a_row(own, ends[0])
        with pytest.raises(UsageError, match="is a connection") as caught:
            inherit.received(environ(first, 1), OWN_PID)
        assert "Accept=no" in caught.value.hint

    def test_a_datagram_socket_with_a_peer_is_taken(self, own: ExitStack) -> None:
        (one,) = opened(own, "udp::0")
        one.connect(one.getsockname())
        assert [i.kind for i in taken(own, environ(in_a_row(own, one), 1))] == ["datagram"]

    def test_a_socket_that_does_not_listen_yet_is_taken(self, own: ExitStack) -> None:
        bound = own.enter_context(socket.socket())
        bound.bind(("127.0.0.1", 0))
        assert len(taken(own, environ(in_a_row(own, bound), 1))) == 1


class TestForget:
    def test_all_of_the_protocol_goes_and_nothing_else(self) -> None:
        variables = dict.fromkeys(inherit.VARIABLES, "1") | {"NOTIFY_SOCKET": "/run/n", "LISTEN": "x"}
        inherit.forget(variables)
        assert variables == {"NOTIFY_SOCKET": "/run/n", "LISTEN": "x"}

    def test_without_any_there_is_nothing_to_do(self) -> None:
        variables: dict[str, str] = {}
        inherit.forget(variables)
        assert not variables


class TestAssign:
    """Histories: what is wanted, what was handed in, who got what, and what is left over."""

    @pytest.mark.parametrize(
        "wanted, handed, expected",
        [
            ("http=http", "http=http", ({0: 0}, [])),
            ("http=http", "unknown=http", ({0: 0}, [])),
            ("http=http http2=http", "b=http http=http", ({0: 1, 1: 0}, [])),  # the name goes before the order
            ("http=http http2=http", "http2=http http=http", ({0: 1, 1: 0}, [])),
            ("a=tcp b=tcp", "unknown=tcp unknown=tcp", ({0: 0, 1: 1}, [])),
            ("a=tcp b=tcp", "x=tcp", ({0: 0}, [])),
            ("a=tcp b=tcp", "b=tcp", ({1: 0}, [])),
            ("a=tcp", "x=tcp y=tcp", ({0: 0}, [1])),
            ("a=tcp", "x=tcp a=tcp", ({0: 1}, [0])),
            ("web=http web=http", "web=http web=http", ({0: 0, 1: 1}, [])),  # of two servers, of one unit
            ("a=udp b=tcp c=unix", "unknown=unix unknown=tcp unknown=udp", ({0: 2, 1: 1, 2: 0}, [])),
            ("a=udp", "a=tcp", ({}, [0])),  # the right name, but no such socket
            ("a=unix", "a=tcp x=unix", ({0: 1}, [0])),
            ("a=http", "a=tcp", ({0: 0}, [])),
            ("", "a=tcp", ({}, [0])),
            ("a=tcp", "", ({}, [])),
        ],
    )
    def test_by_name_then_by_order_and_only_of_its_kind(
        self, own: ExitStack, tmp_path: Path, wanted: str, handed: str, expected: tuple[dict[int, int], list[int]]
    ) -> None:
        names, listens = [name for name, _ in pairs(wanted)], [spec(kind, tmp_path) for _, kind in pairs(wanted)]
        inherited = [
            Inherited(name, own.enter_context(inherit.open_socket(spec(kind, tmp_path / str(number)))))
            for number, (name, kind) in enumerate(pairs(handed))
        ]
        found = inherit.assign(names, listens, inherited)
        given = {index: inherited.index(one) for index, one in found.given.items()}
        assert (given, [inherited.index(one) for one in found.left]) == expected

    def test_what_no_spec_can_name_is_left_over(self, own: ExitStack, tmp_path: Path) -> None:
        packets = own.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET))
        packets.bind(str(tmp_path / "s"))
        odd = Inherited("a", packets)
        for kind in ("tcp", "udp", "unix"):
            assert inherit.assign(["a"], [spec(kind, tmp_path)], [odd]).left == (odd,)


def pairs(written: str) -> list[tuple[str, str]]:
    return [(name, kind) for name, _, kind in (part.partition("=") for part in written.split())]


def spec(kind: str, path: Path) -> Listen:
    return Listen.of(f"unix::{path}.sock" if kind == "unix" else f"{kind}::0")


class TestOpenSocket:
    def test_tcp_has_what_systemfd_sets_and_no_delay(self, own: ExitStack) -> None:
        (one,) = opened(own, "http::0")
        options = (socket.SO_REUSEADDR, socket.SO_REUSEPORT, socket.SO_ACCEPTCONN)
        assert all(one.getsockopt(socket.SOL_SOCKET, option) for option in options)
        assert one.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)

    def test_without_options_none_of_them_is_set(self, own: ExitStack) -> None:
        one = own.enter_context(inherit.open_socket(Listen.of("0"), ()))
        assert not any(one.getsockopt(socket.SOL_SOCKET, option) for option in inherit.SHARED)

    def test_a_port_that_is_taken_is_an_error(self, own: ExitStack) -> None:
        taken_by_us = own.enter_context(socket.create_server(("127.0.0.1", 0)))
        address = inherit.address_of(taken_by_us)
        with pytest.raises(SocketError, match=f"cannot listen on {address}: the port is taken"):
            inherit.open_socket(Listen.of(address))

    def test_a_stale_path_is_removed(self, own: ExitStack, tmp_path: Path) -> None:
        """systemfd #20"""
        path = f"{tmp_path}/s"
        inherit.open_socket(Listen.of(f"unix::{path}")).close()
        assert os.path.exists(path)
        (one,) = opened(own, f"unix::{path}")
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(path)
            one.accept()[0].close()

    @pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
    def test_a_live_path_is_an_error_and_stays_live(self, own: ExitStack, tmp_path: Path, kind: int) -> None:
        path = f"{tmp_path}/s"
        living = own.enter_context(socket.socket(socket.AF_UNIX, kind))
        living.bind(path)
        if kind == socket.SOCK_STREAM:
            living.listen()
        with pytest.raises(SocketError, match="somebody listens there"):
            inherit.open_socket(Listen.of(f"unix::{path}"))
        with socket.socket(socket.AF_UNIX, kind) as client:
            client.connect(path)

    def test_a_live_path_whose_queue_is_full_is_an_error(self, own: ExitStack, tmp_path: Path) -> None:
        path = f"{tmp_path}/s"
        living = own.enter_context(socket.socket(socket.AF_UNIX))
        living.bind(path)
        living.listen(0)
        own.enter_context(socket.socket(socket.AF_UNIX)).connect(path)
        with pytest.raises(SocketError, match="somebody listens there"):
            inherit.open_socket(Listen.of(f"unix::{path}"))

    def test_a_file_is_not_touched(self, tmp_path: Path) -> None:
        (tmp_path / "s").write_text("precious")
        with pytest.raises(SocketError, match="there is a file of that name, and it is no socket"):
            inherit.open_socket(Listen.of(f"unix::{tmp_path}/s"))
        assert (tmp_path / "s").read_text() == "precious"

    @pytest.mark.parametrize(
        "written, said",
        [
            ("unix::/no/such/folder/s", "cannot listen on /no/such/folder/s: No such file or directory"),
            (f"unix::/{'x' * 200}", "too long"),
            ("tcp::192.0.2.1:0", "cannot listen on 192.0.2.1:0: Cannot assign requested address"),
            ("tcp::a..b:0", "cannot listen on a..b:0: no such host"),
        ],
    )
    def test_what_cannot_be_opened_is_explained(self, written: str, said: str) -> None:
        with pytest.raises(SocketError, match=said):
            inherit.open_socket(Listen.of(written))


class TestSystemd:
    """Handed over by the real thing."""

    def test_both_sockets_arrive_with_names_and_work(self, tmp_path: Path) -> None:
        port, path = free_port(), f"{tmp_path}/s"
        with activated("-l", f"127.0.0.1:{port}", "-l", path, "--fdname=web:admin") as (process, listening):
            listening(2)
            with socket.create_connection(("127.0.0.1", port), PATIENCE_S) as client:
                report = json.loads(process.communicate(timeout=PATIENCE_S)[0])
                assert client.recv(2) == b"ok"
        assert report == {
            "sockets": [["web", "stream", 3, False], ["admin", "unix", 4, False]],
            "addresses": [["127.0.0.1", port], path],
            "variables": [],
        }

    def test_a_datagram_socket_arrives(self, tmp_path: Path) -> None:
        port = free_port()
        with activated("--datagram", "-l", f"127.0.0.1:{port}") as (process, listening):
            listening(1)
            with socket.socket(type=socket.SOCK_DGRAM) as client:
                client.sendto(b"wake up", ("127.0.0.1", port))
            report = json.loads(process.communicate(timeout=PATIENCE_S)[0])
        assert report["sockets"] == [["unknown", "datagram", 3, False]]


RECEIVER = """
import json, os, socket
from hotpipe.server import inherit

found = inherit.received(os.environ, os.getpid())
inherit.forget(os.environ)
for one in found[:1]:
    if one.kind == "stream":
        connection = one.socket.accept()[0]
        connection.sendall(b"ok")
        connection.close()
print(json.dumps({
    "sockets": [[i.name, i.kind, i.socket.fileno(), os.get_inheritable(i.socket.fileno())] for i in found],
    "addresses": [i.socket.getsockname() for i in found],
    "variables": [name for name in os.environ if name.startswith("LISTEN_")],
}))
"""


@contextmanager
def activated(*options: str) -> Iterator[Any]:
    """systemd-socket-activate, which becomes the receiver at the first client."""
    activate = shutil.which("systemd-socket-activate")
    if activate is None:
        pytest.skip("systemd-socket-activate (Debian: systemd) is not installed")
    command = [activate, *options, sys.executable, "-c", RECEIVER]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    stderr = process.stderr

    def listening(count: int) -> None:
        for line in stderr:
            count -= line.startswith("Listening on ")
            if not count:
                return
        raise AssertionError("it did not listen")

    try:
        yield process, listening
    finally:
        process.kill()
        process.communicate()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])
