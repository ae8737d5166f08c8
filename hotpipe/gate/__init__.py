"""The first half: runs the stages on every change, and touches the triggers when all are green.

`plan` says which stage comes next, `cycle` is the machine, `stage` runs one stage, `loop` does what the machine says.
"""
