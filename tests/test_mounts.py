"""The mount table: real ones, as users of these systems have posted them, and which of their folders give no events."""

import os
from pathlib import Path

import pytest

from hotpipe.tree import mounts
from hotpipe.tree.mounts import Layout, Mount

# WSL 2: the root is a disk of its own, drives are 9p (or virtiofs), WSLg's are overlays.
WSL2 = rb"""
71 81 0:28 / /mnt/wsl rw,relatime shared:1 - tmpfs none rw
75 71 8:32 / / rw,relatime - ext4 /dev/sdc rw,discard,errors=remount-ro,data=ordered
76 75 0:30 / /usr/lib/wsl/drivers ro,nosuid,nodev,noatime - 9p drivers ro,dirsync,aname=drivers;fmask=222
103 75 0:55 / /mnt/wslg/doc rw,relatime - overlay none rw,lowerdir=/systemvhd,upperdir=/system/rw/upper
487 75 0:159 / /mnt/c rw,noatime - 9p C:\134 rw,aname=drvfs;path=C:\;uid=1000;gid=1000;symlinkroot=/mnt/,trans=fd
488 75 0:160 / /mnt/d rw,noatime - virtiofs drvfs rw
489 75 0:161 / /mnt/cd rw,noatime - ext4 /dev/sdd rw
490 75 0:162 / /mnt/old rw,noatime - 9p drvfs rw,dirsync,aname=drvfs;path=E:\;uid=1000,mmap,access=client,trans=virtio
"""

WSL1 = rb"""
1 1 0:2 / / rw,noatime - wslfs rootfs rw
13 1 0:11 / /mnt/c rw,noatime - drvfs C:\134 rw,uid=1000,gid=1000,case=off
"""

# A container of Docker Desktop on a Mac; newer ones share with virtiofs below fakeowner, older ones with grpcfuse.
DOCKER_DESKTOP = rb"""
353 300 0:44 / / rw,relatime master:120 - overlay overlay rw,lowerdir=/var/lib/docker/overlay2/l/A,upperdir=/b
354 353 0:47 / /proc rw,nosuid,nodev,noexec,relatime - proc proc rw
375 353 0:46 /me/project /workspace rw,nosuid,nodev,relatime - fakeowner /run/host_mark/Users rw,fakeowner
376 353 0:46 /me/.gitconfig//deleted /home/user/.gitconfig ro,nosuid,nodev,relatime - fakeowner /run/host_mark/Users rw
377 353 0:50 /me/older /older rw,nosuid,nodev,relatime - fuse.grpcfuse grpcfuse rw,user_id=0,group_id=0,allow_other
378 375 254:1 /docker/volumes/nm/_data /workspace/node_modules rw,relatime master:10 - ext4 /dev/vda1 rw
379 353 0:51 /me/config.py /app/config.py rw,nosuid,nodev,relatime - virtiofs.virtiofs0 virtiofs0 rw
380 353 0:52 /me/oldest /oldest rw,relatime - fuse.osxfs osxfs rw,user_id=0,group_id=0,allow_other
"""

VAGRANT = rb"""
24 0 253:0 / / rw,relatime shared:1 - ext4 /dev/mapper/ubuntu--vg-ubuntu--lv rw
96 24 0:48 / /vagrant rw,nodev,relatime shared:58 - vboxsf vagrant rw,iocharset=utf8,uid=1000,gid=1000
97 24 0:49 / /mnt/hgfs rw,nosuid,nodev,relatime shared:59 - fuse.vmhgfs-fuse vmhgfs-fuse rw,user_id=0,group_id=0
98 24 0:50 / /media/psf rw,nosuid,nodev,noatime shared:60 - prl_fs none rw,sync,share
99 24 0:51 / /srv/rclone rw,nosuid,nodev,relatime shared:61 - fuse.rclone remote: rw,user_id=1000,group_id=1000
100 24 0:52 / /srv/ssh\040with\011odd\134name rw,nosuid,nodev,relatime - fuse.sshfs host:/a\040b rw,user_id=1000
"""

NFS_ROOT = rb"""
21 1 0:19 / / rw,relatime - nfs 10.0.2.2:/export/root rw,vers=3,rsize=262144,addr=10.0.2.2
22 21 0:20 / /tmp rw,nosuid,nodev - tmpfs tmpfs rw
23 21 0:21 / /run rw,nosuid,nodev shared:23 master:3 propagate_from:2 - tmpfs tmpfs rw,mode=755
"""

NESTED_NFS = rb"""
26 1 259:2 / / rw,relatime shared:1 - btrfs /dev/nvme0n1p2 rw,ssd,space_cache=v2,subvolid=256,subvol=/@
27 26 0:60 / /home rw,relatime - zfs tank/home rw,xattr,posixacl
40 27 0:61 / /home/me/project/assets rw,relatime shared:30 - nfs4 nas:/assets rw,vers=4.2,addr=10.0.0.5
41 40 0:62 / /home/me/project/assets/cache rw - tmpfs tmpfs rw
42 27 0:63 / /home/me/project/auto rw - autofs systemd-1 rw,fd=52,direct
43 42 0:64 / /home/me/project/auto rw - cifs //nas/auto rw,vers=3.1.1
44 26 0:65 / /mnt/usb rw - fuseblk /dev/sdb1 rw,user_id=0,group_id=0,allow_other
45 26 0:66 / /mnt/crypt rw - fuse.gocryptfs /home/me/.crypt rw,user_id=1000
46 27 0:67 / /home/me/hidden/nfs rw - nfs4 nas:/hidden rw
47 27 0:68 / /home/me/hidden rw - bcachefs /dev/sdc rw
"""

TABLES = {
    "WSL2": WSL2,
    "WSL1": WSL1,
    "Docker Desktop": DOCKER_DESKTOP,
    "Vagrant": VAGRANT,
    "NFS root": NFS_ROOT,
    "nested": NESTED_NFS,
}


def layout(table: str, root: str) -> Layout:
    return mounts.layout(root, mounts.parse(TABLES[table]))


@pytest.mark.parametrize(
    "table, root, kind, deaf",
    [
        ("WSL2", "/home/me/project", "ext4", False),
        ("WSL2", "/mnt/c/Users/me/project", "9p", True),
        ("WSL2", "/mnt/d/project", "virtiofs", True),
        ("WSL2", "/mnt/cd/project", "ext4", False),
        ("WSL2", "/mnt/wslg/doc", "overlay", False),
        ("WSL1", "/home/me", "wslfs", False),
        ("WSL1", "/mnt/c/project", "drvfs", True),
        ("Docker Desktop", "/app", "overlay", False),
        ("Docker Desktop", "/workspace", "fakeowner", True),
        ("Docker Desktop", "/workspace/node_modules", "ext4", False),
        ("Docker Desktop", "/older/src", "fuse.grpcfuse", True),
        ("Docker Desktop", "/oldest", "fuse.osxfs", True),
        ("Docker Desktop", "/app/config.py", "virtiofs.virtiofs0", True),
        ("Vagrant", "/home/vagrant", "ext4", False),
        ("Vagrant", "/vagrant", "vboxsf", True),
        ("Vagrant", "/vagrant2", "ext4", False),
        ("Vagrant", "/mnt/hgfs/share", "fuse.vmhgfs-fuse", True),
        ("Vagrant", "/media/psf/Home", "prl_fs", True),
        ("Vagrant", "/srv/rclone", "fuse.rclone", True),
        ("Vagrant", "/srv/ssh with\todd\\name/x", "fuse.sshfs", True),
        ("NFS root", "/home/me", "nfs", True),
        ("NFS root", "/tmp/project", "tmpfs", False),
        ("NFS root", "/run/user", "tmpfs", False),
        ("nested", "/home/me/project", "zfs", False),
        ("nested", "/srv", "btrfs", False),
        ("nested", "/home/me/project/auto", "cifs", True),
        ("nested", "/mnt/usb", "fuseblk", False),
        ("nested", "/mnt/crypt/x", "fuse.gocryptfs", False),
        ("nested", "/home/me/hidden/nfs", "bcachefs", False),
    ],
)
def test_the_file_system_of_a_tree_is_found_and_whether_it_is_deaf(
    table: str, root: str, kind: str, deaf: bool
) -> None:
    base = layout(table, root).base
    assert base is not None
    assert (base.kind, base.is_deaf) == (kind, deaf)


def test_what_is_mounted_below_the_root_counts_for_its_folders_alone() -> None:
    found = layout("nested", "/home/me/project")
    assert set(found.nested) == {"assets", "assets/cache", "auto"}
    paths = ("", "src", "assets", "assets/a/b", "assets/cache/x", "auto", "asset")
    assert list(filter(found.is_deaf, paths)) == ["assets", "assets/a/b", "auto"]


def test_a_local_volume_in_a_shared_folder_is_not_polled() -> None:
    found = layout("Docker Desktop", "/workspace")
    assert found.is_deaf("src")
    assert not found.is_deaf("node_modules/x")


def test_what_another_mount_hides_is_not_there() -> None:
    assert layout("nested", "/home/me/hidden").nested == {}


def test_a_root_at_the_top_sees_all_mounts() -> None:
    found = layout("Vagrant", "/")
    assert list(filter(found.is_deaf, ("vagrant/x", "vagrant2"))) == ["vagrant/x"]
    assert found.at("etc") == found.base


def test_windows_and_nfs_are_told_apart_for_the_way_out() -> None:
    def kinds(table: str, *roots: str) -> list[tuple[bool, bool]]:
        bases = [layout(table, root).base for root in roots]
        return [(base.is_windows, base.is_nfs) for base in bases if base is not None]

    assert kinds("WSL2", "/", "/mnt/c", "/mnt/d", "/mnt/old") == [(False, False), *[(True, False)] * 3]
    assert kinds("WSL1", "/mnt/c") == [(True, False)]
    assert kinds("nested", "/home/me/project/assets") == [(False, True)]


def test_a_single_mounted_file_makes_its_folder_deaf(tmp_path: Path) -> None:
    (tmp_path / "app").mkdir()
    (tmp_path / "app/config.py").write_text("")
    line = f"9 1 0:51 / {tmp_path}/app/config.py rw - virtiofs.x x rw\n8 1 0:52 / {tmp_path}/app rw - ext4 x rw"
    found = mounts.layout(str(tmp_path), mounts.parse(os.fsencode(line)))
    assert found.deaf_files() == {"app"}


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"garbage",
        b"1 2 3",
        b"x y 0:1 / / rw - ext4 d rw",
        b"1 2 0:1 / / rw",
        b" - ",
        b"1 2 0:1 / /p rw -",
        b"\xff" * 99,
    ],
)
def test_what_is_no_line_of_a_table_is_left_out(line: bytes) -> None:
    assert mounts.parse(line + b"\n") == ()


def test_an_empty_source_and_a_name_that_is_not_utf8_are_read() -> None:
    (found,) = mounts.parse(b"5 1 0:1 / /mnt/caf\xe9 rw -  nfs")
    assert found.point == "/mnt/caf\udce9"
    (found,) = mounts.parse(b"5 1 0:1 / /mnt/x rw - tmpfs  rw")
    assert (found.kind, found.source, found.options) == ("tmpfs", "", "rw")


def test_a_circle_in_the_table_ends() -> None:
    circle = (Mount(1, 2, "/", "ext4", "", ""), Mount(2, 1, "/", "nfs", "", ""))
    assert mounts.layout("/x", circle).base is None


def test_the_table_of_this_machine_knows_where_proc_is() -> None:
    base = mounts.of("/proc").base
    assert base is not None
    assert base.kind == "proc"
