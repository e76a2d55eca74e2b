"""A tandem of whole requests, event by event, in plain Python: slow, and nothing of the kernel in it."""

import heapq
import math


class _Server:
    """One first-in first-out server with priority work that pre-empts and carries over."""

    def __init__(self, rate):
        self.rate, self.priority, self.now = rate, 0.0, 0.0
        self.queue, self.left, self.version = [], 0.0, 0

    def advance(self, time):
        spent = self.rate * (time - self.now)
        first = min(self.priority, spent)
        self.priority -= first
        if self.queue:
            self.left -= spent - first
        self.now = time

    def completion(self):
        return self.now + (self.priority + self.left) / self.rate


def departures(stages, times, sizes, jumps):
    """Instants at which requests leave a path.

    stages: (rate, servers, delay), servers 0 for the tenant's own server; times: of arrival; sizes[i][n]: of
    request n at stage i; jumps[i]: (instant, work) of the priority work of stage i.
    """
    servers = [_Server(rate) for rate, _, _ in stages]
    idle = [count for _, count, _ in stages]
    waiting = [[] for _ in stages]
    left = [math.nan] * len(times)
    ids = iter(range(1 << 60))
    events = [(time, 1, next(ids), "arrive", 0, n, 0) for n, time in enumerate(times)]
    events += [(t, 0, next(ids), "jump", i, 0, work) for i, some in enumerate(jumps) for t, work in some]
    heapq.heapify(events)

    def plan(i):
        servers[i].version += 1
        if servers[i].queue:
            heapq.heappush(events, (servers[i].completion(), 2, next(ids), "done", i, 0, servers[i].version))

    def hand_on(i, n, time):
        time += stages[i][2]
        if i + 1 == len(stages):
            left[n] = time
        else:
            heapq.heappush(events, (time, 1, next(ids), "arrive", i + 1, n, 0))

    while events and any(map(math.isnan, left)):
        time, _, _, what, i, n, extra = heapq.heappop(events)
        rate, pool, _ = stages[i]
        server = servers[i]
        if what == "arrive" and pool:
            waiting[i].append(n)
        elif what == "free":
            idle[i] += 1
            hand_on(i, n, time)
        elif what == "done":
            if extra != server.version:
                continue
            server.advance(time)
            hand_on(i, server.queue.pop(0), time)
            server.left = sizes[i][server.queue[0]] if server.queue else 0.0
            plan(i)
        else:
            server.advance(time)
            if what == "jump":
                server.priority += extra
            else:
                server.queue.append(n)
                if len(server.queue) == 1:
                    server.left = sizes[i][n]
            plan(i)
        if pool:
            while idle[i] and waiting[i]:
                idle[i] -= 1
                n = waiting[i].pop(0)
                heapq.heappush(events, (time + sizes[i][n] / rate, 1, next(ids), "free", i, n, 0))
    return left


def flow(rates, times, sizes, jumps):
    """Instants at which requests leave a path on which work moves on while it is served: rates change event
    by event."""
    depth = len(rates)
    queue, priority = [0.0] * depth, [0.0] * depth
    ends = [sum(sizes[: n + 1]) for n in range(len(sizes))]
    coming = sorted([(t, -1, w) for t, w in zip(times, sizes, strict=True)]
                    + [(t, i, w) for i, some in enumerate(jumps) for t, w in some])  # fmt: skip
    now, level, left = 0.0, 0.0, []
    while len(left) < len(ends):
        inflow, flows = 0.0, []
        for i in range(depth):
            out = 0.0
            if priority[i] <= 0.0:
                out = rates[i] if queue[i] > 1e-12 else min(inflow, rates[i])
            flows.append((inflow, out))
            inflow = out
        waits = [coming[0][0] - now] if coming else []
        if flows[-1][1] > 0:
            waits.append((ends[len(left)] - level) / flows[-1][1])
        for i, (come, out) in enumerate(flows):
            if priority[i] > 0.0:
                waits.append(priority[i] / rates[i])
            if queue[i] > 1e-12 and out > come:
                waits.append(queue[i] / (out - come))
        wait = max(min(waits), 0.0)
        now += wait
        level += wait * flows[-1][1]
        for i, (come, out) in enumerate(flows):
            priority[i] = priority[i] - rates[i] * wait if priority[i] - rates[i] * wait > 1e-12 else 0.0
            queue[i] = max(queue[i] + wait * (come - out), 0.0)
        while len(left) < len(ends) and level >= ends[len(left)] - 1e-10:
            left.append(now)
        while coming and coming[0][0] <= now + 1e-13:
            _, i, work = coming.pop(0)
            if i < 0:
                queue[0] += work
            else:
                priority[i] += work
    return left
