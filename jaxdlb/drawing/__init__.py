"""How pictures look, whatever they show.

`style`, `layout`, `gif` and `svg` are free of matplotlib until a figure is drawn; `axes` and `animation` need it and
are imported only by what draws.
"""
