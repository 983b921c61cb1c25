"""The inside of the sandbox: a program of its own, standard library only. Reads one job from stdin.

    job = {code, test, nonce, isolate, work, memory, files, processes, seconds}
    writes to file descriptor argv[1]:   nonce "began"   and, if the test came to its end, nonce "passed"

Isolation (Linux): a user, mount, process, network and IPC namespace of its own, every mount read-only, /proc
hidden, one small tmpfs to write on, no capabilities and none to be had. Root first becomes nobody, because
limits on processes do not hold for root.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
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
READ_ONLY, NO_SUID, NO_DEV, BIND, PRIVATE = 1, 2, 4, 4096, 1 << 18
MOUNT_SETATTR, WHOLE_TREE = 442, 0x8000  # the number is the same on every Linux architecture
DEATH_SIGNAL, DUMPABLE, NO_NEW_PRIVILEGES = 1, 4, 38
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


def become_nobody(python: str) -> None:
    """Give root up; the standard library stays readable under `python`, wherever it is installed."""
    check(libc.unshare(NEWNS), "unshare")
    set_mounts(0, PRIVATE)
    check(libc.mount(sys.base_prefix.encode(), python.encode(), None, BIND, None), "bind")
    for places in (
        sys.path,
        *(m.__path__ for m in sys.modules.values() if isinstance(getattr(m, "__path__", 0), list)),
    ):
        places[:] = [place.replace(sys.base_prefix, python, 1) for place in places]
    sys.path_importer_cache.clear()
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)
    libc.prctl(DUMPABLE, 1, 0, 0, 0)  # so that its own user map can be written


def enter_namespaces(job: dict[str, Any]) -> None:
    """Leave the machine's network, processes and files behind."""
    uid, gid = os.getuid(), os.getgid()
    check(libc.unshare(NEWUSER | NEWNS | NEWPID | NEWNET | NEWIPC | NEWUTS), "unshare")
    for name, text in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
        write(f"/proc/self/{name}", text)
    write("/proc/sys/user/max_user_namespaces", "0")  # no namespace inside, where it would be privileged
    set_mounts(READ_ONLY | NO_SUID, PRIVATE)
    size = f"size={job['files']}m,nr_inodes=1024".encode()
    check(libc.mount(b"none", job["work"].encode(), b"tmpfs", NO_SUID | NO_DEV, size), "tmpfs")
    check(libc.mount(b"none", b"/proc", b"tmpfs", READ_ONLY | NO_SUID | NO_DEV, b"size=4k"), "hide /proc")


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
        if os.getuid() == 0:
            become_nobody(job["python"])
        libc.prctl(DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)  # a change of user has unset it
        enter_namespaces(job)
        follow_parent_into_death(job)
        give_up_privileges()
    os.chdir(job["work"])
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
