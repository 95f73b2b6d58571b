"""The settings of a network: which one reads an observation, and how large it is."""

import dataclasses

from jaxdlb import parameters
from jaxdlb.checks import POSITIVE_COUNT, SWITCH, check_choice
from jaxdlb.networks.torsos import TORSOS
from jaxdlb.parameters import parameter

AUTO = "auto"  # the kind that suits the game, see `actor_critic.suited`


@dataclasses.dataclass(frozen=True)
class NetworkConfig:
    """Which network reads an observation, and how large it is.

    Raises:
        ValueError: an unknown `kind` or `precision`, no hidden layer, or a size below 1.
    """

    # mlp, on the flattened observation; pointer, with weights shared by all peers, for any N;
    # auto: pointer where agents choose among the peers that they see, otherwise mlp
    kind: str = parameter(None, "auto")
    recurrent: bool = parameter(SWITCH, False)  # with a GRU, which remembers past rounds
    # widths of the hidden layers; the last is also the width of the GRU
    hidden: tuple[int, ...] = parameter(POSITIVE_COUNT, (32, 32))
    # widths of the hidden layers of a critic on the global state
    critic_hidden: tuple[int, ...] = parameter(POSITIVE_COUNT, (128, 128))
    # where an agent chooses among agents more than once in a step, whether later choices see if the first was itself
    autoregressive: bool = parameter(SWITCH, False)
    # of arithmetic; bfloat16 is fast on accelerators. Parameters are always float32
    precision: str = parameter(("float32", "bfloat16"), "float32")

    def __post_init__(self) -> None:
        check_choice("kind", self.kind, (AUTO, *TORSOS))  # not declared, since torsos may be added later
        parameters.check(self)
