"""Where things stand in an animated rack: arithmetic in pixels, with no drawing."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxdlb.drawing import layout
from jaxdlb.drawing.layout import round_loads
from jaxdlb.games.rack.replay import Replay

Corners = Float[np.ndarray, "K 4 2"]

# Heights in pixels, from the top: the central load balancer, room for arcs above the highest pile, the piles above and
# below the nodes together, the marks of completions, and a row of text; and the space around cores.
BALANCER, AIR, PILES, MARKS, ROW, PAD = 22, 64, 150, 14, 14, 5
LEAST_PILE = 22  # pixels for queues for I/O that stay empty
LARGEST_CELL, HIGHEST_GRID = 18, 56  # pixels: of a core, and of all cores of a node
LEAST_SHARED, SMALLEST_CELL = 8, 2.5  # pixels; more cores than fit at this size share their cells
LINEAR = 20  # the longest queue that is drawn to a linear scale; others by their square roots
LEAST_TASK = 4  # pixels between the tasks of a pile, or else no lines part them
FEW = 6  # nodes that have room for labels of their own


@dataclasses.dataclass(frozen=True)
class Grid:
    """Cells side by side, as many a row as fit the node: one for each core, or for each `share` of them."""

    cell: float  # pixels
    columns: int
    rows: int
    share: int

    @property
    def height(self) -> float:
        return self.cell * self.rows


@dataclasses.dataclass(frozen=True)
class Bank:
    """The cores of all nodes, or all their I/O."""

    counts: Int[np.ndarray, " N"]
    grid: Grid
    bottom: float  # of the cells

    @property
    def middle(self) -> float:
        return self.bottom + self.grid.height / 2


@dataclasses.dataclass(frozen=True)
class Scene:
    """The places in the panel of a rack, in pixels from its lower left corner."""

    width: float
    num_nodes: int
    label_rows: int
    cores: Grid
    io: Grid
    most_cpu: float  # the longest queue that each scale shows
    most_io: float

    @property
    def centres(self) -> Float[np.ndarray, " N"]:
        return (np.arange(self.num_nodes) + 0.5) * self.column

    @property
    def column(self) -> float:
        return self.width / self.num_nodes

    @property
    def box(self) -> float:
        """The width of a node."""
        return box_width(self.width, self.num_nodes)

    @property
    def io_pile(self) -> float:
        """The height of the longest queue for I/O."""
        return max(LEAST_PILE, PILES * self._io_share)

    @property
    def cpu_pile(self) -> float:
        return PILES - self.io_pile

    @property
    def _io_share(self) -> float:
        deep, high = self.length(self.most_io), self.length(self.most_cpu)
        return min(0.6, deep / max(deep + high, 1e-9))

    @property
    def marks(self) -> float:
        """The middle of the marks of completions."""
        return ROW * self.label_rows + MARKS / 2

    @property
    def body(self) -> tuple[float, float]:
        """The bottom and the top of the nodes."""
        bottom = ROW * self.label_rows + MARKS + self.io_pile
        return bottom, bottom + self.io.height + self.cores.height + 3 * PAD

    @property
    def balancer(self) -> tuple[float, float]:
        """The bottom and the top of the central load balancer."""
        bottom = self.body[1] + self.cpu_pile + AIR
        return bottom, bottom + BALANCER

    @property
    def height(self) -> float:
        return self.balancer[1] + 1

    @property
    def linear(self) -> bool:
        return max(self.most_cpu, self.most_io) <= LINEAR

    def length(self, queue: float | Float[np.ndarray, "*S"]) -> Float[np.ndarray, "*S"]:
        """Queues on their scale, before it is stretched to pixels."""
        return np.asarray(queue if self.linear else np.sqrt(queue), np.float64)

    def pixels(self, queue: float | Float[np.ndarray, "*S"]) -> Float[np.ndarray, "*S"]:
        """The heights of the piles of tasks that wait; CPU and I/O have the same scale."""
        per_unit = min(self.cpu_pile / self.length(self.most_cpu), self.io_pile / self.length(self.most_io))
        return np.asarray(self.length(queue) * per_unit)

    def bars(self, queue: Float[np.ndarray, " N"], *, below: bool) -> Corners:
        """The piles above the nodes, or `below` them."""
        base = self.body[0] if below else self.body[1]
        return self._bars(np.full(len(queue), base), base + (-1 if below else 1) * self.pixels(queue))

    def whole_columns(self, which: Bool[np.ndarray, " N"]) -> Corners:
        """The whole columns of some nodes."""
        floor, ceiling = float(ROW * self.label_rows), self.balancer[0] - 2
        low, high = (np.full(self.num_nodes, height) for height in (floor, ceiling))
        return self._bars(low, high, self.column - 2)[which]

    def _bars(self, low: Float[np.ndarray, " N"], high: Float[np.ndarray, " N"], width: float = 0) -> Corners:
        half = (width or self.box) / 2
        left, right = self.centres - half, self.centres + half
        corners = [(left, low), (left, high), (right, high), (right, low)]
        return np.stack([np.stack(corner, axis=1) for corner in corners], axis=1)

    def between_tasks(self, queue: Float[np.ndarray, " N"], *, below: bool) -> Float[np.ndarray, "L 2 2"]:
        """Lines between the tasks of the piles above the nodes, or `below` them; none where they would touch."""
        if not self.linear or self.pixels(1.0) < LEAST_TASK:
            return np.zeros((0, 2, 2))
        num = np.maximum(np.ceil(queue - 1e-6).astype(int) - 1, 0)
        node = np.repeat(np.arange(len(queue)), num)
        heights = self.pixels(_up_to(num) + 1.0)
        y = self.body[0] - heights if below else self.body[1] + heights
        ends = [np.stack([self.centres[node] + side * self.box / 2, y], axis=1) for side in (-1, 1)]
        return np.stack(ends, axis=1)

    def ticks(self) -> list[tuple[float, int]]:
        """Heights of round queue lengths above the nodes, and those below them, without labels that touch."""
        found: list[tuple[float, int]] = []
        for base, sign, most in ((self.body[1], 1, self.most_cpu), (self.body[0], -1, self.most_io)):
            last = 0.0
            for load in round_loads(int(most))[1:]:
                at = float(self.pixels(float(load)))
                if at - last >= ROW:
                    found.append((base + sign * at, load))
                    last = at
        return found

    def cells(self, num: Int[np.ndarray, " N"], bank: "Bank") -> tuple[Int[np.ndarray, " K"], Corners]:
        """The cells that stand for the first `num` cores of each node: the node and the corners of each."""
        shown = np.ceil(num / bank.grid.share).astype(int)
        node = np.repeat(np.arange(len(num)), shown)
        return node, self.cell_at(node, _up_to(shown), bank)

    def cell_at(self, node: Int[np.ndarray, " K"], place: Int[np.ndarray, " K"], bank: "Bank") -> Corners:
        """The corners of cells, which fill rows from the top left; the rows of each node are centred."""
        grid = bank.grid
        columns = np.minimum(np.ceil(bank.counts / grid.share), grid.columns)[node]
        gap = 1.0 if grid.cell > 5 else 0.5
        left = self.centres[node] + (place % grid.columns - columns / 2) * grid.cell + gap
        high = bank.bottom + grid.height - (place // grid.columns) * grid.cell - gap
        right, low = left + grid.cell - 2 * gap, high - grid.cell + 2 * gap
        corners = [(left, low), (left, high), (right, high), (right, low)]
        return np.stack([np.stack(corner, axis=1) for corner in corners], axis=1)

    def core_bank(self, counts: Int[np.ndarray, " N"]) -> "Bank":
        """Where the cores stand of nodes that have so many."""
        return Bank(counts, self.cores, self.body[0] + self.io.height + 2 * PAD)

    def io_bank(self, counts: Int[np.ndarray, " N"]) -> "Bank":
        """And where their I/O stands."""
        return Bank(counts, self.io, self.body[0] + PAD)

    def tops(self, node: Int[np.ndarray, " K"], queue: Float[np.ndarray, " N"]) -> Float[np.ndarray, "K 2"]:
        """Where tasks land: on top of the nodes' piles."""
        return np.stack([self.centres[node], self.body[1] + self.pixels(queue)[node] + 5], axis=1)

    def rises(self, start: Float[np.ndarray, "K 2"], end: Float[np.ndarray, "K 2"]) -> Float[np.ndarray, " K"]:
        """How high the paths from `start` to `end` rise: the further, the higher, but never up to the balancer."""
        wanted = 14 + 0.16 * np.abs(end[:, 0] - start[:, 0])
        return np.clip(wanted, 0, self.balancer[0] - 8 - np.maximum(start[:, 1], end[:, 1]))


def box_width(width: float, num_nodes: int) -> float:
    """The width of a node where `num_nodes` share a panel."""
    column = width / num_nodes
    return min(0.86 * column, 200.0)


def _up_to(num: Int[np.ndarray, " N"]) -> Int[np.ndarray, " K"]:
    """0, 1, … below each number in turn."""
    return np.concatenate([np.zeros(0, int), *(np.arange(each) for each in num)])


def grid_for(count: int, width: float, largest: float = LARGEST_CELL) -> Grid:
    """The largest cells, up to a size, with which `count` cores fit a node of this width."""
    inside = width - 4
    most = max(1, int(inside / SMALLEST_CELL)) * int(HIGHEST_GRID / SMALLEST_CELL)
    share = math.ceil(count / most)
    cells = math.ceil(count / share)
    for cell in np.arange(largest, SMALLEST_CELL, -0.5):
        columns = int(inside / cell)
        if columns and math.ceil(cells / columns) * cell <= HIGHEST_GRID:
            return _even(float(cell), cells, columns, share)
    return _even(SMALLEST_CELL, cells, max(1, int(inside / SMALLEST_CELL)), share)


def _even(cell: float, cells: int, columns: int, share: int) -> Grid:
    """The same number of rows, as evenly filled as possible."""
    rows = math.ceil(cells / columns)
    return Grid(cell=cell, columns=math.ceil(cells / rows), rows=rows, share=share)


def scene_for(replays: Sequence[Replay], width: float) -> Scene:
    """One arrangement for all panels, wide and high enough for everything that they show."""
    num_nodes = max(each.num_nodes for each in replays)
    box = box_width(width, num_nodes)
    cores, io = (max(int(np.max(getattr(each, name))) for each in replays) for name in ("cores", "io_cores"))
    cell = max(min(grid_for(cores, box).cell, grid_for(io, box).cell), LEAST_SHARED)  # of both, where both have room
    return Scene(
        width=width,
        num_nodes=num_nodes,
        label_rows=2 if num_nodes <= FEW else 1,
        cores=grid_for(cores, box, cell),
        io=grid_for(io, box, cell),
        most_cpu=max(4.0, *(float(each.cpu_queue.max()) for each in replays)),
        most_io=max(1.0, *(float(each.io_queue.max()) for each in replays)),
    )


def on_paths(
    start: Float[np.ndarray, "K 2"],
    end: Float[np.ndarray, "K 2"],
    rise: Float[np.ndarray, " K"],
    share: Float[np.ndarray, " K"],
    behind: float,
    num_points: int = 8,
) -> Float[np.ndarray, "K P 2"]:
    """The stretch of each path from `behind` its `share` up to it, as points."""
    shares = [np.clip(share - behind * (1 - k / (num_points - 1)), 0, 1) for k in range(num_points)]
    return np.stack([layout.on_arcs(start, end, rise, each) for each in shares], axis=1)
