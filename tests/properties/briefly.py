"""How laws are tried by tests: on a few inputs, the same ones every time, whatever the machine's speed."""

from hypothesis import HealthCheck, settings

BRIEFLY = settings(
    max_examples=25,
    derandomize=True,
    database=None,
    deadline=None,
    # A folder is the same for all inputs of a test, and each writes its files anew.
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
