"""The configuration: `model` says what is valid, `file` finds and reads it."""
