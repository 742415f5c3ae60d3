"""Runs a program in a copy of a process that has imported it already: `fork_client.py ADDRESS MODULE ARGUMENT…`.

It passes its arguments, environment, folder and standard streams to the server of `tests/support/fork_server.py`,
forwards signals, and ends as the program ends. It imports next to nothing, because that is what it saves.
"""

import _socket
import os
import signal
import sys


def main() -> None:
    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    connection.connect(sys.argv[1])
    environment = [f"{name}={value}" for name, value in os.environ.items()]
    words = [str(len(sys.argv) - 2), *sys.argv[2:], os.getcwd(), *environment]
    request = b"\0".join(map(os.fsencode, words))
    streams = b"".join(number.to_bytes(4, sys.byteorder) for number in range(3))
    head = len(request).to_bytes(4, sys.byteorder)
    connection.sendmsg([head], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, streams)])
    connection.sendall(request)
    pid = read(connection)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, frame: os.kill(pid, number))
    code = read(connection)
    if code < 0:
        if -code != signal.SIGKILL:
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)


def read(connection: _socket.socket) -> int:
    return int.from_bytes(connection.recv(4, _socket.MSG_WAITALL), sys.byteorder, signed=True)


main()
