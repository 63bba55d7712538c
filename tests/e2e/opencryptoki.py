# SPDX-License-Identifier: Apache-2.0
"""openCryptoki's soft token in a room of its own.

openCryptoki has fixed places: its configuration, its token, its locks, the socket of its daemon and
two kinds of shared memory. A room is a mount and an IPC namespace in which all of these are private
and vanish with it, so that any number of rooms stand side by side and beside a daemon of the system.

As a program, this file is the keeper of one room. It says "ready" once the daemon serves and the
token has its label and PIN; when its standard input ends, however its parent has ended, it ends the
daemon. Whoever wants to use the token enters the keeper's namespaces.

    unshare --mount --ipc python3 opencryptoki.py LABEL PIN-FILE
"""
import ctypes
import glob
import os
import secrets
import signal
import subprocess
import sys

PIN_LENGTH = 8  # the most that the soft token takes
CLONE_FS, CLONE_NEWNS, CLONE_NEWIPC = 0x200, 0x20000, 0x8000000
PR_SET_CHILD_SUBREAPER = 36
CONFIGURATION, STORE, LOCKS = "/etc/opencryptoki", "/var/lib/opencryptoki", "/run/lock/opencryptoki"
SLOTS = "version opencryptoki-3.1\nslot 0\n{\nstdll = libpkcs11_sw.so\n}\n"
FACTORY_SO_PIN = "87654321"

_libc = ctypes.CDLL(None, use_errno=True)


def call(name, *arguments):
    if getattr(_libc, name)(*arguments) != 0:
        raise OSError(ctypes.get_errno(), f"{name}{arguments}")


def find_module():
    found = glob.glob("/usr/lib/*/opencryptoki/libopencryptoki.so.0")
    return found[0] if found else None


class Room:
    """A room that this process makes and enters; close() leaves it and has everything ended.

    Entering is for the thread that calls and what it starts from then on, threads and programs.
    """

    def __init__(self, label, pin_file):
        self.home = None
        self.keeper = subprocess.Popen(
            ["unshare", "--mount", "--ipc", sys.executable, "-B", os.path.abspath(__file__), label,
             pin_file], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        if self.keeper.stdout.readline() != b"ready\n":
            self.close()
            raise AssertionError("there is no room for openCryptoki: its keeper tells why above")
        self.home = [os.open(f"/proc/self/ns/{kind}", os.O_RDONLY) for kind in ("mnt", "ipc")]
        self.enter([os.open(f"/proc/{self.keeper.pid}/ns/{kind}", os.O_RDONLY)
                    for kind in ("mnt", "ipc")])

    @staticmethod
    def enter(namespaces):
        folder = os.getcwd()
        call("unshare", CLONE_FS)  # with other threads about, the kernel wants this first
        for namespace in namespaces:
            call("setns", namespace, 0)
            os.close(namespace)
        os.chdir(folder)

    def close(self):
        if self.home is not None:
            self.enter(self.home)
            self.home = None
        self.keeper.stdin.close()
        self.keeper.stdout.close()
        status = self.keeper.wait()
        if status != 0:
            raise AssertionError(f"the keeper of openCryptoki's room ended with {status}")


def furnish():
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    for place in (CONFIGURATION, STORE, "/run", "/dev/shm"):
        subprocess.run(["mount", "-t", "tmpfs", "reseal-test", place], check=True)
    with open(f"{CONFIGURATION}/opencryptoki.conf", "w") as out:
        out.write(SLOTS)
    os.makedirs(f"{STORE}/swtok/TOK_OBJ")
    os.makedirs(f"{LOCKS}/swtok")


def start_daemon():
    """Its pid: the daemon's parent ends when the socket is there, and it becomes our child."""
    call("prctl", PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    subprocess.run(["/usr/sbin/pkcsslotd"], check=True, stdin=subprocess.DEVNULL, stdout=sys.stderr)
    with open("/proc/thread-self/children") as file:
        pid, = file.read().split()
    return int(pid)


def initialise(label, pin):
    """Label and PINs. The soft token wants both PINs changed by their owners before it works."""
    env = dict(os.environ, FACTORY=FACTORY_SO_PIN, SO=secrets.token_hex(PIN_LENGTH // 2),
               FIRST=secrets.token_hex(PIN_LENGTH // 2), PIN=pin)
    for words in ("--init-token --so-pin env:FACTORY",
                  "--login --login-type so --so-pin env:FACTORY --change-pin --new-pin env:SO",
                  "--login --login-type so --so-pin env:SO --init-pin --pin env:FIRST",
                  "--login --pin env:FIRST --change-pin --new-pin env:PIN"):
        if words.startswith("--init-token"):
            words = f"{words} --label {label}"
        subprocess.run(["pkcs11-tool", "--module", find_module(), "--slot", "0", *words.split()],
                       env=env, check=True, stdout=subprocess.DEVNULL)


def keep(label, pin_file):
    with open(pin_file) as file:
        pin = file.read().strip()
    furnish()
    daemon = start_daemon()
    try:
        initialise(label, pin)
        print("ready", flush=True)
        sys.stdin.read()
    finally:
        # It leaves no trace outside of the room, and does not end by SIGTERM while it has clients.
        os.kill(daemon, signal.SIGKILL)
        os.waitpid(daemon, 0)


if __name__ == "__main__":
    keep(*sys.argv[1:])
