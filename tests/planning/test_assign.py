"""The assignment, against trying every one."""

from __future__ import annotations

import itertools
import math
import random

import pytest

from moka.planning.assign import Chain, assign, shortest_path


def total(chain: Chain, path: tuple[int, ...]) -> float:
    """What an assignment costs, added up step by step."""
    cost = chain.launch[path[0]] + chain.crossing(0, None, path[0]) + chain.crossing(len(path), path[-1], None)
    for index, place in enumerate(path):
        cost += chain.costs[index][place]
        if index and path[index - 1] != place:
            cost += chain.launch[place] + chain.crossing(index, path[index - 1], place)
    return cost


def best(chain: Chain) -> float:
    """The least cost of all assignments that keep what is tied together."""
    choices = itertools.product(range(len(chain.launch)), repeat=len(chain.costs))
    return min(total(chain, path) for path in choices if len({path[index] for index in chain.tied}) < 2)


def example(seed: int, tied: bool) -> Chain:
    numbers = random.Random(seed)
    length, candidates = numbers.randint(1, 6), numbers.randint(1, 3)
    costs = [[math.inf if numbers.random() < 0.2 else numbers.random() for _ in range(candidates)] for _ in range(length)]
    for row in costs:
        row[numbers.randrange(candidates)] = numbers.random()
    table = {
        key: 0.5 * numbers.random() for key in itertools.product(range(length + 1), [None, *range(candidates)], [None, *range(candidates)])
    }
    together = frozenset(index for index in range(length) if numbers.random() < 0.5) if tied else frozenset()
    return Chain(costs, [0.3 * numbers.random() for _ in range(candidates)], lambda *key: table[key], together)


@pytest.mark.parametrize("tied", [False, True])
def test_no_other_assignment_is_cheaper(tied: bool) -> None:
    for seed in range(200):
        chain = example(seed, tied)
        found = shortest_path(chain)
        if found is None:
            assert math.isinf(best(chain)), seed
            continue
        cost, path = found
        assert cost == pytest.approx(best(chain)), seed
        assert cost == pytest.approx(total(chain, tuple(path))), seed
        assert len({path[index] for index in chain.tied}) < 2, seed


def test_what_nothing_can_run_has_no_assignment() -> None:
    assert shortest_path(Chain([[math.inf, math.inf]], [0.0, 0.0], lambda *key: 0.0)) is None
    assert assign(Chain([[math.inf, 1.0], [1.0, math.inf]], [0.0, 0.0], lambda *key: 0.0, frozenset({0, 1}))) is None


def test_equal_costs_take_the_first_candidate_and_stay_there() -> None:
    assert assign(Chain([[1.0, 1.0]] * 4, [0.0, 0.0], lambda *key: 0.0)) == [0, 0, 0, 0]


def test_a_launch_that_costs_more_than_it_saves_is_not_made() -> None:
    costs = [[1.0, 9.0], [1.0, 0.5], [1.0, 9.0]]
    assert assign(Chain(costs, [0.0, 0.6], lambda *key: 0.0)) == [0, 0, 0]
    assert assign(Chain(costs, [0.0, 0.4], lambda *key: 0.0)) == [0, 1, 0]


def test_a_mixture_must_beat_a_simple_plan_by_the_margin() -> None:
    costs = [[1.0, 9.0], [1.0, 0.5], [1.0, 9.0]]
    chain = Chain(costs, [0.0, 0.0], lambda *key: 0.0)
    assert assign(chain, margin=0.15) == [0, 1, 0]  # 2.5 in place of 3.0
    assert assign(chain, margin=0.2) == [0, 0, 0]
