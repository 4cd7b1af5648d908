"""MLflow, which mirrors the records; it never decides whether something is done.

The only folder that imports mlflow, and only when there is something to say to it.
"""
