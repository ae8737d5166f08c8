"""The first half: runs the stages that a change concerns, and touches the triggers when all that they need is green.

What is to be done: `plan` (the graph), `triggers`, `undone`, and the machine: `state` (its words), `cycle` (its rules).
How it is done: `command` and `listed` (what a stage starts), `stage` (runs it), `loop` (does what the machine says).
What is remembered: `record`, `memory`, `cache`, under a `key` (`programs`, `environments`, `looks`, `volatile`).
What output names: `findings`, in the `dialect` of each tool. `straight` is the short way of a check without work; `why`
explains; `configured` is what a configuration comes to here.
"""
