"""Which epoch counts, as a pure function of what commits do and of votes: no keys, no clock, no order of arrival."""
