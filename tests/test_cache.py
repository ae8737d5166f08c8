"""Passes remembered on disk: what comes back is what was put there, or nothing."""

import contextlib
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hotpipe.events import AnyEvent, Warned
from hotpipe.gate.cache import Cache, Entry

KEY = "0123456789abcdef" * 2
OTHER = "f" * 32
ENTRY = Entry("lint", "ruff check", 12.5, (("stdout", "All checks passed!"), ("stderr", "größe\t\x1b[0m")), 3)
BLOCK = 4096


def silent(event: AnyEvent) -> None:
    raise AssertionError(event)


def cache_in(folder: Path, most_bytes: int = 10**9) -> Cache:
    return Cache(str(folder), most_bytes, silent)


def key(number: int) -> str:
    return f"{number:032x}"


def test_what_was_put_comes_back_also_to_the_next_hotpipe(tmp_path: Path) -> None:
    cache = cache_in(tmp_path / "new/cache")
    assert cache.get(KEY) is None
    cache.put(KEY, ENTRY)
    assert cache.get(KEY) == cache_in(tmp_path / "new/cache").get(KEY) == ENTRY
    assert cache.get(OTHER) is None
    cache.put(KEY, msgspec.structs.replace(ENTRY, lost=4))
    assert cache.get(KEY) == msgspec.structs.replace(ENTRY, lost=4)
    assert os.listdir(tmp_path / "new/cache") == [KEY]


def test_only_its_user_may_read_it(tmp_path: Path) -> None:
    cache_in(tmp_path).put(KEY, ENTRY)
    assert (tmp_path / KEY).stat().st_mode & 0o777 == 0o600


def test_a_size_of_nothing_is_no_cache(tmp_path: Path) -> None:
    cache_in(tmp_path).put(KEY, ENTRY)
    none = cache_in(tmp_path, 0)
    assert none.get(KEY) is None
    none.put(OTHER, ENTRY)
    assert os.listdir(tmp_path) == [KEY]
    assert not none.is_crowded


def test_text_that_is_none_is_kept_as_far_as_it_can_be_shown(tmp_path: Path) -> None:
    cache_in(tmp_path).put(KEY, Entry("lint", "\udcff", 1.0, (("stdout", "a\ud800"),), 0))
    found = cache_in(tmp_path).get(KEY)
    assert found is not None
    assert found.run == "\\udcff"
    assert found.output == (("stdout", "a\\ud800"),)


def test_an_entry_that_is_too_large_is_not_kept(tmp_path: Path) -> None:
    huge = msgspec.structs.replace(ENTRY, output=(("stdout", "x" * 9_000_000),))
    cache_in(tmp_path).put(KEY, huge)
    cache_in(tmp_path, 50).put(OTHER, ENTRY)
    assert os.listdir(tmp_path) == []


def test_two_hundred_are_found_quickly(tmp_path: Path) -> None:
    """40 ms is what is wanted of this machine; the bound here only tells a mistake from a busy one."""
    cache = cache_in(tmp_path)
    for number in range(200):
        cache.put(key(number), ENTRY)
    began = time.perf_counter()
    assert all(cache.get(key(number)) == ENTRY for number in range(200))
    assert time.perf_counter() - began < 2


# Damage.


def test_an_entry_cut_short_anywhere_is_a_miss_and_gone(tmp_path: Path) -> None:
    cache = cache_in(tmp_path)
    cache.put(KEY, ENTRY)
    whole = (tmp_path / KEY).read_bytes()
    for length in range(len(whole)):
        (tmp_path / KEY).write_bytes(whole[:length])
        assert cache.get(KEY) is None, length
        assert not (tmp_path / KEY).exists(), length


@pytest.mark.parametrize("flip", [0x01, 0x80, 0xFF])
def test_an_entry_with_any_byte_flipped_is_a_miss(tmp_path: Path, flip: int) -> None:
    cache = cache_in(tmp_path)
    cache.put(KEY, ENTRY)
    whole = (tmp_path / KEY).read_bytes()
    for at in range(len(whole)):
        (tmp_path / KEY).write_bytes(whole[:at] + bytes([whole[at] ^ flip]) + whole[at + 1 :])
        assert cache.get(KEY) is None, at


@given(st.binary(max_size=200))
@settings(max_examples=50)
def test_what_is_no_entry_is_a_miss(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, KEY).write_bytes(content)
        assert cache_in(Path(folder)).get(KEY) is None


def test_more_behind_an_entry_is_a_miss(tmp_path: Path) -> None:
    cache_in(tmp_path).put(KEY, ENTRY)
    with open(tmp_path / KEY, "ab") as file:
        file.write(b"\0")
    assert cache_in(tmp_path).get(KEY) is None


def test_an_entry_under_another_key_is_a_miss(tmp_path: Path) -> None:
    cache_in(tmp_path).put(KEY, ENTRY)
    (tmp_path / KEY).rename(tmp_path / OTHER)
    assert cache_in(tmp_path).get(OTHER) is None


def test_what_another_version_wrote_is_a_miss_and_stays(tmp_path: Path) -> None:
    cache = cache_in(tmp_path)
    cache.put(KEY, ENTRY)
    content = (tmp_path / KEY).read_bytes().replace(b"cache 1", b"cache 2", 1)
    (tmp_path / KEY).write_bytes(content)
    assert cache.get(KEY) is None
    assert (tmp_path / KEY).read_bytes() == content


def test_an_endless_file_is_not_read(tmp_path: Path) -> None:
    with open(tmp_path / KEY, "wb") as file:
        file.truncate(1 << 40)
    assert cache_in(tmp_path).get(KEY) is None


@pytest.mark.parametrize("odd", ["symlink", "dangling", "fifo", "folder"])
def test_what_is_no_file_is_a_miss_and_is_not_followed(tmp_path: Path, odd: str) -> None:
    cache_in(tmp_path).put(OTHER, ENTRY)
    (tmp_path / OTHER).rename(tmp_path / "elsewhere")
    place = tmp_path / KEY
    match odd:
        case "symlink":
            place.symlink_to("elsewhere")
        case "dangling":
            place.symlink_to("nowhere")
        case "fifo":
            os.mkfifo(place)
        case _:
            place.mkdir()
    warnings: list[AnyEvent] = []
    cache = Cache(str(tmp_path), 10**9, warnings.append)
    assert cache.get(KEY) is None
    cache.prune()
    cache.put(KEY, ENTRY)
    assert cache.get(KEY) == (None if odd == "folder" else ENTRY)
    assert not (tmp_path / "nowhere").exists()
    assert len(warnings) == (odd == "folder")
    assert not list(tmp_path.glob("*.part"))


# Faults.


def assert_goes_on_without(folder: Path) -> None:
    """It neither raises nor keeps anything, and says so once."""
    warnings: list[AnyEvent] = []
    cache = Cache(str(folder), 10**9, warnings.append)
    for number in range(3):
        cache.put(key(number), ENTRY)
        assert cache.get(key(number)) is None
    cache.prune()
    [warning] = warnings
    assert isinstance(warning, Warned)
    assert (warning.code, bool(warning.hint)) == ("cache.unavailable", True)
    assert str(folder) in warning.message


def test_a_file_in_place_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "cache").touch()
    assert_goes_on_without(tmp_path / "cache")
    assert_goes_on_without(tmp_path / "cache/below")


def test_a_link_to_nowhere_in_place_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "cache").symlink_to(tmp_path / "missing/folder")
    assert_goes_on_without(tmp_path / "cache")


def test_a_folder_that_takes_no_files() -> None:
    assert_goes_on_without(Path("/proc/self/fdinfo"))


@contextlib.contextmanager
def as_somebody_else() -> Iterator[None]:
    """Root may write everywhere; nobody else may where there is no permission."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_no_permission(tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    folder.mkdir()
    folder.chmod(0o500)
    try:
        with as_somebody_else():
            assert_goes_on_without(folder)
    finally:
        folder.chmod(0o700)


def test_a_disk_that_takes_a_part_only(tmp_path: Path) -> None:
    """RLIMIT_FSIZE: the first write is cut short, the next one fails, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50, before[1]))
    try:
        assert_goes_on_without(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert os.listdir(tmp_path) == []


def test_a_folder_that_goes_away_comes_back(tmp_path: Path) -> None:
    cache = cache_in(tmp_path / "cache")
    cache.put(KEY, ENTRY)
    (tmp_path / "cache" / KEY).unlink()
    (tmp_path / "cache").rmdir()
    assert cache.get(KEY) is None
    cache.prune()
    cache.put(KEY, ENTRY)
    assert cache.get(KEY) == ENTRY


WRITER = """
import sys
from hotpipe.gate.cache import Cache, Entry
cache, mine = Cache(sys.argv[1], 10**9, print), sys.argv[2]
print("ready", flush=True)
for turn in range(int(sys.argv[3])):
    for number in range(8):
        cache.put(f"{number:032x}", Entry(f"stage{number}", mine, 1.0, (("stdout", mine * 20_000),), turn))
"""


def writer(folder: Path, letter: str, turns: int) -> subprocess.Popen[str]:
    argv = [sys.executable, "-c", WRITER, str(folder), letter, str(turns)]
    started = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
    assert started.stdout is not None
    assert started.stdout.readline() == "ready\n"
    return started


def assert_whole(found: Entry | None, number: int) -> None:
    assert found is None or (found.stage, found.output) == (f"stage{number}", (("stdout", found.run * 20_000),))


def test_two_hotpipes_share_a_folder(tmp_path: Path) -> None:
    cache = cache_in(tmp_path)
    with writer(tmp_path, "a", 60) as one, writer(tmp_path, "b", 60) as other:
        while one.poll() is None or other.poll() is None:
            for number in range(8):
                assert_whole(cache.get(key(number)), number)
            cache.prune()
    assert one.returncode == other.returncode == 0
    assert sorted(os.listdir(tmp_path)) == [key(number) for number in range(8)]
    assert all(cache.get(key(number)) for number in range(8))


def test_a_writer_that_is_killed_leaves_whole_entries_only(tmp_path: Path) -> None:
    for _ in range(5):
        with writer(tmp_path, "a", 10**6) as one:
            while not any(tmp_path.glob("*.part")):
                assert one.poll() is None
            one.kill()
    cache = cache_in(tmp_path)
    for number in range(8):
        assert_whole(cache.get(key(number)), number)


# The bound.


def size_of(folder: Path) -> int:
    return sum(-(-path.stat().st_size // BLOCK) * BLOCK for path in folder.iterdir())


entries = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 3 * BLOCK), st.booleans()), max_size=25)


@given(entries, st.integers(0, 12 * BLOCK))
@settings(max_examples=60)
def test_what_was_used_last_is_what_is_kept(steps: list[tuple[int, int, bool]], most: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cache = cache_in(folder)
        order: dict[int, None] = {}
        for now, (number, size, is_put) in enumerate(steps, 1):
            if is_put:
                cache.put(key(number), msgspec.structs.replace(ENTRY, output=(("stdout", "x" * size),)))
            elif cache.get(key(number)) is None:
                continue
            os.utime(folder / key(number), ns=(now * 10**9, now * 10**9))  # in place of a clock
            order.pop(number, None)
            order[number] = None
        before = size_of(folder)
        bound = cache_in(folder, most)
        bound.prune()
        kept = [number for number in order if (folder / key(number)).exists()]
        assert size_of(folder) <= most
        assert kept == list(order)[len(order) - len(kept) :]
        if before <= most:
            assert len(kept) == len(order)
        elif kept != list(order):
            gone = list(order)[: len(order) - len(kept)]
            assert size_of(folder) <= most * 0.9
            assert gone
        assert not bound.is_crowded


def test_a_hit_is_a_use(tmp_path: Path) -> None:
    cache = cache_in(tmp_path)
    for number in range(3):
        cache.put(key(number), ENTRY)
        os.utime(tmp_path / key(number), ns=(number, number))
    cache.get(key(0))
    cache_in(tmp_path, 2 * BLOCK).prune()
    assert os.listdir(tmp_path) == [key(0)]


def test_the_owner_is_told_when_to_prune(tmp_path: Path) -> None:
    cache = cache_in(tmp_path, 40 * BLOCK)
    cache.put(key(0), ENTRY)
    assert cache.is_crowded, "nobody knows yet what was there before"
    cache.prune()
    assert not cache.is_crowded
    for number in range(1, 200):
        cache.put(key(number), ENTRY)
        if cache.is_crowded:
            cache.prune()
        assert size_of(tmp_path) <= 45 * BLOCK
    assert size_of(tmp_path) >= 30 * BLOCK


def test_what_was_left_half_written_goes_once_nobody_can_be_writing_it(tmp_path: Path) -> None:
    for name, age_s in (("old.part", 3600), ("new.part", 0)):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (time.time() - age_s,) * 2)
    (tmp_path / "README").touch()
    os.utime(tmp_path / "README", (0, 0))
    cache_in(tmp_path, 1).prune()
    assert sorted(os.listdir(tmp_path)) == ["README", "new.part"]


def test_another_bound_holds_from_the_next_pruning_on(tmp_path: Path) -> None:
    cache = Cache(str(tmp_path), 1_000_000, [].append)
    for number in range(10):
        cache.put(f"{number:032x}", Entry("test", "pytest", 1.0, (("stdout", "x" * 3000),), 0))
    cache.resize(8_192)
    assert cache.is_crowded
    cache.prune()
    assert len(os.listdir(tmp_path)) == 1
