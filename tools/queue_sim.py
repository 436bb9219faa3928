#!/usr/bin/env python3
"""Simulates servers that batch: latency against load, for what one machine can not show.

    tools/queue_sim.py [--servers 1,2,4,8] [--load 0.5,0.7,0.9] [--first MS] [--each MS] [--max-batch N] [--delay MS]
                       [--choose least|random|turns] [--requests N] [--seed N] [--check]

Requests come by a Poisson process and are sent to one of the servers: to the one with the fewest requests (least), to any
(random), or in turns. A server runs one batch at a time. When it is free it takes the requests that wait, at most
max-batch, and in a power of two as tern serve does; with a delay it waits that long for a full batch. A batch of n takes
first + (n - 1) * each milliseconds: measure both with `tern bench MODEL --batch 1,8`. Load is a share of what the servers
can do with full batches. --check compares with what queueing theory knows exactly: the mean wait of M/D/1
(Pollaczek and Khinchine), and of M/D/1 by thinning for random choice of several servers.
"""
import argparse
import collections
import heapq
import random
import sys


class Server:
    def __init__(self):
        self.waiting = collections.deque()
        self.running = 0
        self.wake = None  # of the delay

    def length(self):
        return len(self.waiting) + self.running


class Simulation:
    def __init__(self, options, servers, rate):
        self.options = options
        self.servers = [Server() for _ in range(servers)]
        self.rate = rate
        self.random = random.Random(options.seed)
        self.events = []  # (time, order, kind, server, batch)
        self.order = 0
        self.turn = 0
        self.latencies = []
        self.batches = []

    def add(self, time, kind, server=None, batch=None):
        self.order += 1
        heapq.heappush(self.events, (time, self.order, kind, server, batch))

    def choose(self):
        if self.options.choose == "random":
            return self.random.choice(self.servers)
        first = self.turn
        self.turn = (self.turn + 1) % len(self.servers)
        if self.options.choose == "turns":
            return self.servers[first]
        # Ties go in turns.
        return min(self.servers[first:] + self.servers[:first], key=Server.length)

    def begin(self, server, now):
        if server.running or not server.waiting:
            return
        o = self.options
        oldest = server.waiting[0]
        if len(server.waiting) < o.max_batch and now < oldest + o.delay - 1e-9:
            if server.wake != oldest:
                server.wake = oldest
                self.add(oldest + o.delay, "wake", server)
            return
        count = 1
        while count * 2 <= min(len(server.waiting), o.max_batch):
            count *= 2
        batch = [server.waiting.popleft() for _ in range(count)]
        server.running = count
        self.batches.append(count)
        self.add(now + o.first + (count - 1) * o.each, "end", server, batch)

    def run(self):
        left = self.options.requests
        self.add(0, "request")
        while self.events:
            now, _, kind, server, batch = heapq.heappop(self.events)
            if kind == "request":
                server = self.choose()
                server.waiting.append(now)
                left -= 1
                if left > 0:
                    self.add(now + self.random.expovariate(self.rate), "request")
            elif kind == "end":
                self.latencies += [now - begin for begin in batch]
                server.running = 0
            self.begin(server, now)
        # What came while the queues filled from empty is left out.
        self.latencies = sorted(self.latencies[self.options.requests // 10:])
        return self


def full_rate(options):
    """Requests per millisecond of one server with full batches."""
    return options.max_batch / (options.first + (options.max_batch - 1) * options.each)


def simulate(options, servers, load):
    return Simulation(options, servers, load * servers * full_rate(options)).run()


def numbers(text):
    return [float(x) for x in text.split(",")]


def parse(arguments):
    p = argparse.ArgumentParser(description="Simulates servers that batch: latency against load.")
    p.add_argument("--servers", type=numbers, default=[1, 2, 4, 8])
    p.add_argument("--load", type=numbers, default=[0.3, 0.5, 0.7, 0.8, 0.9, 0.95])
    p.add_argument("--first", type=float, default=10, help="ms of a batch of one (10)")
    p.add_argument("--each", type=float, default=8, help="ms of each further row (8)")
    p.add_argument("--max-batch", type=int, default=8)
    p.add_argument("--delay", type=float, default=0, help="ms that a request may wait for a full batch (0)")
    p.add_argument("--choose", choices=["least", "random", "turns"], default="least")
    p.add_argument("--requests", type=int, default=100000)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--check", action="store_true")
    return p.parse_args(arguments)


def table(options):
    print("%g ms a row, %g ms each further one, batches of up to %d, delay %g ms, choice: %s" %
          (options.first, options.each, options.max_batch, options.delay, options.choose))
    print("| servers | load | requests/s | batch | median ms | p95 ms | p99 ms |")
    print("|---|---|---|---|---|---|---|")
    for servers in map(int, options.servers):
        for load in options.load:
            s = simulate(options, servers, load)
            at = [s.latencies[int(share * len(s.latencies))] for share in (0.5, 0.95, 0.99)]
            print("| %d | %g | %.0f | %.1f | %.1f | %.1f | %.1f |" %
                  (servers, load, 1000 * s.rate, sum(s.batches) / len(s.batches), *at))


def check(options):
    """Mean waits against theory: service 1 ms, no batches, so W = load / (2 (1 - load)). The simulation is of a fixed
    seed, and the bound five standard errors as measured over blocks: the test is exact or it is not."""
    bad = 0
    options.first, options.max_batch, options.delay = 1.0, 1, 0
    for servers, choose in ((1, "least"), (4, "random")):
        for load in (0.3, 0.6, 0.8):
            options.choose = choose
            waits = []
            for seed in range(20):
                options.seed = seed
                s = simulate(options, servers, load)
                waits.append(sum(s.latencies) / len(s.latencies) - 1)
            mean = sum(waits) / len(waits)
            error = (sum((w - mean) ** 2 for w in waits) / (len(waits) - 1) / len(waits)) ** 0.5
            theory = load / (2 * (1 - load))
            good = abs(mean - theory) < 5 * error
            bad += not good
            print("%s: %d servers, %s, load %g: wait %.4f ms, by theory %.4f, standard error %.4f" %
                  ("ok" if good else "WRONG", servers, choose, load, mean, theory, error))
    return bad


def main():
    options = parse(sys.argv[1:])
    if min(options.load) <= 0 or max(options.load) >= 1 or min(options.servers) < 1 or options.max_batch < 1 or \
            options.requests < 100 or options.first <= 0 or options.each < 0 or options.delay < 0:
        sys.exit("loads are between 0 and 1, servers and batches at least 1, requests at least 100, times not negative")
    if options.check:
        sys.exit(check(options) > 0)
    table(options)


main()
