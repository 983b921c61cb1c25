"""The inside of the sandbox: a program of its own, standard library only. Reads one job from stdin.

    job = {code, test, nonce, isolate, root, memory, files, processes, seconds}
    writes to file descriptor argv[1]:   nonce "began"   and, if the test came to its end, nonce "passed"

Isolation (Linux): a user, mount, process, network and IPC namespace of its own; a root directory that holds
the system's programs and Python's, read-only, and one small tmpfs to write on, so that neither files nor
sockets of this machine have a name there; no shared memory that outlives its process (nobody would count
it); no capabilities and none to be had. Root first becomes nobody, because limits on processes do not hold
for root.
"""

from __future__ import annotations

import ctypes
import json
import os
import platform
import resource
import signal
import struct
import sys
from typing import Any, NoReturn

NOBODY = 65534
NEWNS, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET = (
    0x20000,
    0x4000000,
    0x8000000,
    0x10000000,
    0x20000000,
    0x40000000,
)
READ_ONLY, NO_SUID, NO_DEV, BIND, PRIVATE = 1, 2, 4, 4096 | 16384, 1 << 18
MOUNT_SETATTR, WHOLE_TREE = 442, 0x8000  # the number is the same on every Linux architecture
DEATH_SIGNAL, DUMPABLE, SECCOMP, NO_NEW_PRIVILEGES = 1, 4, 22, 38
SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/nix/store", "/etc/ld.so.cache")
DEVICES = ("/dev/null", "/dev/zero", "/dev/random", "/dev/urandom")
HOME = "/home"  # the place to write on
# what a filter sees of a machine: its mark, the number of socket(), and of shmget, msgget, semget, io_uring
GENERIC = (198, (194, 186, 190, 425))
CALLS = {
    "x86_64": (0xC000003E, 41, (29, 68, 64, 425)),
    "aarch64": (0xC00000B7, *GENERIC),
    "riscv64": (0xC00000F3, *GENERIC),
}
FAMILIES = (1, 2, 10)  # of sockets: UNIX, INET, INET6; others (VSOCK) do not heed network namespaces
MIB = 2**20

libc = ctypes.CDLL(None, use_errno=True)


def check(result: int, what: str) -> None:
    """Raise what the C library reports."""
    if result != 0:
        raise OSError(ctypes.get_errno(), f"{what}: {os.strerror(ctypes.get_errno())}")


def set_mounts(attributes: int, propagation: int) -> None:
    """Set attributes on every mount there is."""
    wish = (ctypes.c_uint64 * 4)(attributes, 0, propagation, 0)
    check(libc.syscall(MOUNT_SETATTR, -1, b"/", WHOLE_TREE, ctypes.byref(wish), 32), "mount_setattr")


def kept() -> list[str]:
    """What the new root directory shows of the old one, outer directories first."""
    python = (sys.base_prefix, sys.prefix, os.path.realpath(sys.base_prefix))
    return sorted(path for path in {*SYSTEM, *DEVICES, *python} if os.path.lexists(path))


def build_root(root: str) -> None:
    """Put a root directory together and stand in it: read-only binds on a tmpfs that nobody else sees."""
    set_mounts(0, PRIVATE)
    check(libc.mount(b"none", root.encode(), b"tmpfs", NO_SUID | NO_DEV, b"mode=755,size=64k"), "tmpfs")
    os.umask(0o022)
    os.chdir(root)
    os.mkdir("proc")
    os.mkdir(HOME[1:])
    for path in kept():
        show(path, path[1:])


def show(path: str, here: str) -> None:
    """Bind one path into the new root, unless it is there already; a link stays a link."""
    if os.path.lexists(here):
        return
    os.makedirs(os.path.dirname(here) or ".", exist_ok=True)
    if os.path.islink(path) and path in SYSTEM:
        os.symlink(os.readlink(path), here)
        return
    if os.path.isdir(path):
        os.mkdir(here)
    else:
        os.close(os.open(here, os.O_CREAT | os.O_WRONLY))
    check(libc.mount(path.encode(), here.encode(), None, BIND, None), f"bind {path}")


def become_nobody() -> None:
    """Give root up."""
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)
    libc.prctl(DUMPABLE, 1, 0, 0, 0)  # so that its own user map can be written
    libc.prctl(DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)  # a change of user has unset it


def enter_namespaces(job: dict[str, Any]) -> None:
    """Leave the machine's network, processes and files behind."""
    is_root = os.getuid() == 0
    if is_root:  # nobody may not be let in to where Python lies
        check(libc.unshare(NEWNS), "unshare")
        build_root(job["root"])
        become_nobody()
    uid, gid = os.getuid(), os.getgid()
    check(libc.unshare(NEWUSER | NEWNS | NEWPID | NEWNET | NEWIPC | NEWUTS), "unshare")
    for name, text in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
        write(f"/proc/self/{name}", text)
    write("/proc/sys/user/max_user_namespaces", "0")  # no namespace inside, where it would be privileged
    if not is_root:
        build_root(job["root"])
    set_mounts(READ_ONLY | NO_SUID, PRIVATE)
    size = f"size={job['files']}m,nr_inodes=1024".encode()
    check(libc.mount(b"none", HOME[1:].encode(), b"tmpfs", NO_SUID | NO_DEV, size), "tmpfs")
    os.chroot(".")
    os.chdir(HOME)


def write(path: str, text: str) -> None:
    with open(path, "w") as file:
        file.write(text)


def follow_parent_into_death(job: dict[str, Any]) -> None:
    """Go on in a child that is the first process of its namespace: when it ends, all others there do."""
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        os._exit(os.waitstatus_to_exitcode(status) & 0x7F)
    libc.prctl(DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)


def give_up_privileges() -> None:
    """No capability, now or later."""
    header, none = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    check(libc.prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0), "no_new_privs")
    check(libc.capset(ctypes.byref(header), ctypes.byref(none)), "capset")
    refuse_calls()


class Program(ctypes.Structure):
    """A filter as the kernel takes it."""

    _fields_ = (("length", ctypes.c_ushort), ("code", ctypes.c_char_p))


def refuse_calls() -> None:
    """System calls that reach around the namespaces and limits get EPERM from now on."""
    if platform.machine() not in CALLS:
        raise OSError(38, f"no list of system calls for {platform.machine()}")
    code = call_filter(*CALLS[platform.machine()])
    program = Program(len(code) // 8, code)
    check(libc.prctl(SECCOMP, 2, ctypes.byref(program), 0, 0), "seccomp")


def call_filter(machine: int, socket: int, refused: tuple[int, ...]) -> bytes:
    """The filter as classic BPF: EPERM for another machine's calls, `refused` ones, and odd sockets."""
    load, equal, at_least, give = 0x20, 0x15, 0x35, 0x06
    last = 6 + len(refused) + len(FAMILIES)  # refuse; last + 1: allow
    lines = [(load, 4, 0, 0), (equal, machine, 0, last - 2), (load, 0, 0, 0)]
    lines += [(at_least, 0x40000000, last - 4, 0)]
    lines += [(equal, number, last - 5 - i, 0) for i, number in enumerate(refused)]
    at = len(lines)
    lines += [(equal, socket, 0, last - at), (load, 16, 0, 0)]
    lines += [(equal, family, last - len(lines) - i, 0) for i, family in enumerate(FAMILIES)]
    lines += [(give, 0x00050001, 0, 0), (give, 0x7FFF0000, 0, 0)]
    assert len(lines) == last + 2
    return b"".join(struct.pack("=HBBI", op, yes, no, value) for op, value, yes, no in lines)


def set_limits(job: dict[str, Any]) -> None:
    """Limits for each process; on processes, for the namespace."""
    wishes = {
        resource.RLIMIT_CPU: int(job["seconds"]) + 1,
        resource.RLIMIT_AS: job["memory"] * MIB,
        resource.RLIMIT_FSIZE: job["files"] * MIB,
        resource.RLIMIT_NOFILE: 32,
        resource.RLIMIT_CORE: 0,
    }
    if job["isolate"]:  # elsewhere the count is of all that the user runs
        wishes[resource.RLIMIT_NPROC] = job["processes"]
    for which, wish in wishes.items():
        _, most = resource.getrlimit(which)
        most = wish if most == resource.RLIM_INFINITY else min(wish, most)
        resource.setrlimit(which, (most, most))


def main(report: int) -> NoReturn:
    """Shut the doors, say so, run the code and its test, and say if that came to its end."""
    job = json.load(sys.stdin)
    nonce = job.pop("nonce")
    libc.prctl(DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
    if job["isolate"]:
        enter_namespaces(job)
        follow_parent_into_death(job)
        give_up_privileges()
    else:
        os.chdir(job["root"])
    os.environ["HOME"] = os.getcwd()
    set_limits(job)
    os.write(report, f"{nonce} began\n".encode())
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(job["code"], "<answer>", "exec"), names)
    exec(compile(job["test"], "<test>", "exec"), names)
    os.write(report, f"{nonce} passed\n".encode())
    os._exit(0)


if __name__ == "__main__":
    try:
        main(int(sys.argv[1]))
    except OSError as error:
        os.write(int(sys.argv[1]), f"error {error}\n".encode()[:500])
        raise
