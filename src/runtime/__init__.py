"""The machine around a run: commands, processes, whole files, the run folder, errors."""
