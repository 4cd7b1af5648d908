"""What people read: tables, plots, the report, the status and the live view."""
