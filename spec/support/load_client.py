#!/usr/bin/env python3
"""load_client.py - a client under which nothing goes unnoticed: it keeps a constant load on a server until it is told
to stop (TERM, or so many seconds), and counts the fate of every request. Standard library only. It must not retry
quietly, and not forgive: whoever reads its figures decides what was allowed.

    load_client.py [--seconds S] [--requests N] [--timeout S] ADDRESS[,ADDRESS...] LANE...

An address is host:port or unix:/path. A lane is COUNT:MODE:KIND:PAUSE, COUNT connections at a time, in turns over the
addresses; MODE is keep or short, KIND the first part of the path that is asked for, PAUSE the milliseconds between an
answer and the next request. Each request is for /KIND/TOKEN, TOKEN never twice, and the answer's body must begin with the
token and go on with nothing but "x" ("big" wants 5 MB of that); so an answer to somebody else's request is found too.

One JSON object on stdout: ok, and what is not:
    connect     the connection could not be made
    reset       it was reset, other than as below
    truncated   it ended within an answer
    unanswered  a new one ended without a byte of an answer, or no whole answer came within the timeout
    stale       a kept one, idle until then, ended without a byte of an answer to the request that was sent on it
    wrong       another status or body than asked for, or bytes beyond it
also closed (answers that said Connection: close on a kept connection), connections, slowest (ms), and `first`, what is
known of the first 20 failures.
"""
import argparse
import itertools
import json
import signal
import socket
import sys
import threading
import time

BAD = ('connect', 'reset', 'truncated', 'unanswered', 'stale', 'wrong')
BIG = 5 << 20


class Failure(Exception):
    def __init__(self, kind, why):
        super().__init__(why)
        self.kind = kind


class Tally:
    """the counts of all lanes"""

    def __init__(self):
        self.lock = threading.Lock()
        self.began = time.monotonic()
        self.counts = dict.fromkeys(('ok', 'closed', 'connections') + BAD, 0)
        self.kinds, self.slowest, self.first = {}, 0.0, []

    def add(self, name, n=1):
        with self.lock:
            self.counts[name] += n

    def answer(self, kind, seconds, closed):
        with self.lock:
            self.counts['ok'] += 1
            self.counts['closed'] += closed
            self.kinds[kind] = self.kinds.get(kind, 0) + 1
            if not closed or kind == 'echo':
                self.slowest = max(self.slowest, seconds)

    def failure(self, failure, **known):
        with self.lock:
            self.counts[failure.kind] += 1
            if len(self.first) < 20:
                self.first.append(dict(known, kind=failure.kind, why=str(failure), clock=time.strftime('%H:%M:%S'),
                                       at=round(time.monotonic() - self.began, 4)))

    def json(self):
        return json.dumps(dict(self.counts, failed=sum(self.counts[k] for k in BAD), kinds=self.kinds,
                               slowest=round(self.slowest * 1e3, 1), first=self.first))


class Connection:
    """one connection, and the answers on it"""

    def __init__(self, address, timeout):
        self.buffer, self.asked = bytearray(), 0
        try:
            if address.startswith('unix:'):
                self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
                target = address[5:]
            else:
                host, port = address.rsplit(':', 1)
                self.sock = socket.socket(socket.AF_INET6 if ':' in host else socket.AF_INET, socket.SOCK_STREAM)
                target = (host.strip('[]'), int(port))
            self.sock.settimeout(timeout)
            self.sock.connect(target)
            if self.sock.family != socket.AF_UNIX:
                self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError as err:
            self.sock.close()
            raise Failure('connect', str(err)) from err

    def name(self):
        try:
            own = self.sock.getsockname()
            return own[1] if isinstance(own, tuple) else 'unix'
        except OSError:
            return '?'

    def close(self):
        self.sock.close()

    def lost(self, why):
        """which kind of failure it is that this connection ended now"""
        if self.buffer:
            return Failure('reset' if why else 'truncated', '%s after %d bytes' % (why or 'end', len(self.buffer)))
        if self.asked > 1:
            return Failure('stale', why or 'end')
        return Failure('reset' if why else 'unanswered', why or 'end')

    def more(self):
        try:
            got = self.sock.recv(1 << 18)
        except socket.timeout as err:
            raise Failure('unanswered', 'timeout after %d bytes' % len(self.buffer)) from err
        except OSError as err:
            raise self.lost(str(err)) from err
        if not got:
            raise self.lost(None)
        self.buffer += got

    def send(self, data):
        self.asked += 1
        try:
            self.sock.sendall(data)
        except OSError as err:
            # The answer may stand in our buffer although the other side takes nothing more.
            if self.asked == 1:
                raise self.lost(str(err)) from err

    def until(self, mark, start):
        while True:
            at = self.buffer.find(mark, start)
            if at >= 0:
                return at
            self.more()

    def chunks(self, at):
        body = bytearray()
        while True:
            end = self.until(b'\r\n', at)
            size = int(bytes(self.buffer[at:end]).split(b';')[0] or b'-1', 16)
            while len(self.buffer) < end + 2 + size + 2:
                self.more()
            body += self.buffer[end + 2:end + 2 + size]
            at = end + 2 + size + 2
            if size == 0:
                return body, at

    def answer(self):
        """status, headers and body of the next answer; closes nothing"""
        head = self.until(b'\r\n\r\n', 0)
        lines = bytes(self.buffer[:head]).decode('latin-1').split('\r\n')
        headers = {}
        for line in lines[1:]:
            name, _, value = line.partition(':')
            headers[name.strip().lower()] = value.strip()
        if headers.get('transfer-encoding') == 'chunked':
            body, end = self.chunks(head + 4)
        else:
            end = head + 4 + int(headers.get('content-length', -1))
            while len(self.buffer) < end:
                self.more()
            body = self.buffer[head + 4:end]
        if len(self.buffer) > end:
            raise Failure('wrong', '%d bytes beyond the answer' % (len(self.buffer) - end))
        self.buffer = bytearray()
        return lines[0].split(' ', 2)[1], headers, body


def judge(kind, token, status, body):
    rest = body[len(token):]
    if status != '200':
        raise Failure('wrong', 'status ' + status)
    if not body.startswith(token) or rest.count(b'x') != len(rest) or kind == 'big' and len(body) != BIG:
        raise Failure('wrong', 'body of %d bytes: %r' % (len(body), bytes(body[:60])))


class Lane(threading.Thread):
    """one connection at a time, one request after the other"""

    def __init__(self, run, address, mode, kind, pause):
        super().__init__(daemon=True)
        self.run_, self.address, self.keep, self.kind, self.pause = run, address, mode == 'keep', kind, pause / 1e3
        self.conn, self.left = None, run.requests

    def ask(self):
        token = b'%d.' % next(self.run_.tokens)
        if not self.conn:
            self.conn = Connection(self.address, self.run_.timeout)
            self.run_.tally.add('connections')
        began = time.monotonic()
        self.conn.send(b'GET /%s/%s HTTP/1.1\r\nHost: x\r\n%s\r\n'
                       % (self.kind.encode(), token, b'' if self.keep else b'Connection: close\r\n'))
        status, headers, body = self.conn.answer()
        judge(self.kind, token, status, body)
        closed = headers.get('connection', '').lower() == 'close'
        self.run_.tally.answer(self.kind, time.monotonic() - began, closed and self.keep)
        if closed or not self.keep:
            self.drop()

    def drop(self):
        if self.conn:
            self.conn.close()
            self.conn = None

    def attempt(self):
        try:
            self.ask()
        except Failure as failure:
            self.run_.tally.failure(failure, lane=self.kind, keep=self.keep, address=self.address,
                                    asked=self.conn.asked if self.conn else 0,
                                    port=self.conn.name() if self.conn else None)
            self.drop()
            time.sleep(0.01)
        except Exception as err:  # what is not HTTP
            self.run_.tally.failure(Failure('wrong', repr(err)), lane=self.kind, address=self.address)
            self.drop()

    def run(self):
        while not self.run_.over.is_set() and self.left != 0:
            self.attempt()
            self.left -= 1
            if self.pause:
                self.run_.over.wait(self.pause)
        self.drop()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--seconds', type=float, default=600)
    parser.add_argument('--requests', type=int, default=-1, help='of each connection at a time')
    parser.add_argument('--timeout', type=float, default=20)
    parser.add_argument('addresses')
    parser.add_argument('lane', nargs='+')
    run = parser.parse_args()
    run.tally, run.tokens, run.over = Tally(), itertools.count(1), threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: run.over.set())
    addresses, lanes = itertools.cycle(run.addresses.split(',')), []
    for text in run.lane:
        count, mode, kind, pause = text.split(':')
        lanes += [Lane(run, next(addresses), mode, kind, float(pause)) for _ in range(int(count))]
    for lane in lanes:
        lane.start()
    print('started', file=sys.stderr, flush=True)
    end = time.monotonic() + run.seconds
    while time.monotonic() < end and not run.over.is_set() and any(lane.is_alive() for lane in lanes):
        run.over.wait(0.05)
    run.over.set()
    for lane in lanes:
        lane.join()
    print(run.tally.json(), flush=True)


main()
