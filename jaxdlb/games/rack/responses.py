"""Response times of tasks as a histogram on a logarithmic grid, fine enough for percentiles within 1%."""

from jaxdlb.mechanics.histograms import Bins

LEAST, MOST = 1e-4, 1e6  # ms; what lies beyond counts as the first or last bin
NUM_BINS = 1152
_BINS = Bins(LEAST, NUM_BINS, growth=(MOST / LEAST) ** (1 / NUM_BINS))  # by 2%
EDGES = _BINS.edges  # ms
none, count, percentile = _BINS.none, _BINS.count, _BINS.percentile
