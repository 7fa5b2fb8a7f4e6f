"""What the small lab's containers run: serves, crashes, hangs and leaves children behind, as its environment says.

ADDRESS, PORT   answer HTTP there: 200, or 503 while a file with the path's name lies in the working directory
SAY             print this first
WAIT_FOR        begin to serve once this file exists
CRASH           end with this exit code, unless the file MENDED exists
DONE            end well
TRACE, NAME     append "start NAME" to this file, and "stop NAME" on SIGTERM
STUBBORN        ignore SIGTERM
STRAY           leave a daemon behind: a new session, no environment, no parent; its process id is written to this file
"""

import os
import signal
import socket
import sys
import time


def stray(path: str) -> None:
    """A daemon that has shed everything by which one could know where it comes from."""
    if os.fork():
        return
    os.setsid()
    if os.fork():
        os._exit(0)
    with open(f"{path}.new", "w") as file:
        file.write(str(os.getpid()))
    os.replace(f"{path}.new", path)
    os.chdir("/")
    os.closerange(0, 100)
    os.execve("/bin/sleep", ["sleep", "100000"], {})


def trace(word: str) -> None:
    with open(os.environ["TRACE"], "a") as file:
        file.write(f"{word} {os.environ['NAME']}\n")


def stop(*_: object) -> None:
    trace("stop")
    os._exit(0)


def main() -> int:
    ask = os.environ.get
    if ask("TRACE"):
        trace("start")
        signal.signal(signal.SIGTERM, stop)
    if text := ask("SAY"):
        print(text, flush=True)
    if ask("STUBBORN"):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if path := ask("STRAY"):
        stray(path)
    if (code := ask("CRASH")) and not os.path.exists(ask("MENDED", "/nothing")):
        print("about to crash", end="", flush=True)
        return int(code)
    if ask("DONE"):
        return 0
    while (path := ask("WAIT_FOR")) and not os.path.exists(path):
        time.sleep(0.01)
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((ask("ADDRESS", "127.0.0.1"), int(ask("PORT", "0"))))
    listener.listen(64)
    while True:
        connection, _ = listener.accept()
        with connection:
            words = connection.recv(4096).split()
            if len(words) > 1:
                bad = os.path.exists(words[1].decode().strip("/") or "/nothing")
                connection.sendall(b"HTTP/1.1 %s\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok" % (b"503 No" if bad else b"200 OK"))


sys.exit(main())
