"""Six kinds of bad video: what they are, and the answers of people who looked at clips."""
