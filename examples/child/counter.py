# The same in Python: a JSON value a line, both ways, over the socket that BROOD_CHANNEL_FD names.
import json, os, signal, socket, sys

channel = socket.socket(fileno=int(os.environ["BROOD_CHANNEL_FD"]))
lines = channel.makefile("r", encoding="utf-8")  # two files: one for both would lose what it has read ahead
out = channel.makefile("w", encoding="utf-8")


def say(value):
    out.write(json.dumps(value) + "\n")
    out.flush()


total = 0
signal.signal(signal.SIGTERM, lambda *_: sys.exit())
try:
    say({"ready": True})
    for line in lines:  # it ends when the parent is gone
        total += json.loads(line)["add"]
        say({"total": total})
finally:
    if total == 42:
        say({"failed": {"message": "42 is too good to be forgotten", "code": "EKEEP", "count": total}})
