"""The one seam to the operating system: start a program, and end it with everything that it started.

`command` says what to start, `child` is one started program, `kin` finds what descends from it, and `system` is the
seam itself: the `Processes` that the halves are given, and that the tests' fakes stand in for.
"""
