"""How pictures look, whatever they show.

`style`, `layout`, `gif` and `svg` do not import matplotlib until a figure is drawn. The others do, and only code that
draws imports them.
"""
