"""What is on disk: which paths count (`ignore`), what they hold (`identity`, `sweep`), when that changes (`watcher`)."""
