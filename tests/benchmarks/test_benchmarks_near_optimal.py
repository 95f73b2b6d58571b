"""The benchmark of the learner against the team optimum: which instances it draws, and what it says of runs."""

from benchmarks import near_optimal
from benchmarks.near_optimal import CAPACITIES, LOADS, RATES, instances
from train import build, compose


def test_instances_lie_in_their_ranges_and_some_have_equal_nodes():
    for num_nodes, count in ((2, 10), (3, 3)):
        drawn = instances(num_nodes, count)
        assert len(set(drawn)) == count
        assert drawn[:2] == instances(num_nodes, 2)
        assert any(len(set(each.completion_prob)) == 1 for each in drawn)
        assert any(len(set(each.completion_prob)) == num_nodes for each in drawn)
        for each in drawn:
            assert all(RATES[0] <= rate <= RATES[1] for rate in each.completion_prob)
            assert LOADS[0] <= each.load <= LOADS[1]
            assert CAPACITIES[num_nodes][0] <= each.capacity <= CAPACITIES[num_nodes][1]


def test_the_shipped_config_takes_every_instance():
    for each in [*instances(2, 2), *instances(3, 1)]:
        settings = compose.settings(compose.from_conf(["experiment=certified", *each.overrides]), [])
        scenario = build.scenario(settings.game)
        assert scenario.game.num_agents == len(each.completion_prob)
        scenario.entry.common(scenario.game, scenario.params)  # covered by an exact solution


def test_median_and_worst_are_told_by_the_number_of_nodes():
    row = {"load": 0.5, "capacity": 8, "seed": 0, "team": -1.0, "best_rule_gap": 0.3, "train_s": 60.0}
    rows = [
        row | {"completion_prob": [0.5] * nodes, "gap": gap, "nash_gap": gap / 2}
        for nodes, gap in ((2, 0.001), (2, 0.002), (2, 0.009), (3, 0.004))
    ]
    assert near_optimal.to_text(rows).splitlines()[-2:] == [
        "N = 2, 3 runs: gap 0.20% in the median, 0.90% at worst; Nash gap 0.10% in the median, 0.45% at worst.",
        "N = 3, 1 runs: gap 0.40% in the median, 0.40% at worst; Nash gap 0.20% in the median, 0.20% at worst.",
    ]
