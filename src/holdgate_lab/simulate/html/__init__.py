"""The report as one HTML file: text first, drawings after it, no script, and nothing fetched from anywhere."""
