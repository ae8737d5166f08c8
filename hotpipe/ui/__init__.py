"""The faces: each takes the events from an inbox and shows them. No face decides anything."""
