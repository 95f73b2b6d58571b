"""Tunes heuristics as carefully as a learner is tuned, so that learners are not compared with straw men."""

import dataclasses
import math
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, PRNGKeyArray

from jaxdlb.checks import Interval, check_size, check_whole
from jaxdlb.evaluation import search
from jaxdlb.evaluation.rollouts import check_sizes, utilities
from jaxdlb.evaluation.side_by_side import SampleParams
from jaxdlb.game import Game
from jaxdlb.policies import Family, Policy, Span

# Folded into the key: tuning never sees the episodes of an evaluation by the same key, nor its contest the search's.
_TUNING, _SEARCH = 0x74756E65, 0x73656172
_PER_OPTION = 12  # candidates of a generation for each option of a box, at most
# Agents seen over the episodes, where their number is not given: by each candidate of a search, and in the contest.
_AGENTS_SEEN, _AGENTS_IN_CONTEST = 64, 256

Options = Mapping[str, Any]
Box = Mapping[str, Span]
Progress = Callable[[int, int], None]  # called with the agent-rounds played and those to be played in all


@dataclasses.dataclass(frozen=True)
class Tuned:
    """What tuning found for a family, and what it took."""

    policy: Policy
    options: Options  # that make it; what is left out is the family's default
    utility: float  # the mean in the contest, whose episodes no search saw; NaN where nothing was played
    candidates: int  # options that were tried
    agent_rounds: int  # played to try them; no more than that, where episodes end by themselves
    seconds: float  # for all families that were tuned with it, compiling included


@dataclasses.dataclass(frozen=True)
class Effort:
    """How hard boxes are searched."""

    population: int  # candidates of a generation, fewer where a box has few options
    elites: int  # of them, around which the next generation is drawn
    generations: int
    finalists: int  # the best of all generations, which go to the contest
    num_episodes: int  # of each candidate

    def __post_init__(self) -> None:
        check_size("population", self.population, 2)
        check_whole("elites", self.elites, Interval(1, self.population, integer=True))
        check_size("generations", self.generations, 1)
        check_size("finalists", self.finalists, 1)
        check_size("search_episodes", self.num_episodes, 2)

    def drawn(self, box: Box) -> tuple[int, int]:
        """The candidates of a generation within `box`, and how many of them are elites."""
        population = min(self.population, _PER_OPTION * len(box))
        return population, max(1, round(self.elites * population / self.population))

    def candidates(self, box: Box) -> int:
        """How many are tried within `box`."""
        return self.generations * self.drawn(box)[0]


def tune(
    game: Game,
    families: Mapping[str, Family],
    sample_params: SampleParams,
    key: PRNGKeyArray,
    *,
    num_episodes: int | None = None,
    num_rounds: int = 600,
    warmup: int = 150,
    population: int = 48,
    elites: int = 8,
    generations: int = 24,
    finalists: int = 6,
    search_episodes: int | None = None,
    progress: Progress | None = None,
) -> dict[str, Tuned]:
    """For every family, by name, the options with the best mean utility.

    A family with a box is searched by the cross-entropy method: `generations` times a `population` (at most 12 an
    option) is drawn from a cloud, which is fitted to its `elites`; all play the same `search_episodes` (by default 64
    agents' worth, at least 2). A contest decides, so that the luckiest does not win, in `num_episodes` that no search
    saw (by default 256 agents' worth, at least 8): among all members of a grid, or the `finalists` that did best in a
    search with the middle of its last cloud and the family's defaults.

    Each episode has `num_rounds`, the first `warmup` of which are left out. All families play side by side under common
    random numbers, a generation in one program that is compiled once, and in other episodes than an evaluation by the
    same `key`. What is found for a family depends on its name, and not on the others. A family without grid and box has
    one member, and is not played.

    `progress(done, total)` is called now and then with the agent-rounds played, and those to be played in all.

    Raises:
        ValueError: a size that is not allowed.
    """
    num_episodes = max(8, _AGENTS_IN_CONTEST // game.num_agents) if num_episodes is None else num_episodes
    check_sizes(num_episodes, num_rounds, warmup)
    search_episodes = max(2, _AGENTS_SEEN // game.num_agents) if search_episodes is None else search_episodes
    effort = Effort(population, elites, generations, finalists, search_episodes)
    arena = _Arena(game, sample_params, num_rounds, warmup)
    boxes = {name: family.box(game) for name, family in families.items() if family.box is not None}
    tried: dict[str, list[Options]] = {
        name: list(family.combinations(game)) for name, family in families.items() if name not in boxes
    }
    searched = {name: effort.candidates(box) for name, box in boxes.items()}
    in_contest = {name: len(each) for name, each in tried.items() if len(each) > 1}
    in_contest |= {name: min(finalists, searched[name]) + 2 for name in boxes}
    arena.expect(sum(searched.values()) * search_episodes + sum(in_contest.values()) * num_episodes, progress)

    tried |= _search(arena, families, boxes, jax.random.fold_in(key, _SEARCH), effort)
    contest = {name: (families[name], tried[name]) for name in in_contest}
    utilities = arena.utilities(contest, jax.random.fold_in(key, _TUNING), num_episodes)

    def tuned(name: str, family: Family) -> Tuned:
        scores = utilities.get(name, np.array([-np.inf]))
        best = int(np.argmax(scores))
        episodes = searched.get(name, 0) * search_episodes + in_contest.get(name, 0) * num_episodes
        return Tuned(
            policy=family.make(**tried[name][best]),
            options=tried[name][best],
            utility=float(scores[best]) if math.isfinite(scores[best]) else math.nan,
            candidates=searched.get(name, 0) + len(scores),
            agent_rounds=episodes * num_rounds * game.num_agents,
            seconds=arena.seconds,
        )

    return {name: tuned(name, family) for name, family in families.items()}


class _Arena:
    """Where candidates play, and what has been played there so far."""

    def __init__(self, game: Game, sample_params: SampleParams, num_rounds: int, warmup: int) -> None:
        lengths: dict[str, Any] = {"num_rounds": num_rounds, "warmup": warmup}
        self._play = (game, sample_params, lengths)
        self._agent_rounds_each = num_rounds * game.num_agents  # of an episode
        self._began = time.monotonic()
        self._done, self._total = 0, 0
        self._progress: Progress | None = None

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._began

    def expect(self, num_episodes: int, progress: Progress | None) -> None:
        """Tell `progress` from now on how much of so many episodes has been played."""
        self._total, self._progress = num_episodes * self._agent_rounds_each, progress

    def utilities(
        self, candidates: Mapping[str, tuple[Family, Sequence[Options]]], key: PRNGKeyArray, num_episodes: int
    ) -> dict[str, Float[np.ndarray, " candidates"]]:
        """The mean utility of each candidate of each family, −∞ where none of its steps counted."""
        if not candidates:
            return {}
        game, sample_params, rounds = self._play
        policies = [family.make(**options) for family, each in candidates.values() for options in each]
        results = utilities(game, policies, sample_params, key, num_episodes=num_episodes, **rounds)
        means = np.array([np.mean(each) for each in results])
        self._done += len(policies) * num_episodes * self._agent_rounds_each
        if self._progress is not None:
            self._progress(self._done, self._total)
        ends = np.cumsum([len(each) for _, each in candidates.values()])
        scores = np.split(np.where(np.isnan(means), -np.inf, means), ends[:-1])
        return dict(zip(candidates, scores, strict=True))


def _search(
    arena: _Arena,
    families: Mapping[str, Family],
    boxes: Mapping[str, Box],
    key: PRNGKeyArray,
    effort: Effort,
) -> dict[str, list[Options]]:
    """For each family with a box who goes to the contest: the best that was seen, the last middle, and the defaults."""
    clouds = {name: search.everywhere(len(box)) for name, box in boxes.items()}
    seen: dict[str, list[tuple[float, Options]]] = {name: [] for name in boxes}
    for generation in range(effort.generations):
        points = {
            name: search.draw(_key_of(key, name, generation), cloud, effort.drawn(boxes[name])[0])
            for name, cloud in clouds.items()
        }
        options = {name: [search.options_at(boxes[name], point) for point in each] for name, each in points.items()}
        candidates = {name: (families[name], each) for name, each in options.items()}
        scores = arena.utilities(candidates, key, effort.num_episodes)
        for name, cloud in clouds.items():
            clouds[name] = search.fitted(cloud, points[name], scores[name], effort.drawn(boxes[name])[1])
            seen[name] += zip(scores[name].tolist(), options[name], strict=True)
    best = {name: sorted(each, key=lambda one: -one[0])[: effort.finalists] for name, each in seen.items()}
    return {
        name: [*(options for _, options in best[name]), search.options_at(box, clouds[name].middle), {}]
        for name, box in boxes.items()
    }


def _key_of(key: PRNGKeyArray, name: str, generation: int) -> PRNGKeyArray:
    """The key of a family's own draws, whoever else is tuned."""
    return jax.random.fold_in(jax.random.fold_in(key, zlib.crc32(name.encode())), generation)
