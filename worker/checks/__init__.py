"""What is asked before a worker starts: a finding says what was expected, what was found and what to do."""
