"""What a point of a load took in energy, beyond what its engine takes without a request. Pure functions."""

from actors.artifacts import Window

JOULES = "joules_per_output_token"
"""The figure: joules of an engine's GPUs, their idle power taken off, by output tokens of the same window."""

IDLE = "idle_power_w"
"""The figure: power of an engine's GPUs without a request, in watts, measured once a start."""


def figures(window: Window, idle_power_w: float | None, output_tokens_per_second: float) -> dict[str, float]:
    """The mean power in the window, the power without a request, and the figure; none where the GPUs do not tell, and
    no figure where no token came, or the power was not above that of an idle engine."""
    if window.energy_j is None or idle_power_w is None or window.seconds <= 0:
        return {}
    power_w = window.energy_j / window.seconds
    known = {"power_w": power_w, IDLE: idle_power_w}
    if output_tokens_per_second <= 0 or power_w <= idle_power_w:
        return known
    return known | {JOULES: (power_w - idle_power_w) / output_tokens_per_second}
