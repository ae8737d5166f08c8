"""The terminal face: the whole screen, drawn anew as things change, and keys.

How it works: `screen` folds the events into a `View`, as every face does; `layout` says what of it is to be seen in so
many rows and columns (pure, as are `band`, `stages`, `servers`, `pane`); `ink` turns that into escapes, `frame` leaves
out what is on the screen already, and `terminal` writes it. `keys` decodes what is typed, `controls` does it. What the
user has chosen to see is a `Looks`.
"""
