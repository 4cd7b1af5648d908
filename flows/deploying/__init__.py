"""The variant that was decided for, deployed as it was measured, verified and published."""
