"""Experiment tracking: every stage is an MLflow run. MLflow is imported only here, and only when a run starts."""
