"""What torchrun starts in the place of `kd-lab`: it has the nursery fork one, hands signals on, and ends as that does.

Importing torch and Lightning takes longer than what the ranks of a test train.
"""

import json
import os
import signal
import socket
import sys


def main(door: str, arguments: list[str]) -> None:
    """Be in front of `kd-lab` with these arguments."""
    front = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    front.connect(door)
    asked = {"arguments": arguments, "environment": dict(os.environ), "cwd": os.getcwd(), "door": door}
    socket.send_fds(front, [json.dumps(asked).encode()], [0, 1, 2])
    pid = int(front.recv(100))
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: os.kill(pid, number))
    code = int(front.recv(100))
    if code < 0:
        signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    sys.exit(code)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
