"""A supervisor between the runner and one command. Nothing that the command starts outlives either of them.

    python -I -S guard.py --parent-fd 7 --grace-s 20 -- CMD...

Standard library only, no import of the rest of the package: it must be up in milliseconds and stay small (one a
server). Linux only (`/proc`, `prctl`). What always holds:

- The guard is a child subreaper: a descendant that starts its own session or forks twice is re-parented to it, never
  to init, so walking the tree below the guard finds everything.
- It ends, and its tree with it, when the command ends, on SIGTERM, SIGINT or SIGHUP, and when the runner is gone,
however that happened: the runner holds the only write end of the pipe `--parent-fd`, and end of file
  means it is dead, `kill -9` included.
- Stopping is SIGTERM to the command, `--grace-s` seconds, then SIGKILL to all. A second signal skips the grace.
- The command has PR_SET_PDEATHSIG: if the guard itself is killed, the kernel kills the command; the rest of the tree
  falls to the runner, a subreaper too (`moaa.local.processes.process`), which sweeps it.

The exit code is the command's, or 128 + the signal that ended it; 127 when it cannot be executed.
"""

import argparse
import contextlib
import ctypes
import os
import select
import signal
import sys
import time
from collections.abc import Sequence

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
"""linux/prctl.h."""
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
STRAGGLER_GRACE_S = 2.0
"""What the command left behind gets SIGTERM and this long before SIGKILL."""
SWEEP_TIMEOUT_S = 30.0
"""A process that survives SIGKILL this long hangs in the kernel and cannot be ended."""


def prctl(option: int, value: int) -> None:
    """Raises OSError: the kernel refused."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"prctl({option}): {os.strerror(code)}")


def process_table() -> dict[int, tuple[int, str]]:
    """Parent and state letter of every process, by pid."""
    table: dict[int, tuple[int, str]] = {}
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/stat", "rb") as file:
                stat = file.read()
        except OSError:
            continue  # it ended between the listing and the reading
        # `pid (command) state ppid …`; the command may hold spaces and parentheses.
        state, parent = stat[stat.rindex(b")") + 2 :].split(None, 2)[:2]
        table[int(name)] = (int(parent), state.decode())
    return table


def descendants(root: int, *, skip: Sequence[int] = ()) -> list[int]:
    """Living processes below `root`, parents first; zombies, and `skip` with everything below them, are left out."""
    table = process_table()
    children: dict[int, list[int]] = {}
    for pid, (parent, _) in table.items():
        children.setdefault(parent, []).append(pid)
    found: list[int] = []
    todo = [pid for pid in children.get(root, []) if pid not in skip]
    while todo:
        pid = todo.pop(0)
        if table[pid][1] not in "ZX":
            found.append(pid)
        todo += children.get(pid, [])
    return found


def signal_all(pids: Sequence[int], number: int) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def reap() -> dict[int, int]:
    """Exit statuses (as of `waitpid`) of the children that have ended, adopted ones included."""
    ended: dict[int, int] = {}
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return ended
        if pid == 0:
            return ended
        ended[pid] = status


def sweep(root: int, *, grace_s: float) -> None:
    """End every descendant of `root` (this process): SIGTERM, `grace_s` seconds, then SIGKILL until none is left.

    A process that forks while it is being killed leaves children, so the tree is walked again until it is empty.
    """
    start = time.monotonic()
    told: set[int] = set()
    while time.monotonic() - start < grace_s + SWEEP_TIMEOUT_S:
        reap()
        alive = descendants(root)
        if not alive:
            return
        if time.monotonic() - start < grace_s:
            signal_all([pid for pid in alive if pid not in told], signal.SIGTERM)
            told.update(alive)
        else:
            signal_all(alive, signal.SIGKILL)
        time.sleep(0.02)


def spawn(command: Sequence[str]) -> int:
    """Start the command in a session of its own, so that a terminal's Ctrl-C reaches the runner alone."""
    guard = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    try:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != guard:
            os._exit(128 + signal.SIGKILL)  # the guard died before the line above took effect
        os.setsid()
        for number in (*STOP_SIGNALS, signal.SIGPIPE, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        signal.set_wakeup_fd(-1)
        os.execvp(command[0], list(command))
    except OSError as error:
        os.write(2, f"guard: cannot start {command[0]}: {error}\n".encode())
    os._exit(127)


def exit_code(status: int) -> int:
    return 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


def watch(child: int, *, parent_fd: int, wakeup_fd: int, received: list[int], grace_s: float) -> int:
    """Wait until the command has ended, or end it; returns the exit code."""
    watched = [parent_fd, wakeup_fd]
    stops = 0
    deadline: float | None = None
    while True:
        status = reap().get(child)
        if status is not None:
            return exit_code(status)
        remaining = None if deadline is None else max(0.0, deadline - time.monotonic())
        if remaining == 0.0:
            return 128 + signal.SIGKILL
        readable, _, _ = select.select(watched, [], [], remaining)
        if wakeup_fd in readable:
            os.read(wakeup_fd, 4096)
        if parent_fd in readable and not os.read(parent_fd, 4096):
            watched.remove(parent_fd)
            received.append(signal.SIGTERM)
        if received:
            stops += len(received)
            received.clear()
            deadline = deadline or time.monotonic() + grace_s
            if stops > 1:
                return 128 + signal.SIGKILL
            signal_all([child], signal.SIGTERM)


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="guard", description="Run a command; end all it started when we go.")
    parser.add_argument("--parent-fd", type=int, required=True, help="read end of a pipe only the runner can write to")
    parser.add_argument("--hold-fd", type=int, help="a lock's descriptor, held until nothing below the guard is left")
    parser.add_argument("--grace-s", type=float, default=20.0, help="seconds between SIGTERM and SIGKILL")
    parser.add_argument("command", nargs="+", metavar="CMD")
    options = parser.parse_args(argv)

    for kept in (options.parent_fd, options.hold_fd):
        if kept is not None:
            os.set_inheritable(kept, False)
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    read_fd, write_fd = os.pipe()
    os.set_blocking(write_fd, False)
    signal.set_wakeup_fd(write_fd, warn_on_full_buffer=False)
    received: list[int] = []
    for number in STOP_SIGNALS:
        signal.signal(number, lambda number, _frame: received.append(number))
    signal.signal(signal.SIGCHLD, lambda _number, _frame: None)  # only to wake `select`
    child = spawn(options.command)
    code = watch(child, parent_fd=options.parent_fd, wakeup_fd=read_fd, received=received, grace_s=options.grace_s)
    sweep(os.getpid(), grace_s=0.0 if code == 128 + signal.SIGKILL else STRAGGLER_GRACE_S)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
