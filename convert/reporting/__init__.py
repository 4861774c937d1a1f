"""Reports of what was found: JSON, terminal tables, one HTML page, JUnit and step summaries."""
