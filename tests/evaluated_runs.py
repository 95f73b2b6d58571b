"""Folders as runs leave them behind after the comparison with the heuristics, with samples of one's choice."""

import json

import numpy as np

from jaxdlb import evaluation
from jaxdlb.evaluation import Evaluation, PolicyResult, estimate
from jaxdlb.evaluation.seeds import over_seeds
from jaxdlb.game import Verdict

COLUMNS = {"utility": ("utility", "u"), "response_time": ("response time, rounds", "r"), "drops": ("drops", "d")}
VERDICTS = {"response_time": Verdict("faster", "slower", lower_is_better=True)}
AGENT_ROUNDS = 4000


def write_run(
    folder,
    utilities,
    *,
    rules=None,
    learner=None,
    game=None,
    seed=0,
    episodes=None,
    held_out=(1000, 2000),
    drops=np.nan,
):
    """A run whose training seeds have these mean utilities, and `rules` (`local` at −4) theirs, in the same episodes.

    Response times are 1 − utility, and all have the same `drops`, of which there ought to be none; `learner`, `game`
    and `episodes` replace settings.
    """
    length = (episodes or {}).get("num_episodes", 6)
    felt = np.linspace(-0.5, 0.5, length)

    def played(mean):
        return {"utility": mean + felt, "response_time": 1 - mean - felt, "drops": np.full(length, drops)}

    names = ["learned"] if len(utilities) == 1 else [f"learned(seed={k})" for k in range(len(utilities))]
    rules = {name: played(mean) for name, mean in (rules or {"local": -4.0, "random": -40.0}).items()}
    learned = dict(zip(names, map(played, utilities), strict=True))
    best = max(rules, key=lambda name: rules[name]["utility"].mean())
    row = None if len(names) == 1 else f"learned ({len(names)} seeds)"
    results = [_result(name, "heuristic", each) for name, each in rules.items()]
    results += [_result(name, "learned", each, row) for name, each in learned.items()]
    if row is not None:
        results.append(over_seeds(row, "learned", list(learned.values()), rules[best], ["utility", "response_time"]))
    told = Evaluation(
        results=tuple(results),
        best_heuristic=best,
        columns=COLUMNS,
        num_episodes=length,
        num_rounds=100,
        warmup=10,
        settings={"game": "dlb", "agent_rounds of training": AGENT_ROUNDS},
        verdicts=VERDICTS,
        warnings={"drops": "Tasks were lost"},
        samples=rules | learned,
    )
    params = {"load": 0.9, **(game or {})}
    settings = {
        "game": {"name": "dlb", "num_nodes": 3, "params": params},
        "learner": {"name": "mappo", "num_seeds": len(names), "gamma": None, **(learner or {})},
        "network": {"name": None, "hidden": [8]},
        "total_agent_rounds": AGENT_ROUNDS,
    }
    played_as = {"seed": 1, "num_episodes": length, "num_rounds": 100, "warmup": 10, **(episodes or {})}
    resolved = {"game": {"name": "dlb", "num_nodes": 3}, "parameters": params, "randomise": {}, "evaluation": played_as}
    folder.mkdir(parents=True)
    (folder / "evaluation.json").write_text(json.dumps(evaluation.to_json(told)))
    (folder / "samples.csv").write_text(evaluation.to_csv(told))
    (folder / "provenance.json").write_text(
        json.dumps({"seed": seed, "num_seeds": len(names), "resolved": resolved, "launches": []})
    )
    (folder / "config.yaml").write_text(json.dumps(settings))  # JSON is YAML
    rows = [f"{step},{k},{step},1.0,{-9.0},{10.0}" for step in held_out for k in range(len(names))]
    if rows:
        header = "update,seed,agent_rounds,seconds,utility,response_time"
        (folder / "held_out.csv").write_text("\n".join([header, *rows]) + "\n")
    return folder


def _result(name, kind, samples, part_of=None):
    columns = {column: estimate(values) for column, values in samples.items()}
    differences = {column: columns[column] for column in ("utility", "response_time")}
    return PolicyResult(name, kind, columns, differences, part_of=part_of)
