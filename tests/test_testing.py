"""`check_game` finds what is wrong with a game: a sound one, and one broken in each of many ways."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import pytest
from flax import struct
from jaxtyping import Array, Bool, Float
from reference import ticking
from reference.ticking import Params, Ticking

from jaxdlb.game import Bound, Column, Verdict
from jaxdlb.parameters import law
from jaxdlb.policies import Family
from jaxdlb.spaces import Box, Simplex
from jaxdlb.testing import check_game, rounds
from jaxdlb.testing.declared import check_fresh

BROKEN = {}


def broken(sentence):
    """Note a game that `check_game` must refuse with a message that holds the sentence."""

    def note(game):
        frozen = dataclasses.dataclass(frozen=True)(game) if game.__name__ != "WithoutHash" else game
        BROKEN[game.__name__] = (frozen, sentence)
        return frozen

    return note


def test_a_sound_game_passes_with_and_without_its_entry():
    check_game(Ticking(num_workers=2, capacity=3), ticking.ENTRY)
    check_game(Ticking(num_workers=1, capacity=1), seed=3)


class Stepped(Ticking):
    """A game whose time steps after a step are changed by `spoil`."""

    def step(self, key, state, action, params):
        state, timestep = super().step(key, state, action, params)
        return self.spoil(state, timestep, action)


@broken("is not hashable; a game must be a frozen dataclass")
class WithoutHash(Ticking):
    __hash__ = None


@broken("WithoutUtility.columns has no 'utility'")
class WithoutUtility(Ticking):
    @property
    def columns(self):
        return {"pieces": Column("pieces", "finished", lambda sums: 1.0)}


@broken("must be a pytree whose leaves are Discrete, Box or Simplex")
class WithoutSpaces(Ticking):
    action_space = "three choices"


@broken("reward is int32[2]; it must be float32[2]")
class WholeRewards(Ticking):
    def reset(self, key, params):
        state, timestep = super().reset(key, params)
        return state, timestep.replace(reward=jnp.zeros(2, jnp.int32))


@broken("the metrics of a time step are ['choices', 'utility'], but those that the game names")
class WithoutAMetric(Ticking):
    def reset(self, key, params):
        state, timestep = super().reset(key, params)
        return state, timestep.replace(metrics={k: v for k, v in timestep.metrics.items() if k != "finished"})


@broken("the state that reset gives and the one that step gives must match: left is int32[2] and float32[2]")
class DriftingState(Stepped):
    def spoil(self, state, timestep, action):
        return state.replace(left=state.left.astype(jnp.float32)), timestep


@broken("the time step that reset gives and the one that step gives must match: elapsed is float32[] and float32[]")
class WeakTypes(Stepped):
    def spoil(self, state, timestep, action):
        return state, timestep.replace(elapsed=jnp.asarray(1.0))


@broken("observation.legal is bool[2, 4] for Discrete(num_choices=3")
class OtherChoices(Ticking):
    def _legal(self, state):
        return jnp.ones((2, 4), bool)


@broken("observation.own has shape [3, 2]; its leading axis must be the 2 agents")
class OtherAgents(Ticking):
    def true_observation(self, state, params):
        seen = super().true_observation(state, params)
        return seen.replace(own=jnp.zeros((3, 2)))


@struct.dataclass
class Masked:
    """What workers see, with a mask of peers though there are none."""

    own: Float[Array, "N F"]
    legal: Bool[Array, "N A"]
    visible: Bool[Array, "N N"]


@broken("observation.visible is bool[2, 2]; it must be bool [N, P], for the rows of peers")
class VisibleWithoutPeers(Ticking):
    def true_observation(self, state, params):
        seen = super().true_observation(state, params)
        return Masked(seen.own, seen.legal, jnp.eye(2, dtype=bool))

    def _timestep(self, *args):
        timestep = super()._timestep(*args)
        return timestep.replace(observation=self.true_observation(args[0], args[1]))


@broken("the observation and true_observation must match")
class OtherTruth(Ticking):
    def _timestep(self, state, params, *rest):
        timestep = super()._timestep(state, params, *rest)
        return timestep.replace(observation=timestep.observation.replace(own=jnp.zeros((2, 5))))


class Apart(Ticking):
    """A game whose true observation may be another than what is observed."""

    def _timestep(self, state, params, *rest):
        timestep = super()._timestep(state, params, *rest)
        return timestep.replace(observation=Ticking.true_observation(self, state, params))


@struct.dataclass
class Blind:
    """What workers see, without what they may do."""

    own: Float[Array, "N F"]


@broken("true_observation has no legal, which the observation has")
class BlindOracle(Apart):
    def true_observation(self, state, params):
        return Blind(super().true_observation(state, params).own)


@struct.dataclass
class Told(ticking.Observation):
    """And what an oracle is told besides."""

    ahead: Float[Array, "..."]


@dataclasses.dataclass(frozen=True)
class Telling(Apart):
    """An oracle is told of each worker how many pieces are left to all."""

    def true_observation(self, state, params):
        seen = super().true_observation(state, params)
        return Told(seen.own, seen.legal, ahead=self.told(jnp.sum(state.left)))

    def told(self, left):
        return jnp.full(self.num_agents, left, jnp.float32)


def test_an_oracle_may_be_told_more_than_is_observed():
    check_game(Telling(num_workers=2, capacity=2))


@broken("observation.ahead has shape [1]; its leading axis must be the 2 agents")
class TellingNobodyInParticular(Telling):
    def told(self, left):
        return jnp.full(1, left, jnp.float32)


@broken("global_state is int32[5]; it must be float32 [G]")
class WholeGlobalState(Ticking):
    def global_state(self, state, params):
        return super().global_state(state, params).astype(jnp.int32)


@broken("an agent has no legal choice in Discrete(num_choices=3")
class NothingLegal(Ticking):
    def _legal(self, state):
        return super()._legal(state) & (state.step < 3)


@broken("reward, metrics and elapsed must be finite, but are not after step after random bits as an action: ['reward']")
class IllegalActionsCount(Stepped):
    def spoil(self, state, timestep, action):
        return state, timestep.replace(reward=timestep.reward + jnp.where(action < 0, jnp.nan, 0.0))


@broken("discount is 0 after step but last is false; a true end must be the last step")
class EndlessEnd(Stepped):
    def spoil(self, state, timestep, action):
        return state, timestep.replace(discount=jnp.float32(0), last=jnp.asarray(False))


@broken("elapsed is -1 after step; it must be ≥ 0")
class BackwardsInTime(Stepped):
    def spoil(self, state, timestep, action):
        return state, timestep.replace(elapsed=jnp.float32(-1))


@broken("a time step must have both utilities and selfishness, or neither")
class HalfAUtility(Ticking):
    def reset(self, key, params):
        state, timestep = super().reset(key, params)
        return state, timestep.replace(utilities=timestep.reward)


class WithUtilities(Ticking):
    """Selfish workers, who state their own utilities."""

    def reset(self, key, params):
        return self.stating(*super().reset(key, params))

    def step(self, key, state, action, params):
        return self.stating(*super().step(key, state, action, params))

    def stating(self, state, timestep):
        return state, timestep.replace(utilities=timestep.reward, selfishness=jnp.float32(1))


def test_own_utilities_pass_where_rewards_are_mixed_from_them():
    check_game(dataclasses.dataclass(frozen=True)(WithUtilities)(num_workers=2, capacity=1))


@broken("reward is not (1 − κ) · mean of the utilities + κ · utilities after ")
class OtherUtilities(WithUtilities):
    def stating(self, state, timestep):
        return state, timestep.replace(utilities=timestep.reward - 1, selfishness=jnp.float32(1))


@broken("reset is traced 2 times for 3 parameters; one trace must serve all")
class TracedAnew(Ticking):
    """Its check changes what it checks."""

    def validate(self, params):
        if jnp.ndim(params.horizon) == 0 and int(params.horizon) == 1:
            object.__setattr__(params, "horizon", jnp.asarray(1))  # of weak type
        super().validate(params)


@broken("step gives different results eagerly and compiled")
class OtherWhenCompiled(Stepped):
    def spoil(self, state, timestep, action):
        compiled = isinstance(timestep.reward, jax.core.Tracer)
        return state, timestep.replace(reward=timestep.reward + float(compiled))


@jax.custom_batching.custom_vmap
def _alone(reward):
    return reward


@_alone.def_vmap
def _together(axis_size, in_batched, reward):
    return reward + 1, in_batched[0]


@broken("step gives different results for one cluster alone and in a vmap over params")
class OtherInABatch(Stepped):
    def spoil(self, state, timestep, action):
        return state, timestep.replace(reward=_alone(timestep.reward))


@broken("the column utility must have no verdict; it always decides")
class UtilityWithVerdict(Ticking):
    @property
    def columns(self):
        utility = dataclasses.replace(super().columns["utility"], verdict=Verdict("better", "worse"))
        return super().columns | {"utility": utility}


@broken("the column makespan must have a warning or a verdict, not both; what warns ought to be 0 for all")
class JudgedByAWarning(Ticking):
    @property
    def columns(self):
        late = dataclasses.replace(super().columns["makespan"], warning="late", verdict=Verdict("sooner", "later"))
        return super().columns | {"makespan": late}


@broken("the column utility must have no warning; every table shows it")
class UtilityWithWarning(Ticking):
    @property
    def columns(self):
        return super().columns | {"utility": dataclasses.replace(super().columns["utility"], warning="low")}


@broken("measured gives utility, which the game's metrics name already")
class MeasuredTwice(Ticking):
    def measured(self, state, params):
        return {"utility": jnp.zeros(3)}


@broken("measured gives a rest other than 0 at reset")
class MeasuredAtReset(Ticking):
    def measured(self, state, params):
        return {"rest": jnp.ones(3)}


@broken("potential gives an array of shape (); it must give one of (")
class PotentialOfAll(Ticking):
    def potential(self, state, params):
        return jnp.float32(0)


@broken("it must be finite")
class PotentialWithoutEnd(Ticking):
    def potential(self, state, params):
        return jnp.full(self.num_agents, -jnp.inf)


@broken("at a true end; it must be 0")
class PotentialAtTheEnd(Ticking):
    def potential(self, state, params):
        return -jnp.ones(self.num_agents)


@broken("the column queue cannot be computed from the sums")
class ColumnOfNothing(Ticking):
    @property
    def columns(self):
        return super().columns | {"queue": Column("queue", "tasks", lambda sums: sums["queue"])}


@broken("the column each gives an array of shape (2,); it must give a number")
class ColumnOfMany(Ticking):
    @property
    def columns(self):
        return super().columns | {"each": Column("each", "pieces", lambda sums: sums["finished"])}


@broken("the bound of the column makespan must be a game that has this column and no action")
class BoundWithChoices(Ticking):
    @property
    def columns(self):
        makespan = dataclasses.replace(super().columns["makespan"], bound=Bound(Ticking(), "another"))
        return super().columns | {"makespan": makespan}


@broken("the size num_workers accepts 0, which its declaration forbids")
class AnySize(Ticking):
    def __post_init__(self):
        pass


@broken("validate accepts for success_prob -1e-06, which must be a finite number in [0, 1]")
class AcceptsAll(Ticking):
    def validate(self, params):
        pass


@broken("default_params accepts for success_prob")
class MakesAll(Ticking):
    def default_params(self, **fields):
        try:
            return super().default_params(**fields)
        except ValueError:
            return super().default_params()


@broken("validate accepts for worth.half_life")
class AcceptsAllLaws(Ticking):
    def validate(self, params):
        super().validate(params.replace(worth=ticking.Steady()))


@broken("it raises ZeroDivisionError instead of ValueError")
class RaisesOtherThings(Ticking):
    def validate(self, params):
        if float(params.success_prob.sum()) < 0 or True in (params.success_prob < 0).tolist():
            raise ZeroDivisionError
        super().validate(params)


@struct.dataclass
class MoreParams(Params):
    """One more, of which nothing is declared."""

    bonus: Float[Array, ""] = struct.field(default_factory=functools.partial(jnp.zeros, ()))


@broken("bonus in the parameters must be declared with parameter or law")
class Undeclared(Ticking):
    def default_params(self, **fields):
        made = super().default_params(**fields)
        return MoreParams(**{field.name: getattr(made, field.name) for field in dataclasses.fields(made)})


@broken("the state that reset gives and the one that step gives must match: left")
class BrokenUnderALaw(Ticking):
    def step(self, key, state, action, params):
        state, timestep = super().step(key, state, action, params)
        fades = isinstance(params.worth, ticking.Fading)
        return state.replace(left=jnp.float32(1) * state.left) if fades else state, timestep


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_game_is_found(name):
    game, sentence = BROKEN[name]
    with pytest.raises(AssertionError) as found:
        check_game(game(num_workers=2, capacity=3))
    assert sentence in str(found.value)


@struct.dataclass
class TwoLaws(Params):
    """Another law, of three kinds that can each be given alone."""

    tools: ticking.Steady | ticking.Fading = law(
        {"steady": ticking.Steady, "fading": ticking.Fading, "again": ticking.Steady}
    )


@dataclasses.dataclass(frozen=True)
class WithTwoLaws(Ticking):
    combined: bool = True  # whether both may be other than their defaults

    def default_params(self, worth="steady", tools="steady"):
        if "steady" not in (worth, tools) and not self.combined:
            raise ValueError("worth and tools exclude each other")
        made, kinds = super().default_params(worth=worth), {"steady": ticking.Steady, "fading": ticking.Fading}
        return TwoLaws(**vars(made), tools=kinds.get(tools, ticking.Steady)())


def test_every_kind_of_every_law_is_stepped_under_together_where_that_is_allowed(monkeypatch):
    stepped = []
    monkeypatch.setattr(rounds, "_check_step", lambda _, params: stepped.append((params.worth, params.tools)))
    steady, fading = ticking.Steady(), ticking.Fading()
    for combined, second in ((True, [(fading, fading)]), (False, [(fading, steady), (steady, fading)])):
        stepped.clear()
        game = WithTwoLaws(combined=combined)
        rounds.check_laws(game, game.default_params())
        assert stepped == [(steady, steady), *second, (steady, steady)]


# Actions that are no choices among alternatives


@dataclasses.dataclass(frozen=True)
class Continuous(Ticking):
    """The same workers, told how much effort to make and how to share it."""

    @property
    def action_space(self):
        return {"effort": Box(-1, 1, size=2), "shares": Simplex(3)}

    def reset(self, key, params):
        return self._seen(*self._workers.reset(key, params))

    def step(self, key, state, action, params):
        effort, shares = (self.clean(action[name]) for name in ("effort", "shares"))
        legal = self._legal(state)
        works = (jnp.sum(effort, axis=-1) * legal["effort"] + shares[:, 1] * legal["shares"][:, 1]) > 0.5
        state, timestep = self._workers.step(key, state, jnp.where(works, ticking.WORK, ticking.IDLE), params)
        return self._seen(state, timestep.replace(reward=timestep.reward - 0.01 * jnp.sum(shares, axis=-1)))

    def true_observation(self, state, params):
        return self._workers.true_observation(state, params).replace(legal=self._legal(state))

    def clean(self, numbers):
        """Within the bounds, whatever they are."""
        return jnp.clip(jnp.nan_to_num(numbers), -1, 1)

    @property
    def _workers(self):
        return Ticking(self.num_workers, self.capacity)

    def _seen(self, state, timestep):
        return state, timestep.replace(observation=timestep.observation.replace(legal=self._legal(state)))

    def _legal(self, state):
        busy = state.left > 0
        return {"effort": busy, "shares": jnp.stack([jnp.ones_like(busy), busy, busy], axis=-1)}


class Uncleaned(Continuous):
    """Takes every number as it comes."""

    def clean(self, numbers):
        return numbers


class MisshapenMask(Continuous):
    """A mask of each entry, where one of each agent is asked for."""

    def _legal(self, state):
        legal = super()._legal(state)
        return legal | {"effort": jnp.stack([legal["effort"]] * 2, axis=-1)}


def test_a_game_of_boxes_and_simplices_passes():
    check_game(Continuous(num_workers=2, capacity=2))


def test_numbers_that_an_action_may_hold_and_a_game_cannot_take_are_found():
    with pytest.raises(AssertionError, match=r"must be finite, but are not after step after random bits as an action"):
        check_game(Uncleaned(num_workers=2, capacity=2))
    with pytest.raises(AssertionError, match=r"observation\.legal is bool\[2, 2\] for Box.*; it must be bool\[2\]"):
        check_game(MisshapenMask(num_workers=2, capacity=2))


# Heuristics


@struct.dataclass
class Player:
    """Works throughout, whether that is legal or not."""

    kind: str = struct.field(pytree_node=False, default="heuristic")
    name: str = struct.field(pytree_node=False, default="player")
    choice: int = struct.field(pytree_node=False, default=ticking.WORK)

    def init(self, game):
        return ()

    def act(self, key, carry, observation, params):
        return carry, jnp.full(observation.own.shape[0], self.choice, jnp.int32)


class Forgetful(Player):
    def act(self, key, carry, observation, params):
        return (1,), super().act(key, carry, observation, params)[1]


class Fractional(Player):
    def act(self, key, carry, observation, params):
        return carry, jnp.zeros(observation.own.shape[0])


@pytest.mark.parametrize(
    ("family", "sentence"),
    [
        (Family(Player), "player plays an illegal action"),
        (Family(lambda: Player(choice=7)), "player plays an illegal action"),
        (Family(lambda: Player(kind="rule")), "the kind of player is 'rule'; it must be one of heuristic, oracle"),
        (Family(Forgetful), "the memories of player at the start and after a round must match"),
        (Family(Fractional), "a sample of the action space and player's action must match"),
        (Family(lambda choice=0: Player(choice=choice), lambda game: {"choice": (0, 0)}), "share a name"),
        (Family(lambda choice=0: Player(choice=choice), lambda game: {"choice": ()}), "the grid of mine is empty"),
    ],
)
def test_a_broken_heuristic_is_found(family, sentence):
    entry = dataclasses.replace(ticking.ENTRY, heuristics={"idle": ticking.ENTRY.heuristics["idle"], "mine": family})
    with pytest.raises(AssertionError) as found:
        check_game(Ticking(num_workers=1, capacity=2), entry)
    assert sentence in str(found.value)


def test_an_entry_of_another_game_is_found():
    @dataclasses.dataclass(frozen=True)
    class Other(Ticking):
        """Another game."""

    with pytest.raises(AssertionError, match="the entry is for Ticking, but the game's class is Other"):
        check_game(Other(num_workers=1, capacity=2), ticking.ENTRY)


def test_a_shorthand_that_accepts_too_much_is_found():
    @dataclasses.dataclass(frozen=True)
    class Lenient(Ticking):
        """Whatever skill is asked for."""

        def default_params(self, skill=None, **fields):
            fine = skill is None or 0 <= skill <= 1
            return super().default_params(**fields, **({"skill": skill} if fine else {}))

    entry = dataclasses.replace(ticking.ENTRY, game=Lenient)
    with pytest.raises(AssertionError, match="default_params accepts skill = -1e-06, which must be a finite number"):
        check_game(Lenient(num_workers=1, capacity=2), entry)


@pytest.mark.parametrize(
    ("fresh", "sentence"),
    [
        (lambda price: price.astype(jnp.int32), "the parameters and those with fresh news must match"),
        (lambda price: price / 2, "fresh news must change nothing where news is fresh already"),
        (lambda price: 0 * price - 1, "validate must accept the parameters with fresh news: price"),
    ],
)
def test_news_that_is_not_fresh_is_found(fresh, sentence):
    entry = dataclasses.replace(ticking.ENTRY, fresh=lambda params: params.replace(price=fresh(params.price)))
    game = Ticking(num_workers=1, capacity=2)
    with pytest.raises(AssertionError, match=sentence):
        check_fresh(game, entry, game.default_params())
