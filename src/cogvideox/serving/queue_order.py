"""In which order queued jobs will be taken, as `cogvideox.serving.leases.claim` takes them one by one."""

import heapq
from collections import deque
from collections.abc import Iterable
from typing import NamedTuple


class Waiting(NamedTuple):
    """A queued job."""

    id: str
    owner: str
    priority: int
    last_claim: int
    """When its owner was served last, as a count."""


def claim_order(waiting: Iterable[Waiting]) -> list[str]:
    """Return the ids of jobs in the order in which they are taken, the jobs given from the oldest to the newest."""
    by_priority: dict[int, dict[str, deque[tuple[int, str]]]] = {}
    last_claims: dict[str, int] = {}
    for age, job in enumerate(waiting):
        by_priority.setdefault(job.priority, {}).setdefault(job.owner, deque()).append((age, job.id))
        last_claims[job.owner] = job.last_claim
    turn = max(last_claims.values(), default=0)
    order: list[str] = []
    for priority in sorted(by_priority, reverse=True):
        lines = by_priority[priority]
        turns = [(last_claims[owner], line[0][0], owner) for owner, line in lines.items()]
        heapq.heapify(turns)
        while turns:
            _, _, owner = heapq.heappop(turns)
            order.append(lines[owner].popleft()[1])
            turn += 1
            last_claims[owner] = turn
            if lines[owner]:
                heapq.heappush(turns, (turn, lines[owner][0][0], owner))
    return order
