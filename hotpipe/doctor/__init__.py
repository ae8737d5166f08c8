"""What this machine and this project can do: `machine` and `project` look, `judge` decides what that means."""
