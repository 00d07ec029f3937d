"""Step 3, the data gate: Great Expectations suites in code, quarantine with reasons, a floor under the whole run."""
