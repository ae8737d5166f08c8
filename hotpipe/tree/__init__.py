"""What is on disk: which paths count (`ignore`), what they hold (`identity`, `sweep`), when that changes (`watcher`).

The events come from `inotify` or `portable`; `settle` says when a burst of them is over, `git` when version control is.
"""
